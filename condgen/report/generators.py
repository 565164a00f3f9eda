"""One-step generators: whether they still make different samples of a class, and how training went."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from condgen.files import write_png
from condgen.report.figures import Panel, line_panel, method_styles, save_panels
from condgen.report.load import PreviewRow, Run
from condgen.report.page import Block, Figure
from condgen.report.samples import points_figure, sample_grid
from condgen.report.tables import generator_table
from condgen.rows import Estimate
from condgen.runs.layout import GRID, PREVIEWS_PICTURE
from condgen.runs.previews import read_previews

_PREVIEWS, _EACH = 10, 2  # shown: previews, samples of a class
_MEASURES = {"std_ratio": "in-class std ratio", "recall": "recall", "accuracy": "class accuracy"}
_CAPTION = (
    "Of the averaged weights, always with the same latents. The dashed line is the spread of training data. A "
    "generator has collapsed where the in-class std ratio is small and class accuracy high: samples of a class are "
    "nearly the same."
)


def generators_section(run: Run) -> Iterable[Block]:
    if run.generators:
        yield generator_table(run.generators)
        panels = [_measures_panel(name, log.previews) for name, log in run.generators.items()]
        yield Figure("Variety and class accuracy in the course of training", panels, _CAPTION)


def _measures_panel(name: str, rows: Sequence[PreviewRow]) -> Panel:
    lines = {title: {float(row.step): Estimate(getattr(row, key)) for row in rows} for key, title in _MEASURES.items()}
    return line_panel(name, lines, method_styles(_MEASURES.values()), "", dashed=1.0)


def draw_previews(folder: Path, until: int | None = None) -> list[Path]:
    """Draws the previews, up to a step, that the folder of a generator's training keeps.

    Returns:
        The files: `previews.png` and, for images, `grid.png` of the last preview; none where there is nothing to draw.

    Raises:
        UserError: a preview is damaged.
        OSError: the pictures cannot be written.
    """
    previews = {f"step {one.step:,}": one for one in read_previews(folder, until, _PREVIEWS)}
    if not previews:
        return []
    last, files = list(previews.values())[-1], [folder / PREVIEWS_PICTURE, folder / GRID]
    if last.x.ndim == 4:
        blocks = {head: (one.x, one.y.tolist()) for head, one in previews.items()}
        write_png(files[0], sample_grid(blocks, last.names, _EACH, lines=1))
        write_png(files[1], sample_grid({"": (last.x, last.y.tolist())}, last.names))
        return files
    if last.x.shape[1] != 2:
        return []
    clouds = {head: (one.x.double().numpy(), one.y.tolist()) for head, one in previews.items()}
    figure = points_figure("", clouds, dict(enumerate(last.names)))
    save_panels(figure.panels, files[0], columns=5, legend=True)
    return files[:1]

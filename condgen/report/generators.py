"""One-step generators: whether they still make different samples of a class, and how training went."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from condgen.files import write_png
from condgen.report.figures import COLOURS, INK, Array, Panel, Style, curve_panel, line_style, save_panels
from condgen.report.images import sample_grid, to_pictures
from condgen.report.load import GeneratorLog, Run
from condgen.report.page import Block, Figure, Prose, Section
from condgen.report.rows import PreviewRow
from condgen.report.samples import CLASSES, class_legend, image_table, points_figure, points_panel, wide_extent
from condgen.report.tables import generator_table
from condgen.runs.layout import GRID, PREVIEWS_PICTURE
from condgen.runs.previews import Preview, read_previews

__all__ = ["draw_previews", "generators_section"]

_PREVIEWS, _EACH = 10, 2  # shown: previews, samples of a class
_MEANING = (
    "While a generator trains, previews of its averaged weights are measured, always with the same latents. Class "
    "accuracy and sharpness cannot tell a good generator from one that makes the same sample of a class every time: "
    "the spread within a class and recall can."
)
_EVOLUTION = "The same latents at every step. Where samples of a class become alike, the generator collapses."
_MEASURES: dict[str, tuple[str, Style]] = {
    "std_ratio": ("in-class std ratio", Style(COLOURS["blue"], "o")),
    "recall": ("recall", Style(COLOURS["green"], "^")),
    "accuracy": ("class accuracy", Style(COLOURS["vermillion"], "s", "--")),
}


_STYLES = (Style(COLOURS["blue"], "o"), Style(COLOURS["vermillion"], "s", "--"), Style(INK, "D"))
_LOSSES: dict[str, tuple[str, dict[str, str]]] = {  # unit, and words by key of the log
    "Losses of score mismatching": (
        "squared error per dimension",
        {"critic_real": "critic on real data", "critic_fake": "critic on generated data", "loss": "generator"},
    ),
    "Losses of the denoisers": (
        "denoising loss",
        {"real_dsm": "denoiser of real data", "fake_dsm": "denoiser of generated data"},
    ),
    "The likelihood term": ("mean of -log p(y | x_t), nats", {"likelihood": "frozen classifier on generated data"}),
}
_LOSSES_MEANING = {
    "Losses of score mismatching": "A critic that outputs zero has losses of one. In a healthy training its loss on "
    "real data is least, the generator's between that and one, and its loss on generated data one or more (with "
    "target: zero, near zero). A generator's loss close to the critic's on real data, while the in-class std ratio "
    "falls towards zero, is a collapse and no success.",
    "Losses of the denoisers": "A much lower loss on generated data than on real data means that generated samples "
    "vary less. With a frozen teacher there is no denoiser of real data.",
    "The likelihood term": "How unlikely a frozen classifier finds the class asked for in noised samples. It can fall "
    "to zero with a single sample a class.",
}


def generators_section(run: Run) -> Section | None:
    """Every generator that the run trained: measures of previews, losses, and how samples evolved."""
    if not run.generators:
        return None
    found = {name: log for name, log in run.generators.items() if log.previews}
    blocks: list[Block] = [
        Prose(f"{name}: {log.previews[-1].reading.warning()}.", caution=True)
        for name, log in found.items()
        if log.collapsed
    ]
    if found:
        blocks += [Prose(_MEANING), generator_table(found), _measures(found)]
    blocks += [figure for title in _LOSSES if (figure := _losses_figure(title, run.generators)) is not None]
    blocks += [block for name, log in found.items() for block in _evolution(name, log)]
    return Section("generators", "One-step generators", tuple(blocks))


def _measures(found: Mapping[str, GeneratorLog]) -> Figure:
    return Figure(
        "Variety and class accuracy in the course of training",
        tuple(_measures_panel(name, log.previews) for name, log in found.items()),
        "The dashed line is the spread of training data. Where the ground is grey, the generator is collapsed: class "
        "accuracy is high, and the spread within a class is nearly zero.",
        dict(_MEASURES.values()),
    )


def _measures_panel(name: str, rows: Sequence[PreviewRow]) -> Panel:
    collapsed = [row.reading.collapsed for row in rows]

    def draw(axes: Axes) -> None:
        steps = np.array([row.step for row in rows], dtype=np.float64)
        edges = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])
        for place in np.flatnonzero(collapsed):
            axes.axvspan(edges[place], edges[place + 1], color=INK, alpha=0.1, linewidth=0)
        axes.axhline(1, color=INK, linewidth=0.8, linestyle="--")
        for measure, (_, style) in _MEASURES.items():
            axes.plot(steps, [getattr(row, measure) for row in rows], **line_style(style))
        top = max([1.04, *(1.04 * row.std_ratio for row in rows if np.isfinite(row.std_ratio))])
        axes.set_ylim(0, min(top, 2))  # untrained ones may scatter far
        axes.set_xlabel("step")

    ends = [f"{words} {getattr(rows[0], m):.3g} to {getattr(rows[-1], m):.3g}" for m, (words, _) in _MEASURES.items()]
    alt = f"Previews of {name} from step {rows[0].step:,} to {rows[-1].step:,}: {'; '.join(ends)}."
    return Panel(name, f"{alt} Collapsed at {sum(collapsed)} of {len(rows)}.", draw)


def _losses_figure(title: str, generators: Mapping[str, GeneratorLog]) -> Figure | None:
    """A panel for each generator that has these losses, other than its own alone."""
    unit, lines = _LOSSES[title]
    styles = dict(zip(lines.values(), _STYLES, strict=False))
    panels = [
        curve_panel(name, {lines[key]: log.losses[key] for key in lines if key in log.losses}, styles, unit)
        for name, log in generators.items()
        if log.losses.keys() & (lines.keys() - {"loss"})
    ]
    return Figure(title, tuple(panels), _LOSSES_MEANING[title], styles) if panels else None


def _evolution(name: str, log: GeneratorLog) -> Sequence[Block]:
    """Images in a table of classes by steps, points in panels; nothing where no previews are kept."""
    previews = {f"step {one.step:,}": one for one in read_previews(log.folder, log.previews[-1].step, _PREVIEWS)}
    title, last = f"How samples of {name} evolved", list(previews.values())[-1:]
    if last and last[0].x.ndim == 4:
        images = {
            head: {label: to_pictures(one.x[(one.y == label).nonzero()[:_EACH, 0]]) for label in range(CLASSES)}
            for head, one in previews.items()
        }
        return [image_table(title, images, dict(enumerate(last[0].names)), _EVOLUTION)]
    if last and last[0].x.shape[1] == 2:
        clouds, extent = _clouds(previews)
        return [points_figure(title, clouds, dict(enumerate(last[0].names)), _EVOLUTION, extent)]
    return []


def _clouds(previews: Mapping[str, Preview]) -> tuple[dict[str, tuple[Array, list[int]]], Sequence[float]]:
    """Points and labels of each preview, and the extent of their axes."""
    clouds = {head: (one.x.double().numpy(), one.y.tolist()) for head, one in previews.items()}
    return clouds, wide_extent([points for points, _ in clouds.values()])


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
    clouds, extent = _clouds(previews)
    names = dict(enumerate(last.names))
    panels = [points_panel(head, points, labels, names, extent) for head, (points, labels) in clouds.items()]
    save_panels(
        panels, files[0], columns=5, legend=class_legend({label: names[label] for label in set(last.y.tolist())})
    )
    return files[:1]

"""Held-out differences of posterior scores, distances of scores from exact ones, and likelihood scores in the plane."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize

from condgen.diagnostics.held_out import SURE, HeldOutRow
from condgen.diagnostics.score_errors import ZERO_GUIDANCE, Quantity
from condgen.report.estimates import SIGMA, by_level, format_number
from condgen.report.figures import LEVEL, Array, Panel, Style, line_panel, method_styles, save_panels
from condgen.report.load import FieldRow, Run
from condgen.report.page import Block, Figure, Table
from condgen.report.tables import WEIGHTINGS, errors_tables, estimates_table, what_spreads
from condgen.runs.layout import DIAGNOSTICS

_UNIT = 1e-3  # of the numbers that are shown
_UNITS = f"1e-3 {SIGMA}² a dimension"
_MEANING = (
    "The squared error of a method's posterior score minus that of a reference, on test data that no model and no "
    "choice has seen: below zero, the method is nearer to the true score given the class. No exact score is needed: a "
    "denoising loss exceeds the squared error by a constant that all methods share."
)
_BANDS = "Bands are two standard errors, clustered by image; the axis may be linear near zero and logarithmic beyond."
_QUANTITIES: dict[Quantity, str] = {"D": "unconditional score", "D_P": "posterior score", "D_L": "likelihood score"}
_DEFINITIONS = (
    "Mean distances between estimated and exact scores: D of the unconditional score, D_P of the posterior score given "
    "the class, and D_L of the likelihood score, which a classifier adds (by Bayes' rule the second is the sum of the "
    "others). A classifier with a larger D_L than that of “zero guidance” is worse than none."
)
_MEMORISED = (
    "Exact means: of the labelled training set itself, noised. With an error of zero a network would know these images "
    "by heart: this is a distance from that optimum, not from the truth, and the least one is not the best."
)
_CAPTION = "Bands are the intervals of the tables, which alone have errors of zero or below a millionth of the largest."
_PIXELS_CAPTION = (
    "At each pixel, the difference of two methods' squared errors over {:,} held-out images, in its standard errors: "
    "blue where the first is nearer to the truth."
)
_DARK_MAGMA = ListedColormap(matplotlib.colormaps["magma"](np.linspace(0.0, 0.72, 256)))  # white arrows read on it


def held_out_section(run: Run) -> Iterable[Block]:
    if run.held_out:
        first, *further = held_out_tables(run.held_out)
        yield from (_MEANING, first)
        if panels := list(_panels(run.held_out, run.styles)):
            yield Figure("Difference against noise level", panels, _BANDS)
        yield from further


def held_out_sentences(run: Run) -> list[str]:
    """Which is nearer to the truth: each classifier against those of cross-entropy, or against zero guidance."""
    out, about = [], run.conditions.get(DIAGNOSTICS, {})
    for method, reference in about.get("pairs") or ():
        rows = [row for row in run.held_out if (row.method, row.reference) == (method, reference)]
        if rows:
            nearer = sum(row.mean < -SURE * row.se for row in rows)
            farther = sum(row.mean > SURE * row.se for row in rows)
            spent = _training(about.get("training") or {}, method, reference)
            where = f"at {nearer} of {len(rows)} noise levels (by more than {SURE:g} standard errors)"
            what = f"the posterior score of {method} is nearer to the truth than that of {reference}"
            out.append(f"On {rows[0].n_images:,} held-out samples, {what} {where}, farther at {farther}.{spent}")
    return out


def _training(cost: Mapping[str, Mapping[str, float]], *methods: str) -> str:
    known = {name: own for name in methods if (own := cost.get(name) or {}).get("steps") and own.get("seconds")}
    spent = "; ".join(f"{name} {own['steps']:,} steps, {own['seconds']:,.0f} s" for name, own in known.items())
    return f" Training: {spent}." if len(known) == len(methods) else ""


def _by_reference(rows: Iterable[HeldOutRow]) -> dict[str, list[HeldOutRow]]:
    """Zero guidance comes last."""
    found: dict[str, list[HeldOutRow]] = {}
    for row in sorted(rows, key=lambda row: row.reference == ZERO_GUIDANCE):
        found.setdefault(row.reference, []).append(row)
    return found


def held_out_tables(rows: Sequence[HeldOutRow]) -> Iterable[Table]:
    """A table for each reference."""
    for reference, own in _by_reference(rows).items():
        spread = what_spreads(own, "two standard errors, clustered by image")
        counts = {row.n_images for row in own}, {row.draws for row in own}
        n, draws = (" or ".join(f"{count:,}" for count in sorted(of)) for of in counts)
        caption = f"Below zero: nearer to the truth. {n} test samples, noise draws of each: {draws}; ± is {spread}."
        columns = {
            method: {f"{SIGMA} = {sigma:g}": one for sigma, one in levels.items()}
            for method, levels in by_level(own, _UNIT).items()
        }
        yield estimates_table(
            f"Held-out squared error minus that of {reference}, {_UNITS}", columns, caption, corner=""
        )


def _panels(rows: Sequence[HeldOutRow], styles: Mapping[str, Style]) -> Iterable[Panel]:
    for reference, own in _by_reference(rows).items():
        lines = {method: levels for method, levels in by_level(own, _UNIT).items() if len(levels) > 1}
        if lines:
            yield line_panel(f"minus {reference}", lines, styles, _UNITS, LEVEL, dashed=0.0)


def draw_held_out(rows: Sequence[HeldOutRow], path: Path) -> bool:
    """As a PNG; whether there are any."""
    if panels := list(_panels(rows, method_styles(row.method for row in rows))):
        save_panels(panels, path, legend=True)
    return bool(panels)


def pixels_section(run: Run) -> Iterable[Block]:
    """For each pair of methods a panel a noise level."""
    if run.pixels is None:
        return
    for pair, levels in run.pixels.z.items():
        z = np.asarray(levels, dtype=np.float64)
        most = max(2 * SURE, float(np.quantile(np.abs(z), 0.99)))
        panels = [_pixel_panel(level, one, most) for level, one in zip(run.pixels.levels, z, strict=True)]
        yield Figure(f"Where in the image: {pair}", panels, _PIXELS_CAPTION.format(run.pixels.n))


def _pixel_panel(level: float, z: Array, most: float) -> Panel:
    def draw(axes: Axes) -> None:
        heat = axes.imshow(z, cmap="coolwarm", vmin=-most, vmax=most)
        axes.figure.colorbar(heat, ax=axes, shrink=0.8)
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[])

    title, nearer, farther = f"{SIGMA} = {level:g}", float((z < -SURE).mean()), float((z > SURE).mean())
    return Panel(title, f"{title}: {nearer:.0%} of the pixels are surely nearer, {farther:.0%} farther.", draw)


def errors_section(run: Run) -> Iterable[Block]:
    if run.errors:
        yield _DEFINITIONS
    if any(row.weighting == "held_out" for row in run.errors):
        yield _MEMORISED
    for weighting, title in WEIGHTINGS.items():
        rows = [row for row in run.errors if row.weighting == weighting]
        tables = list(errors_tables(rows, weighting))
        if len({row.sigma for row in rows}) < 2:
            yield from tables
            continue
        panels = []
        for quantity, meaning in _QUANTITIES.items():
            if found := by_level(row for row in rows if row.mean > 0 and row.quantity == quantity):
                panels.append(line_panel(f"{quantity}: {meaning}", found, run.styles, "mean error", LEVEL))
        yield Figure(title.capitalize(), panels, _CAPTION, tables)


def fields_section(run: Run) -> Iterable[Block]:
    data = run.fields
    if data is None or "exact" not in data.fields:
        return
    shape = (len(data.names), len(data.y), len(data.x), 2)
    fields = {name: np.asarray(values, dtype=np.float64).reshape(shape) for name, values in data.fields.items()}
    exact = fields["exact"]
    errors = {f"error of {name}": field - exact for name, field in fields.items() if name != "exact"}
    end = float(np.linalg.norm(exact, axis=-1).max()) or 1.0
    yield (
        f"The likelihood score at {SIGMA} = {data.sigma:g} on a grid of {len(data.x)} by {len(data.y)}. Brightness is "
        "its length, or that of its error, on a scale that ends at the longest exact score; arrows are its direction; "
        "dots are data of the class."
    )
    for label, name in enumerate(data.names):
        scores = [_field_panel(data, field[label], title, label, end, arrows=True) for title, field in fields.items()]
        others = [_field_panel(data, field[label], title, label, end) for title, field in errors.items()]
        yield Figure(f"Class {name}", scores + others, "")


def _field_panel(data: FieldRow, field: Array, title: str, label: int, end: float, *, arrows: bool = False) -> Panel:
    x, y = data.x, data.y
    points = np.array([at for at, own in zip(data.points, data.labels, strict=True) if own == label]).reshape(-1, 2)

    def draw(axes: Axes) -> None:
        length = np.linalg.norm(field, axis=-1)
        heat = axes.pcolormesh(x, y, length, cmap=_DARK_MAGMA, norm=Normalize(0, end), rasterized=True)
        axes.figure.colorbar(heat, ax=axes, shrink=0.8)
        axes.grid(visible=False)
        axes.set(aspect="equal", xlim=axes.get_xlim(), ylim=axes.get_ylim())
        if arrows:
            axes.scatter(points[:, 0], points[:, 1], s=3, color="#9bd7f5", alpha=0.55, linewidths=0)
            step = max(1, round(len(x) / 14))
            at = np.s_[step // 2 :: step, step // 2 :: step]
            shown = (field * np.minimum(1, end / np.maximum(length, 1e-300))[..., None])[at]
            look: Any = {"color": "white", "angles": "xy", "scale_units": "xy", "width": 0.006, "minlength": 0.3}
            grid_x, grid_y = np.meshgrid(x, y)
            scale = end / (2.4 * step * (x[1] - x[0]))
            axes.quiver(grid_x[at], grid_y[at], shown[..., 0], shown[..., 1], scale=scale, **look)

    length = format_number(float(np.linalg.norm(field, axis=-1).mean()))
    return Panel(title, f"Likelihood score of class {data.names[label]}, {title}: mean length {length}.", draw)

"""The sections of a report, each made from what the run folder holds, or left out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from condgen.report.class_tables import class_tables
from condgen.report.drawing import Plot, Style, class_style
from condgen.report.estimates import format_number
from condgen.report.grids import embedded
from condgen.report.inputs import FieldData, Run
from condgen.report.page import Code, Facts, Panels, Prose, Section, Strip, Strips, TableBlock
from condgen.report.pictures import Sample, read_images
from condgen.report.planes import points_panel, round_extent
from condgen.report.plots import Field, key
from condgen.report.rows import RawRow
from condgen.report.tables import Table, conditions_table, cost_table, methods_table, metrics_table, stages_table
from condgen.report.training_plots import training_panel

__all__ = [
    "class_legend",
    "cost_section",
    "counted_together",
    "metrics_section",
    "points_table",
    "reproduce_section",
    "run_section",
    "sample_points",
    "sample_strips",
    "samples_section",
    "training_section",
]

_IMAGES_A_CLASS = 6
_WIDTH, _BETWEEN, _CELL = 1000, 15, 36  # CSS pixels of the page, between blocks of images, and of a small image
_CLASSES_SHOWN = 20
_POINTS_SHOWN = 600
_COLUMNS = 8  # more metrics are more than one table, whose width is a page's
_OVERLAP = ("precision", "recall", "density", "coverage")


# ----------------------------------------------------------------------------------------------------


def run_section(run: Run) -> Section | None:
    """Recipe, machine, versions, and the time of every stage."""
    machine = run.about.get("machine")
    data = run.settings.get("data")
    facts = {
        "recipe": run.name,
        "data": data.get("kind") if isinstance(data, dict) else None,
        "seed": run.settings.get("seed"),
        "time": _duration(sum(float(stage.get("seconds") or 0.0) for stage in run.stages)) if run.stages else None,
    }
    facts = facts if run.about else {}
    facts |= {name: run.about.get(name) for name in ("started", "condgen", "python", "torch")}
    facts |= machine if isinstance(machine, dict) else {}
    if facts.get("started"):
        facts["started"] = str(facts["started"]).replace("T", " ", 1)
    notes = run.about.get("notes") or []
    blocks = (
        *((about,) if (about := Facts.of(facts)).pairs else ()),
        *((TableBlock(methods_table(run.cost)),) if run.cost else ()),
        *((TableBlock(stages_table(run.stages), folded=True),) if run.stages else ()),
        *(Prose(str(note)) for note in (notes if isinstance(notes, list) else [notes])),
    )
    return Section("run", "What was run", blocks) if blocks else None


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def samples_section(run: Run) -> Section | None:
    """Samples of every class by every method, side by side."""
    images = {name: [s for s in samples if s.file] for name, samples in run.samples.items()}
    images = {name: samples for name, samples in images.items() if samples}
    points = {name: [s for s in samples if s.point] for name, samples in run.samples.items()}
    points = {name: samples for name, samples in points.items() if samples}
    blocks = (
        *((sample_strips(images),) if images else ()),
        *((sample_points(points, run.field_data),) if points else ()),
    )
    return Section("samples", "Samples", blocks) if blocks else None


def sample_strips(
    samples: Mapping[str, Sequence[Sample]],
    title: str = "Every method side by side",
    what: str = "method",
    each: int | None = None,
    *,
    folded: bool = False,
) -> Strips:
    """The first images of every class, a column a method or whatever else it is that made them.

    Args:
        samples: by what made them.
        title: of all.
        what: a column is.
        each: images of a class; by default as many as fit beside each other, at most 6.
        folded: away under the title.
    """
    names = {sample.label: sample.name for row in samples.values() for sample in row}
    shown = sorted(names)[:_CLASSES_SHOWN]
    each = each or max(2, min(_IMAGES_A_CLASS, (_WIDTH // len(samples) - _BETWEEN) // _CELL))
    chosen = {
        (maker, label): [s for s in row if s.label == label][:each] for maker, row in samples.items() for label in shown
    }
    seeds = {tuple((label, *(s.seed for s in chosen[maker, label])) for label in shown) for maker in samples}
    caption = f"The first {each} samples of each class by each {what}."
    if len(seeds) == 1 and len(samples) > 1:
        caption += " Images at equal places of a row come from the same seed."
    elif len(samples) > 1:
        caption += f" The {what}s' seeds differ."
    if len(names) > len(shown):
        caption += f" The first {len(shown)} of {len(names)} classes are shown."
    rows = tuple(
        (names[label], tuple(_strip(chosen[maker, label], names[label], maker) for maker in samples)) for label in shown
    )
    return Strips(title, tuple(samples), rows, caption, folded)


def _strip(samples: list[Sample], name: str, method: str) -> Strip | None:
    pictures = read_images(samples)
    if not pictures:
        return None
    count = f"{len(pictures)} sample{'s' if len(pictures) > 1 else ''}"
    return embedded(pictures, f"{count} of class {name} by {method}")


def sample_points(
    samples: Mapping[str, Sequence[Sample]],
    data: FieldData | None,
    title: str = "Points by class",
    name: str = "points",
) -> Panels:
    """Points of every class, a panel a method or whatever else it is that made them.

    Args:
        samples: by what made them.
        data: points to show beside them, where there are some.
        title: of all.
        name: begins the identifiers of the panels in the page.
    """
    names = {sample.label: sample.name for row in samples.values() for sample in row}
    words = dict(names)
    clouds = {
        maker: (np.array([s.point for s in row], dtype=np.float64), [s.label for s in row])
        for maker, row in samples.items()
    }
    if data is not None and len(data.points) and max(data.labels, default=-1) <= max(names):
        words = {label: str(label) for label in data.labels} | words
        clouds = {"data": (data.points, list(data.labels)), **clouds}
    extent = round_extent([cloud for cloud, _ in clouds.values()])
    plots = [
        points_panel(cloud[:_POINTS_SHOWN], labels[:_POINTS_SHOWN], words, maker, f"{name}-{index}", extent)
        for index, (maker, (cloud, labels)) in enumerate(clouds.items())
    ]
    return Panels(
        title=title,
        plots=tuple(plots),
        caption=f"At most {_POINTS_SHOWN} points a panel are drawn; the table counts all in the folder.",
        legend=class_legend(names, f"{name}-class-key"),
        tables=(points_table(clouds, words, "points of"),),
    )


def points_table(
    clouds: Mapping[str, tuple[Field, Sequence[int]]], names: Mapping[int, str] | Sequence[str], head: str
) -> Table:
    """Where points of two dimensions lie, and how far apart, a row a cloud and class.

    Args:
        clouds: points (n, 2) and their labels, by what `head` says.
        names: of the classes, by label.
        head: of the first column.
    """
    rows = []
    for cloud, (points, labels) in clouds.items():
        for label in sorted(set(labels)):
            inside = points[np.asarray(labels) == label]
            ends = (*inside.mean(axis=0), *inside.std(axis=0))
            rows.append((cloud, names[label], str(len(inside)), *(format_number(float(end)) for end in ends)))
    heads = (head, "class", "points", "mean x", "mean y", "sd x", "sd y")
    return Table("Means and standard deviations", heads, tuple(rows))


def class_legend(names: Mapping[int, str], name: str) -> tuple[tuple[Plot, str], ...]:
    """The signs of classes in scatter plots; `name` begins their identifiers in the page."""
    signs = {label: class_style(label) for label in sorted(names)}
    dots = {label: Style(style.colour, style.marker, "none") for label, style in signs.items()}
    return tuple((key(dots[label], f"{name}-{label}"), names[label]) for label in dots)


# ----------------------------------------------------------------------------------------------------


def metrics_section(run: Run) -> Section | None:
    """Sample quality, with intervals and with the figures of real images."""
    if not run.metrics:
        return None
    facts = (Facts.of(counted_together(run.evaluated)),) if run.evaluated else ()
    whole = [row for row in run.metrics if not row["metric"].startswith("class-wise")]
    within = [row for row in run.metrics if row["metric"].startswith("class-wise")]
    overlap: list[RawRow] = []
    if len({row["metric"] for row in whole}) > _COLUMNS:
        overlap = [row for row in whole if row["metric"] in _OVERLAP]
        whole = [row for row in whole if row["metric"] not in _OVERLAP]
    tables = [TableBlock(metrics_table(whole))] if whole else []
    if overlap:
        tables.append(TableBlock(replace(metrics_table(overlap), title="Overlap with real data")))
    if within:
        table = metrics_table(within)
        caption = (
            "Samples of another class than the one asked for count against precision, density and coverage here. "
            f"Recall alone is high where samples are scattered widely, right or wrong. {table.caption}"
        )
        tables.append(TableBlock(replace(table, title="Within each class, averaged over the classes", caption=caption)))
    folded = [*class_tables(run.by_class), conditions_table(run.metrics)]
    return Section("metrics", "Sample quality", (*tables, *facts, *(TableBlock(one, folded=True) for one in folded)))


def counted_together(what: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions with the numbers of samples in a word, where all methods have the same."""
    counts = what.get("samples")
    if not isinstance(counts, dict) or len(set(counts.values())) != 1:
        return dict(what)
    return {**what, "samples": f"{next(iter(counts.values()))} by each method"}


def cost_section(run: Run) -> Section | None:
    """What sampling took."""
    return Section("cost", "Cost", (TableBlock(cost_table(run.cost)),)) if run.cost else None


def training_section(run: Run) -> Section | None:
    """The loss of every stage that trained something."""
    if not run.losses:
        return None
    plots, rows = [], []
    for index, (stage, losses) in enumerate(run.losses.items()):
        steps, values = [step for step, _ in losses], [loss for _, loss in losses]
        plots.append(training_panel(steps, values, stage, f"training-{index}"))
        tenth = max(1, len(values) // 10)
        ends = (float(np.mean(values[:tenth])), float(np.mean(values[-tenth:])), min(values))
        rows.append((stage, str(steps[-1]), str(len(values)), *map(format_number, ends)))
    head = ("stage", "last step", "rows of the log", "mean of the first tenth", "mean of the last tenth", "least")
    panels = Panels(
        title="Loss against step",
        plots=tuple(plots),
        caption="Lines are means over equal stretches of the log, the band their extremes. Losses of different "
        "objectives cannot be compared with each other.",
        tables=(Table("Losses", head, tuple(rows)),),
    )
    return Section("training", "Training", (panels,))


def reproduce_section(run: Run) -> Section | None:
    """The command and the recipe."""
    command, version = run.about.get("command"), run.about.get("condgen")
    blocks: list[Prose | Code] = []
    if command:
        tail = f" with condgen {version}" if version else ""
        blocks += [
            Prose(f"The same command, recipe and seed{tail} give the same run; timings depend on the machine."),
            Code("Command", str(command)),
        ]
    if run.recipe:
        blocks.append(Code("Recipe, with every setting resolved", run.recipe.rstrip(), folded=True))
    return Section("reproduce", "How to reproduce", tuple(blocks)) if blocks else None

"""The section on one-step generators: whether they still make different samples of a class, and how they learnt to."""

from collections.abc import Mapping, Sequence

import numpy as np

from condgen.report.estimates import MISSING, format_number
from condgen.report.generator_plots import (
    LANDMARKS,
    MEASURES,
    Landmarks,
    Losses,
    loss_panel,
    signs,
    variety_panel,
)
from condgen.report.grids import embedded, to_pictures
from condgen.report.inputs import GeneratorLog, Run
from condgen.report.looks import EACH, MOST, head_of, shared_extent
from condgen.report.page import Block, Caution, Panels, Prose, Section, Strip, Strips, TableBlock
from condgen.report.planes import points_panel
from condgen.report.rows import LookRow, RawRow, looks_of
from condgen.report.sections import class_legend, points_table
from condgen.report.tables import Table
from condgen.runs.previews import Preview, read_previews

__all__ = ["generator_section", "generator_table"]

_POINT_PANELS = 6
_CLASSES_SHOWN = 20


def generator_section(run: Run) -> Section | None:
    """Every generator that the run trained: its looks, the losses of those that judge it, and how samples evolved."""
    if not run.generators:
        return None
    looks = looks_of(run.looks)
    blocks: list[Block] = [
        *(Caution(f"{who}: {rows[-1].reading.warning()}.") for who, rows in looks.items() if rows[-1].reading.collapsed)
    ]
    if looks:
        blocks += [
            Prose(
                "While a generator trains, its averaged weights are looked at from time to time, always with the same "
                "latents. Class accuracy and sharpness alone cannot tell a good generator from one that makes the same "
                "sample of a class every time: the spread within a class and recall can."
            ),
            TableBlock(generator_table(run.looks)),
            _variety(looks),
        ]
    blocks += [Prose(text) for who, log in run.generators.items() if (text := _in_words(who, log, looks.get(who, [])))]
    blocks += [panels for group in LANDMARKS if (panels := _losses(group, run.generators)) is not None]
    blocks += [
        evolution
        for index, (who, log) in enumerate(run.generators.items())
        if (evolution := _evolution(who, log, looks.get(who, []), f"generators-points-{index}")) is not None
    ]
    return Section("generators", "One-step generators", tuple(blocks)) if blocks else None


def generator_table(rows: Sequence[RawRow]) -> Table:
    """The last look at every generator, one a row.

    Args:
        rows: looks: generator, step, and the measures of `condgen.metrics.Reading`.
    """
    last = [looks[-1] for looks in looks_of(rows).values()]
    cells = tuple(
        (
            *(row.generator, f"{row.step:,}"),
            *(f"{getattr(row, measure):.2f}" for measure in MEASURES),
            *(f"{row.n:,}", "yes" if row.reading.collapsed else "no"),
        )
        for row in last
    )
    return Table(
        title="The last look at each generator",
        header=("generator", "step", *(words for words, _ in MEASURES.values()), "n", "collapsed"),
        rows=cells,
        caption="In-class std ratio: the spread within a class over that of training data; 1 is right. Recall: the "
        "fraction of training samples that lie among the generated ones (k = 5, on pixels or coordinates). Collapsed: "
        "classes are right, and nearly the same sample stands for each. n: the generated samples.",
    )


def _variety(looks: Mapping[str, Sequence[LookRow]]) -> Panels:
    head = ("step", *(words for words, _ in MEASURES.values()), "samples")
    return Panels(
        title="Variety and class accuracy in the course of training",
        plots=tuple(variety_panel(who, rows, f"generators-looks-{i}") for i, (who, rows) in enumerate(looks.items())),
        caption="The dashed line is the spread of training data. Where the ground is grey, the generator is collapsed: "
        "class accuracy is high, and the spread within a class all but gone.",
        legend=signs(MEASURES, "generators-key"),
        tables=tuple(
            Table(
                who,
                head,
                tuple(
                    (f"{row.step:,}", *(format_number(getattr(row, measure)) for measure in MEASURES), f"{row.n:,}")
                    for row in rows
                ),
            )
            for who, rows in looks.items()
        ),
    )


# ----------------------------------------------------------------------------------------------------
# Losses


def _tenths(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """The mean of the first and of the last tenth of a log."""
    values, tenth = [value for _, value in points], max(1, len(points) // 10)
    return float(np.mean(values[:tenth])), float(np.mean(values[-tenth:]))


def _in_words(who: str, log: GeneratorLog, rows: Sequence[LookRow]) -> str:
    """What the losses at the end say, and whether updates were skipped."""
    late = {line: _tenths(points)[1] for line, points in log.losses.items()}
    collapsed = bool(rows) and rows[-1].reading.collapsed
    text = ""
    if {"critic_real", "critic_fake", "loss"} <= late.keys():
        real, fake, own = (format_number(late[line]) for line in ("critic_real", "critic_fake", "loss"))
        text = (
            f"In the last tenth of the log the critic's loss is {real} on real and {fake} on generated data, and the "
            f"generator's is {own}{_verdict(late, collapsed)}."
        )
    elif {"real_dsm", "fake_dsm"} <= late.keys():
        share = format_number(late["fake_dsm"] / late["real_dsm"]) if late["real_dsm"] else "no multiple"
        text = f"In the last tenth of the log the denoiser of generated data has {share} times the loss of that of real"
        text += " data."
    if log.skipped:
        many = "updates were" if log.skipped > 1 else "update was"
        text += f" {log.skipped:,} {many} skipped, because a gradient was not a finite number."
    return f"{who}: {text.strip()}" if text else ""


def _verdict(late: Mapping[str, float], collapsed: bool) -> str:
    if collapsed:
        return ": the critic finds them plausible, but they are nearly the same sample of each class"
    if late["loss"] >= 1:
        return ": not below one, so the critic tells generated from real data"
    if late["loss"] <= late["critic_real"]:
        return ": no more than on real data, so generated samples are the easier ones to denoise, and likely vary less"
    return ", between the two, as it should be" if late["loss"] < late["critic_fake"] else ""


def _losses(group: str, generators: Mapping[str, GeneratorLog]) -> Panels | None:
    """One group of losses, a panel a generator that has them."""
    landmarks = LANDMARKS[group]
    chosen = {
        who: {line: log.losses[line] for line in landmarks.lines if line in log.losses}
        for who, log in generators.items()
    }
    if group == "critic":  # every generator has a loss; only this one's has landmarks
        chosen = {who: losses for who, losses in chosen.items() if "critic_real" in losses}
    chosen = {who: losses for who, losses in chosen.items() if losses}
    if not chosen:
        return None
    drawn = [
        loss_panel(landmarks, who, losses, f"generators-{group}-{index}")
        for index, (who, losses) in enumerate(chosen.items())
    ]
    shown = {line: sign for line, sign in landmarks.lines.items() if any(line in losses for losses in chosen.values())}
    return Panels(
        title=landmarks.title,
        plots=tuple(plot for plot in drawn if plot is not None),
        caption=f"{landmarks.meaning} Lines are means over equal stretches of the log.",
        legend=signs(shown, f"generators-{group}-key"),
        tables=(_losses_table(landmarks, chosen),),
    )


def _losses_table(landmarks: Landmarks, chosen: Mapping[str, Losses]) -> Table:
    rows = []
    for who, losses in chosen.items():
        for line, (words, _) in landmarks.lines.items():
            ends = map(format_number, _tenths(losses[line])) if line in losses else (MISSING, MISSING)
            rows.append((who, words, *ends))
    head = ("generator", "loss", "mean of the first tenth", "mean of the last tenth")
    return Table(f"{landmarks.title}: {landmarks.unit}", head, tuple(rows), words=frozenset({1}))


# ----------------------------------------------------------------------------------------------------
# How samples evolved


def _evolution(who: str, log: GeneratorLog, rows: Sequence[LookRow], name: str) -> Strips | Panels | None:
    """The same latents at several looks: images in a table of classes by steps, points in panels."""
    if not rows:
        return None
    looks = read_previews(log.folder, rows[-1].step, MOST)
    if not looks:
        return None
    shape = looks[-1].x.shape
    if len(shape) == 4:
        return _images(who, looks)
    return _points(who, read_previews(log.folder, rows[-1].step, _POINT_PANELS), name) if shape[1:] == (2,) else None


def _images(who: str, looks: Sequence[Preview]) -> Strips:
    labels = sorted(set(looks[-1].y.tolist()))[:_CLASSES_SHOWN]
    names = looks[-1].names
    cells = {look.step: _cells(look, labels) for look in looks}
    classes = f" The first {len(labels)} of {len(names)} classes are shown." if len(labels) < len(names) else ""
    return Strips(
        title=f"How samples of {who} evolved",
        methods=tuple(head_of(look) for look in looks),
        rows=tuple((names[label], tuple(cells[look.step].get(label) for look in looks)) for label in labels),
        caption=f"The same {EACH} latents of each class at every step shown. Where those of a class become alike, "
        f"the generator collapses.{classes}",
    )


def _cells(look: Preview, labels: Sequence[int]) -> dict[int, Strip]:
    out = {}
    for label in labels:
        chosen = (look.y == label).nonzero()[:EACH, 0]
        if len(chosen):
            count = f"{len(chosen)} sample{'s' if len(chosen) > 1 else ''}"
            alt = f"{count} of class {look.names[label]} at {head_of(look)}"
            out[label] = embedded(to_pictures(look.x[chosen]), alt)
    return out


def _points(who: str, looks: Sequence[Preview], name: str) -> Panels:
    extent, names = shared_extent(looks), looks[-1].names
    clouds = {head_of(look): (look.x.double().numpy(), look.y.tolist()) for look in looks}
    return Panels(
        title=f"How samples of {who} evolved",
        plots=tuple(
            points_panel(points, labels, names, head, f"{name}-{index}", extent)
            for index, (head, (points, labels)) in enumerate(clouds.items())
        ),
        caption="The same latents at every step shown, on the same axes, beyond which a few may lie. Where points of a "
        "class fall together, the generator collapses.",
        legend=class_legend({label: names[label] for label in sorted(set(looks[-1].y.tolist()))}, f"{name}-key"),
        tables=(points_table(clouds, names, "step"),),
    )

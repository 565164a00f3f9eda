"""The plots of generators in training: how varied their samples are, and what the networks that judge them say."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from condgen.report.drawing import COLOURS, INK, Plot, Style, drawing, finish, new_axes
from condgen.report.estimates import format_number
from condgen.report.plots import key, log_axis, look
from condgen.report.rows import LookRow
from condgen.report.training_plots import in_stretches

__all__ = ["LANDMARKS", "MEASURES", "Landmarks", "Losses", "loss_panel", "signs", "variety_panel"]

Losses = Mapping[str, Sequence[tuple[int, float]]]
"""Steps and values by the name that the log gives them, steps rising."""

MEASURES: dict[str, tuple[str, Style]] = {
    "std_ratio": ("in-class std ratio", Style(COLOURS["blue"], "o")),
    "recall": ("recall", Style(COLOURS["green"], "^")),
    "accuracy": ("class accuracy", Style(COLOURS["vermillion"], "s", "--")),
}


class Landmarks(NamedTuple):
    """Losses that are read together.

    Attributes:
        title: of the group.
        unit: of all of them.
        lines: what each is and how it looks, by its name in the log.
        one: whether a line stands at one.
        meaning: how to read them.
    """

    title: str
    unit: str
    lines: Mapping[str, tuple[str, Style]]
    one: bool
    meaning: str


_REAL, _OWN, _FAKE = Style(COLOURS["blue"], "o"), Style(INK, "D"), Style(COLOURS["vermillion"], "s", "--")

LANDMARKS: dict[str, Landmarks] = {
    "critic": Landmarks(
        title="Losses of score mismatching",
        unit="squared error per dimension",
        lines={
            "critic_real": ("critic on real data", _REAL),
            "loss": ("generator", _OWN),
            "critic_fake": ("critic on generated data", _FAKE),
        },
        one=True,
        meaning="A critic that says nothing has losses of one, where the dashed line is. In a healthy training its "
        "loss on real data is least, the generator's lies above that and below one, and its loss on generated data at "
        "one or above (with target: zero, near zero). A generator's loss close to the critic's on real data, while the "
        "in-class std ratio falls towards zero, is a collapse and no success.",
    ),
    "denoisers": Landmarks(
        title="Losses of the denoisers",
        unit="denoising loss",
        lines={"real_dsm": ("denoiser of real data", _REAL), "fake_dsm": ("denoiser of generated data", _FAKE)},
        one=False,
        meaning="Both learn by denoising score matching at the same noise levels. Where the denoiser of generated data "
        "has much less loss than that of real data, generated samples are easier to denoise, which means that they "
        "vary less. With a frozen teacher no denoiser of real data is trained, and there is one line.",
    ),
    "likelihood": Landmarks(
        title="The likelihood term",
        unit="mean of -log p(y | x_t), nats",
        lines={"likelihood": ("frozen classifier on generated data", _OWN)},
        one=False,
        meaning="How unlikely a frozen classifier finds the class asked for in noised samples. It can fall to zero "
        "with a single sample a class.",
    ),
}


def signs(lines: Mapping[str, tuple[str, Style]], name: str) -> tuple[tuple[Plot, str], ...]:
    """The legend of these lines; `name` begins their identifiers in the page."""
    return tuple((key(style, f"{name}-{line.replace('_', '-')}"), words) for line, (words, style) in lines.items())


def variety_panel(who: str, rows: Sequence[LookRow], name: str) -> Plot:
    """The three measures of one generator against the step; the ground is grey where it was collapsed.

    Args:
        who: its name.
        rows: its looks, steps rising.
        name: unique in the page.
    """
    steps = np.array([row.step for row in rows], dtype=np.float64)
    edges = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])
    bad = [row.reading.collapsed for row in rows]
    with drawing():
        axes = new_axes(who)
        for collapsed, group in groupby(range(len(rows)), key=lambda index: bad[index]):
            places = list(group)
            if collapsed:
                axes.axvspan(edges[places[0]], edges[places[-1] + 1], color=INK, alpha=0.1, linewidth=0)
        axes.axhline(1, color=INK, linewidth=0.8, linestyle="--")
        for measure, (_, style) in MEASURES.items():
            axes.plot(steps, [getattr(row, measure) for row in rows], **(look(style) | {"markersize": 4}))
        top = [row.std_ratio for row in rows if np.isfinite(row.std_ratio)]
        axes.set_ylim(0, min(max([1.04, *(1.04 * value for value in top)]), 2))  # untrained ones may scatter far
        axes.set_xlabel("step")
        course = "; ".join(
            f"{words} {_course([(row.step, getattr(row, measure)) for row in rows])}"
            for measure, (words, _) in MEASURES.items()
        )
        return finish(axes, name, f"Looks at {who} in training: {course}.{_when(rows, bad)}")


def _when(rows: Sequence[LookRow], bad: Sequence[bool]) -> str:
    return f" It was collapsed at {sum(bad)} of {len(rows)} looks." if any(bad) else ""


def loss_panel(landmarks: Landmarks, who: str, losses: Losses, name: str) -> Plot | None:
    """The losses of one group against the step: means over equal stretches of the log.

    Args:
        landmarks: the group.
        who: the generator's name.
        losses: of its log.
        name: unique in the page.

    Returns:
        The panel, or None where the log has none of them.
    """
    known = {line: losses[line] for line in landmarks.lines if losses.get(line)}
    if not known:
        return None
    with drawing():
        axes = new_axes(who)
        if landmarks.one:
            axes.axhline(1, color=INK, linewidth=0.8, linestyle="--")
        lowest, highest, said = [], [], []
        for line, found in known.items():
            words, style = landmarks.lines[line]
            at, mean, _, _ = in_stretches([step for step, _ in found], [value for _, value in found])
            shown = {"markersize": 4, "markevery": max(1, len(at) // 8)}
            axes.plot(at, mean, **(look(style) | shown))
            lowest.append(min(mean))
            highest.append(max(mean))
            said.append(f"{words} {_course(found)}")
        if min(lowest) > 0 and max(highest) > 20 * min(lowest):
            log_axis(axes, "y", min(lowest), max(highest))
        else:
            axes.set_ylim(min(0, *lowest), 1.06 * max([float(landmarks.one), *highest]))
        axes.set_xlabel("step")
        axes.set_ylabel(landmarks.unit)
        return finish(axes, name, f"{landmarks.title}, {who}: {'; '.join(said)}.")


def _course(points: Sequence[tuple[int, float]]) -> str:
    first, last = (f"{format_number(value)} at step {step:,}" for step, value in (points[0], points[-1]))
    return first if len(points) == 1 else f"{first} to {last}"

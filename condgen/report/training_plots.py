"""Losses against the training step."""

from collections.abc import Mapping, Sequence

import numpy as np

from condgen.report.drawing import INK, Plot, Style, drawing, finish, new_axes
from condgen.report.plots import log_axis, look

__all__ = ["in_stretches", "overlaid_losses", "training_panel"]


def training_panel(steps: Sequence[int], losses: Sequence[float], title: str, name: str) -> Plot:
    """The loss against the step: the mean of up to 80 equal stretches of the log, over the band of their extremes.

    Args:
        steps: of the log's rows, rising.
        losses: finite, one a step.
        title: above the panel.
        name: unique in the page.
    """
    at, mean, low, high = in_stretches(steps, losses)
    with drawing():
        axes = new_axes(title)
        axes.fill_between(at, low, high, color=INK, alpha=0.15, linewidth=0)
        axes.plot(at, mean, color=INK, linewidth=1.4, marker="o" if len(at) == 1 else "")
        if min(low) > 0 and max(mean) > 20 * min(mean):
            log_axis(axes, "y", min(low), max(high))
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        alt = f"Loss of {title} from step {steps[0]} to {steps[-1]}: {mean[0]:.3g} at first, {mean[-1]:.3g} at last."
        return finish(axes, name, alt)


def overlaid_losses(
    lines: Mapping[str, Sequence[tuple[int, float]]], styles: Mapping[str, Style], title: str, name: str
) -> Plot:
    """Losses of one stage in several runs against the step, each the mean of equal stretches of its log.

    Args:
        lines: steps and finite losses by run.
        styles: the look of every run.
        title: above the panel.
        name: unique in the page.
    """
    said, everything = [], []
    with drawing():
        axes = new_axes(title)
        for run, points in lines.items():
            at, mean, _, _ = in_stretches([step for step, _ in points], [loss for _, loss in points])
            axes.plot(at, mean, **look(styles[run]) | {"markevery": 0.2, "markersize": 4})
            said.append(f"{run} ({mean[0]:.3g} to {mean[-1]:.3g})")
            everything += mean
        if min(everything) > 0 and max(everything) > 20 * min(everything):
            log_axis(axes, "y", min(everything), max(everything))
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        return finish(axes, name, f"Loss of {title} by run, first to last: {', '.join(said)}.")


def in_stretches(steps: Sequence[int], values: Sequence[float], most: int = 80) -> tuple[list[float], ...]:
    """A log in at most so many equal stretches: the mean step, and the mean, least and greatest value of each."""
    stretches = np.array_split(np.arange(len(steps)), min(most, len(steps)))
    at = [float(np.mean([steps[i] for i in stretch])) for stretch in stretches]
    mean = [float(np.mean([values[i] for i in stretch])) for stretch in stretches]
    low = [min(values[i] for i in stretch) for stretch in stretches]
    return at, mean, low, [max(values[i] for i in stretch) for stretch in stretches]

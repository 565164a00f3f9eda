r"""What a trajectory passes through: the noised state and its denoised estimate, from pure noise to the sample.

Samplers are left as they are: the denoiser is wrapped, and what it is asked and answers is kept, at no evaluation more.
Some questions lead nowhere: Heun's predictor, the corrector of a state that is mended, an adaptive step that is
rejected, the first way down of a sampler that restarts. A question is a frame of the trajectory where no later one is
asked at as much noise or more, so that noise falls from frame to frame, and the last answer is the sample.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.bayes import Denoiser
from condgen.noise import Schedule
from condgen.sampling.adaptive import AdaptiveSampler
from condgen.sampling.draw import draw
from condgen.sampling.loop import Sampler

__all__ = ["Frame", "Path", "frames", "pick_frames", "unit_scale"]


class Frame(NamedTuple):
    """A moment of a trajectory."""

    t: float
    noise: float  # sigma_t / alpha_t, in units of the data
    x_t: Tensor  # (...)
    denoised: Tensor  # (...), the estimate from x_t


class Path(NamedTuple):
    """The trajectory of one sample."""

    frames: list[Frame]  # noise falling; the last estimate is the sample
    x: Tensor  # (...), the sample
    evaluations: int  # of the denoiser, those that are no frame included
    problem: str | None = None  # why x is not to be used


class _Watched(Denoiser):
    """A denoiser that remembers the times, states and estimates of all its evaluations."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.seen: list[tuple[float, Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        denoised: Tensor = self.denoiser(x_t, t, y)
        # Copies: a sampler may go on to write into either. All rows stand at one time, as `frames` sees to.
        self.seen.append((float(t.flatten()[0]), x_t.detach().clone(), denoised.detach().clone()))
        return denoised


def frames(
    sampler: Sampler | AdaptiveSampler,
    grid: Tensor | None,
    seeds: Sequence[int],
    y: Tensor | None,
    shape: Sequence[int],
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Draws samples and keeps what they pass through.

    The samples are those that `draw` makes of these seeds in one batch, bit for bit; where a sampler chooses its own
    steps, each in a batch of its own, since no two trajectories have the same times.

    Args:
        sampler: how to draw.
        grid: falling times, (N,) float64; None for a sampler that chooses its own steps.
        seeds: one per sample; few, since every state of all is kept.
        y: labels, (n,), or None.
        shape: the shape of one sample.
        device: where samples are made, and the labels are.

    Returns:
        A trajectory per seed.
    """
    adaptive = isinstance(sampler, AdaptiveSampler)
    parts = [slice(i, i + 1) for i in range(len(seeds))] if adaptive else [slice(0, len(seeds))]
    paths: list[Path] = []
    for part in parts if seeds else ():
        watched = _Watched(sampler.denoiser)
        labels = None if y is None else y[part]
        rounds = draw(replace(sampler, denoiser=watched), grid, seeds[part], labels, shape, len(seeds), device)
        finished = [sample for found in rounds for sample in found]
        for row, sample in enumerate(finished):
            seen = [(t, x_t[row], denoised[row]) for t, x_t, denoised in watched.seen]
            paths.append(Path(_descent(seen, sampler.schedule), sample.x, sample.evaluations, sample.problem))
    return paths


def _descent(seen: Sequence[tuple[float, Tensor, Tensor]], schedule: Schedule) -> list[Frame]:
    """The evaluations at more noise than all later ones."""
    kept: list[tuple[float, Tensor, Tensor]] = []
    for moment in reversed(seen):
        if not kept or moment[0] > kept[-1][0]:
            kept.append(moment)
    levels = schedule.noise_level(torch.tensor([t for t, _, _ in kept], dtype=torch.float64)).tolist()
    return [Frame(t, noise, x_t, denoised) for (t, x_t, denoised), noise in zip(kept, levels, strict=True)][::-1]


def pick_frames(path: Sequence[Frame], n: int) -> list[Frame]:
    """At most n frames, the first and the last among them, as evenly spaced in the logarithm of noise as they come.

    Args:
        path: noise falling.
        n: at least 2.
    """
    if len(path) <= n:
        return list(path)
    logs = [math.log(frame.noise) for frame in path]
    chosen: list[int] = []
    for place in range(n):
        target = logs[0] + (logs[-1] - logs[0]) * place / (n - 1)
        free = range(chosen[-1] + 1 if chosen else 0, len(path) - (n - 1 - place))  # leaves enough for those to come
        chosen.append(min(free, key=lambda i: abs(logs[i] - target)))
    return [path[i] for i in chosen]


def unit_scale(frame: Frame, schedule: Schedule) -> Tensor:
    r"""The state of a frame as a picture to look at: :math:`x_t / \sqrt{\alpha_t^2 + \sigma_t^2}`.

    Pure noise then has a standard deviation of 1, whatever the schedule, and the end of the trajectory is the data's.
    """
    t = torch.tensor(frame.t, dtype=torch.float64)
    return frame.x_t / math.hypot(float(schedule.alpha(t)), float(schedule.sigma(t)))

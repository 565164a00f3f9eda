r"""What a trajectory passes through: the noised state and its denoised estimate, from pure noise to the sample.

Samplers are left as they are: a hook on the denoiser keeps what it is asked and answers, at no evaluation more.
Some questions lead nowhere: Heun's predictor, the corrector of a state that is mended, an adaptive step that is
rejected, the first way down of a sampler that restarts. A question is a frame of the trajectory where no later one is
asked at as much noise or more, so that noise falls from frame to frame, and the last answer is the sample.
Of a long trajectory few frames are kept, so that memory does not grow with the number of evaluations.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from condgen.denoiser import Denoiser
from condgen.samplers.adaptive.loop import AdaptiveSampler
from condgen.samplers.base import Sampler
from condgen.samplers.draw import draw
from condgen.schedules import Schedule

__all__ = ["RecordedTrajectory", "Recorder", "TrajectoryPoint", "record_trajectories", "thin_out", "unit_variance"]

_BYTES = 32 * 2**20  # of states and estimates that are kept, as far as that is enough for what will be shown
_FRAMES = 256  # of a trajectory, at most


class TrajectoryPoint(NamedTuple):
    """A moment of a trajectory."""

    t: float
    noise: float  # sigma_t / alpha_t, in units of the data
    x_t: Tensor  # (...)
    denoised: Tensor  # (...), the estimate from x_t


class RecordedTrajectory(NamedTuple):
    """The trajectory of one sample."""

    frames: list[TrajectoryPoint]  # noise falling; the last estimate is the sample
    x: Tensor  # (...), the sample
    evaluations: int  # of the denoiser, those that are no frame included
    problem: str | None = None  # why x is not to be used


class Recorder:
    """Looks on as the denoiser of a batch is asked, and keeps the frames of some trajectories in bounded memory.

    Args:
        schedule: of the noise.
        samples: in the first batch, by their numbers from 0 on. No others join later.
        followed: those whose frames are kept, rising.
        numbers: that make up a sample.
        shown: how many frames of a trajectory will be picked, at least 2. Twice as many are kept, however large.
        together: all rows of a batch stand at one time always, as on a time grid.
    """

    def __init__(
        self, schedule: Schedule, samples: int, followed: Sequence[int], numbers: int, shown: int, *, together: bool
    ) -> None:
        self.schedule, self.followed = schedule, list(followed)
        room = _BYTES // (2 * 4 * numbers * max(1, len(self.followed)))
        self._most = max(2 * shown, min(_FRAMES, room))
        self._rows = list(range(samples))  # the sample in each row of the batch
        # Rows at one time have a single way, whose frames hold them all.
        self._ways: dict[int, list[TrajectoryPoint]] = {number: [] for number in ([0] if together else self.followed)}
        self._together = together

    @contextmanager
    def on(self, denoiser: Denoiser) -> Iterator[None]:
        """Looks on meanwhile."""
        handle = denoiser.register_forward_hook(self)
        try:
            yield
        finally:
            handle.remove()

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...], denoised: Tensor) -> None:
        """Takes in an evaluation; a forward hook."""
        chosen = set(self.followed)
        rows = [row for row, number in enumerate(self._rows) if number in chosen]
        if not rows:
            return
        x_t, t = inputs[0], inputs[1]
        times = t.detach().cpu().double().expand(len(self._rows))[rows]
        levels = self.schedule.noise_level(times).tolist()
        # Indexing copies: a sampler may go on to write into either.
        x_t, denoised = x_t.detach()[rows], denoised.detach()[rows]
        if self._together:
            self._add(self._ways[0], TrajectoryPoint(float(times[0]), levels[0], x_t, denoised))
            return
        for place, (row, time, level) in enumerate(zip(rows, times.tolist(), levels, strict=True)):
            # A row would keep the whole batch in memory.
            self._add(
                self._ways[self._rows[row]], TrajectoryPoint(time, level, x_t[place].clone(), denoised[place].clone())
            )

    def _add(self, way: list[TrajectoryPoint], frame: TrajectoryPoint) -> None:
        """Puts a frame at the end of a way, in place of those at as little noise or less, which led nowhere."""
        while way and way[-1].t <= frame.t:
            way.pop()
        way.append(frame)
        if len(way) > 2 * self._most:  # seldom, and so at little cost
            way[:] = thin_out(way, self._most)

    def leave(self, numbers: Sequence[int]) -> None:
        """Samples that have finished are in the next batch no more."""
        gone = set(numbers)
        self._rows = [number for number in self._rows if number not in gone]

    def path(self, number: int) -> list[TrajectoryPoint]:
        """The frames of a sample that is followed, noise falling; the last estimate is the sample as it stands."""
        if not self._together:
            return list(self._ways[number])
        row = self.followed.index(number)
        return [f._replace(x_t=f.x_t[row], denoised=f.denoised[row]) for f in self._ways[0]]


def record_trajectories(
    sampler: Sampler | AdaptiveSampler,
    grid: Tensor | None,
    seeds: Sequence[int],
    y: Tensor | None,
    shape: Sequence[int],
    device: torch.device | str = "cpu",
    shown: int = 40,
) -> list[RecordedTrajectory]:
    """Draws samples and keeps what they pass through.

    The samples are those that `draw` makes of these seeds in one batch, bit for bit; where a sampler chooses its own
    steps, each in a batch of its own, since no two trajectories have the same times.

    Args:
        sampler: how to draw.
        grid: falling times, (N,) float64; None for a sampler that chooses its own steps.
        seeds: one per sample; few, since states of all are kept.
        y: labels, (n,), or None.
        shape: the shape of one sample.
        device: where samples are made, and the labels are.
        shown: how many frames of each will be picked. Large states are kept at twice as many noise levels, no more.

    Returns:
        A trajectory per seed.
    """
    adaptive = isinstance(sampler, AdaptiveSampler)
    parts = [slice(i, i + 1) for i in range(len(seeds))] if adaptive else [slice(0, len(seeds))]
    paths: list[RecordedTrajectory] = []
    for part in parts if seeds else ():
        labels, n = None if y is None else y[part], len(seeds[part])
        watcher = Recorder(sampler.schedule, n, range(n), math.prod(shape), shown, together=True)
        with watcher.on(sampler.denoiser):
            finished = [s for found in draw(sampler, grid, seeds[part], labels, shape, n, device) for s in found]
        paths += [RecordedTrajectory(watcher.path(s.number), s.x, s.evaluations, s.problem) for s in finished]
    return paths


def thin_out(path: Sequence[TrajectoryPoint], n: int) -> list[TrajectoryPoint]:
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


def unit_variance(frame: TrajectoryPoint, schedule: Schedule) -> Tensor:
    r"""The state of a frame as a picture to look at: :math:`x_t / \sqrt{\alpha_t^2 + \sigma_t^2}`.

    Pure noise then has a standard deviation of 1, whatever the schedule, and the end of the trajectory is the data's.
    """
    t = torch.tensor(frame.t, dtype=torch.float64)
    return frame.x_t / math.hypot(float(schedule.alpha(t)), float(schedule.sigma(t)))

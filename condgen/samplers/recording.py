r"""The states and denoised estimates along a trajectory, from pure noise to the sample.

A hook on the denoiser records its inputs and outputs, at no evaluation more and with no change to the samplers. Some
evaluations lead nowhere: Heun's predictor, a state that a corrector mends, a rejected adaptive step, the first way down
of a sampler that restarts. An evaluation is a point of the trajectory where no later one has as much noise or more, so
that noise falls from point to point, and the last estimate is the sample.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from condgen.denoiser import Denoiser
from condgen.samplers.adaptive.loop import AdaptiveSampler
from condgen.samplers.base import Finished, Sampler, TrajectoryPoint
from condgen.samplers.draw import draw
from condgen.schedules import Schedule


class Recorder:
    """Records the trajectories of some samples of a batch.

    Args:
        schedule: of the noise.
        samples: in the first batch, numbered from 0; no others join later.
        followed: the numbers of those that are recorded.
        most: points of a trajectory that will be shown; at most four times as many are held in memory.
    """

    def __init__(self, schedule: Schedule, samples: int, followed: Sequence[int], most: int) -> None:
        self.schedule, self.most = schedule, most
        self.points: dict[int, list[TrajectoryPoint]] = {number: [] for number in followed}
        self._rows = list(range(samples))  # the sample in each row of the batch

    @contextmanager
    def on(self, denoiser: Denoiser) -> Iterator[None]:
        """Records all evaluations of a denoiser within the block."""
        handle = denoiser.register_forward_hook(self._record)
        try:
            yield
        finally:
            handle.remove()

    def _record(self, _: nn.Module, inputs: tuple[Any, ...], denoised: Tensor) -> None:
        times = inputs[1].detach().cpu().double().expand(len(self._rows))
        levels = self.schedule.noise_level(times).tolist()
        for row, number in enumerate(self._rows):
            if number in self.points:
                # a view would keep the whole batch in memory, and a sampler may write into it
                x_t, estimate = (tensor[row].detach().clone() for tensor in (inputs[0], denoised))
                self._append(self.points[number], TrajectoryPoint(float(times[row]), levels[row], x_t, estimate))

    def _append(self, points: list[TrajectoryPoint], point: TrajectoryPoint) -> None:
        while points and points[-1].t <= point.t:
            points.pop()
        points.append(point)
        if len(points) > 4 * self.most:
            points[:] = thin_out(points, 2 * self.most)

    def leave(self, numbers: Sequence[int]) -> None:
        """Samples that have finished, and are in no later batch."""
        self._rows = [number for number in self._rows if number not in set(numbers)]


def record_trajectories(
    sampler: Sampler | AdaptiveSampler,
    grid: Tensor | None,
    seeds: Sequence[int],
    y: Tensor | None,
    shape: Sequence[int],
    device: torch.device | str = "cpu",
    most: int = 40,
) -> list[Finished]:
    """Draws a few samples as `draw` does, in one batch, with trajectories of which at most `most` points are shown."""
    recorder = Recorder(sampler.schedule, len(seeds), range(len(seeds)), most)
    found: list[Finished] = []
    with recorder.on(sampler.denoiser):
        for finished in draw(sampler, grid, seeds, y, shape, max(1, len(seeds)), device):
            found += [sample._replace(points=recorder.points[sample.number]) for sample in finished]
            recorder.leave([sample.number for sample in finished])
    return sorted(found, key=lambda sample: sample.number)


def thin_out(points: Sequence[TrajectoryPoint], n: int) -> list[TrajectoryPoint]:
    """At most n of the points, whose noise falls: the ends, and what is evenly spaced in its logarithm between them."""
    if len(points) <= n:
        return list(points)
    logs = torch.tensor([point.noise for point in points], dtype=torch.float64).log()
    targets = torch.linspace(float(logs[0]), float(logs[-1]), n, dtype=torch.float64)
    return [points[i] for i in (logs[:, None] - targets).abs().argmin(0).unique().tolist()]


def unit_variance(point: TrajectoryPoint, schedule: Schedule) -> Tensor:
    r"""The state as a picture: :math:`x_t / \sqrt{\alpha_t^2 + \sigma_t^2}`, of unit variance where noise dominates."""
    t = torch.tensor(point.t, dtype=torch.float64)
    return point.x_t / math.hypot(float(schedule.alpha(t)), float(schedule.sigma(t)))

"""Many samples: in batches along a grid, in slots that are refilled where steps are adaptive, or in one step."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from condgen.generator import Generator
from condgen.rng import Streams
from condgen.samplers.adaptive.loop import AdaptiveSampler, sample_adaptively
from condgen.samplers.base import Finished, Sampler, not_finite, trajectory


def draw(
    sampler: Sampler | AdaptiveSampler | Generator,
    grid: Tensor | None,
    seeds: Sequence[int],
    y: Tensor | None,
    shape: Sequence[int],
    batch: int,
    device: torch.device | str = "cpu",
) -> Iterator[list[Finished]]:
    """Draws a sample for each seed, `batch` at once, and yields them as they finish, not always in order.

    A sample depends on its own seed and label alone. A time grid, (N,) float64, is for samplers that take one alone.
    Labels (n,) are on the device, where samples are made; a generator, which knows its shape, must have them.
    """
    if isinstance(sampler, Generator):
        yield from _draw_in_one_step(sampler, seeds, y, batch, device)
        return
    if isinstance(sampler, AdaptiveSampler):
        yield from sample_adaptively(sampler, seeds, y, shape, batch, device)
        return
    if grid is None:
        raise ValueError("this sampler needs a time grid")
    for first in range(0, len(seeds), batch):
        part = slice(first, first + batch)
        labels, finite, evaluations = None if y is None else y[part], [], []
        for last in trajectory(sampler, grid, Streams(seeds[part], device), labels, shape):
            finite.append(last.x.isfinite().flatten(1).all(1))  # read at the end, not to wait for the device meanwhile
            evaluations.append(last.evaluations)
        finished = [Finished(first + i, x, last.evaluations, len(grid) - 1, 0, None) for i, x in enumerate(last.x)]
        for row, steps in enumerate(torch.stack(finite, 1).tolist()):
            if not steps[-1]:
                step = max((place + 1 for place, is_finite in enumerate(steps) if is_finite), default=0)
                level = float(sampler.schedule.noise_level(grid[max(0, step - 1)]))
                problem = f"{not_finite(evaluations[step], level)}; take more steps"
                finished[row] = finished[row]._replace(problem=problem)
        yield finished


@torch.no_grad()
def _draw_in_one_step(
    generator: Generator, seeds: Sequence[int], y: Tensor | None, batch: int, device: torch.device | str
) -> Iterator[list[Finished]]:
    if y is None:
        raise ValueError("a generator needs y, a label for each sample")
    for first in range(0, len(seeds), batch):
        part = slice(first, first + batch)
        x = generator(Streams(seeds[part], device).normal(generator.latent_shape), y[part])
        finite = x.isfinite().flatten(1).all(1).tolist()
        problems = [None if each else "its numbers are not finite" for each in finite]
        yield [Finished(first + i, row, 1, 1, 0, problems[i]) for i, row in enumerate(x)]

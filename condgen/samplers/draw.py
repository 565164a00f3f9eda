"""Many samples by any sampler: in batches along a grid, or in slots that are refilled where steps are adaptive."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from condgen.rng import Streams
from condgen.samplers.adaptive.loop import AdaptiveSampler, sample_adaptively
from condgen.samplers.base import Finished, Sampler, trajectory
from condgen.samplers.finite import Track, finite_rows

__all__ = ["draw"]


def draw(
    sampler: Sampler | AdaptiveSampler,
    grid: Tensor | None,
    seeds: Sequence[int],
    y: Tensor | None,
    shape: Sequence[int],
    batch: int,
    device: torch.device | str = "cpu",
) -> Iterator[list[Finished]]:
    """Draws samples, and yields them as they finish, not always in order.

    A sample depends on its own seed and label alone, whatever the batch.

    Args:
        sampler: how to draw.
        grid: falling times, (N,) float64; None for a sampler that chooses its own steps.
        seeds: one per sample.
        y: labels, (n,), or None.
        shape: the shape of one sample.
        batch: how many samples are under way at once.
        device: where samples are made, and the labels are.

    Raises:
        ValueError: where a grid is missing, or there is nothing it could be for.
    """
    if isinstance(sampler, AdaptiveSampler):
        if grid is not None:
            raise ValueError("an adaptive sampler takes no grid: it chooses its own steps")
        yield from sample_adaptively(sampler, seeds, y, shape, batch, device)
        return
    if grid is None:
        raise ValueError("this sampler needs a time grid")
    for first in range(0, len(seeds), batch):
        part = slice(first, first + batch)
        streams = Streams(seeds[part], device)
        track = Track()
        for last in trajectory(sampler, grid, streams, None if y is None else y[part], shape):
            track.note(last.x, last.evaluations)
        finished = [Finished(first + i, x, last.evaluations, len(grid) - 1, 0, None) for i, x in enumerate(last.x)]
        for row in [row for row, finite in enumerate(finite_rows(last.x)) if not finite]:
            levels = sampler.schedule.noise_level(grid).tolist()
            not_finite = track.read(row, [*levels, levels[-1]])
            finished[row] = finished[row]._replace(problem=f"{not_finite}; take more steps", not_finite=not_finite)
        yield finished

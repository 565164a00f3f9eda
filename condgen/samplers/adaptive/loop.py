"""Samplers that choose their own steps, for every sample by itself, and the loop that drives them.

A step is a generator over a batch of samples: it yields the states that it needs estimates of. Samples that have no
estimate at their own state are evaluated in the same call, so nothing is evaluated in vain. A sample that has finished
leaves its slot to the next one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser
from condgen.rng import Streams
from condgen.samplers.adaptive.brownian import BrownianPath
from condgen.samplers.base import Finished, SamplerInfo, not_finite
from condgen.schedules import Schedule, expand


class Batch(NamedTuple):
    """Samples before a step, each at a time of its own; times and lengths are (B,) float64 on the CPU."""

    x: Tensor  # (B, ...), the states
    t: Tensor  # their times
    denoised: Tensor  # (B, ...), the estimates there
    length: Tensor  # of the step to try, in the sampler's unit
    memory: Tensor  # (B, ...), what the last accepted step left; at first the state
    paths: Sequence[BrownianPath]


class Trial(NamedTuple):
    """The samples after a step, which is accepted where its error is at most one."""

    x: Tensor
    t: Tensor
    error: Tensor  # (B,) float64 on the CPU, in units of the tolerance
    length: Tensor  # of the step that was made
    memory: Tensor
    denoised: Tensor | None = None  # the estimates at x, where they are known


Steps: TypeAlias = Generator[tuple[Tensor, Tensor], Tensor, Trial]
"""Yields states (B, ...) and times (B,), and is sent the estimates there."""


class Controller(NamedTuple):
    r"""The factor :math:`\theta E^{-r}` from a step's length to the next, where E is the error of the step.

    E is in units of the tolerance; above one, the step is rejected (Jolicoeur-Martineau et al. 2021, "Gotta Go Fast
    When Generating Data with Score-Based Models", arXiv 2105.14080, algorithm 1).
    """

    exponent: float  # r; one over the order of the error for a deterministic method
    shrink: float  # the least factor, also after an error that is not a number
    growth: float  # the greatest factor
    first: float  # length that is tried, in the sampler's unit
    shortest: float = 1e-8  # a step accepted whatever its error, unless that is not finite: the sample is given up
    safety: float = 0.9  # theta, below one

    def factor(self, error: float) -> float:
        if not math.isfinite(error):
            return self.shrink
        if error == 0:
            return self.growth
        return min(max(self.safety * math.pow(error, -self.exponent), self.shrink), self.growth)


Relative: TypeAlias = Annotated[float, Field(gt=0, lt=1, description="tolerated error, as a share of the state")]


@dataclass(frozen=True, eq=False)
class AdaptiveSampler(ABC):
    info: ClassVar[SamplerInfo]
    controller: ClassVar[Controller]

    denoiser: Denoiser
    relative: Relative = 0.05
    absolute: Annotated[float, Field(gt=0, description="or in data units; 2/256 is a grey level of an image")] = 2 / 256
    max_evaluations: Annotated[int, Field(gt=0, description="per sample; one that needs more is an error")] = 10_000

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    @property
    def unit(self) -> float:
        """Of the lengths of steps."""
        return 1.0

    @abstractmethod
    def step(self, batch: Batch) -> Steps:
        """Makes a step; one that reaches the least noise ends at `schedule.t_min` exactly."""

    def time(self, level: Tensor) -> Tensor:
        """The time of noise levels, the last one free of the round trip."""
        t = self.schedule.t_of_noise_level(level)
        return torch.where(level <= self.schedule.noise_range[0], self.schedule.t_min, t)

    def error(self, difference: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """The root mean square of differences in units of the tolerance at two states, (B,) float64 on the CPU."""
        tolerance = torch.maximum(one.abs(), other.abs()).mul(self.relative).clamp_min(self.absolute)
        ratio = (difference / tolerance).flatten(1)
        # of torch's sums over rows, this one alone has the same bits in a batch of any size
        return (torch.linalg.vector_norm(ratio, dim=1) / math.sqrt(ratio.shape[1])).cpu().double()


@dataclass(eq=False)
class _Sample:
    number: int
    y: Tensor | None  # scalar
    path: BrownianPath
    x: Tensor
    t: float
    length: float  # of the next step
    memory: Tensor
    denoised: Tensor | None = None  # the estimate at x, once it is known
    evaluations: int = 0
    accepted: int = 0
    rejected: int = 0
    is_finite: bool = True


@torch.no_grad()
def sample_adaptively(
    sampler: AdaptiveSampler,
    seeds: Sequence[int],
    y: Tensor | None,
    shape: Sequence[int],
    slots: int,
    device: torch.device | str = "cpu",
) -> Iterator[list[Finished]]:
    """Draws samples, and yields those that finish in each round; the arguments are those of `draw`."""
    t = torch.tensor(sampler.schedule.t_max, dtype=torch.float64)

    def start(number: int) -> _Sample:
        streams = Streams([seeds[number]], device)
        noise = streams.normal(shape)[0]
        x, path = expand(sampler.schedule.sigma(t), noise) * noise, BrownianPath(streams, shape)
        label = None if y is None else y[number]
        return _Sample(number, label, path, x, float(t), sampler.controller.first * sampler.unit, x)

    waiting, samples = iter(range(len(seeds))), list[_Sample]()
    while samples := samples + [start(number) for number in islice(waiting, slots - len(samples))]:
        _make_round(sampler, samples)
        finished = [_finish(sampler, sample) for sample in samples]
        yield [found for found in finished if found is not None]
        samples = [sample for sample, found in zip(samples, finished, strict=True) if found is None]


def _make_round(sampler: AdaptiveSampler, samples: Sequence[_Sample]) -> None:
    """A step of the samples whose estimates are known, and the estimates of the others."""
    if not (known := [sample for sample in samples if sample.denoised is not None]):
        _evaluate(sampler.denoiser, samples, {})
        return
    steps = sampler.step(_batch(known))
    estimates: Any = None  # which starts them
    while True:
        try:
            x, t = steps.send(estimates)
        except StopIteration as end:
            _judge(sampler, known, end.value)
            return
        asked = dict(zip(known, zip(x, t.tolist(), strict=True), strict=True))
        estimates = torch.stack(_evaluate(sampler.denoiser, samples, asked))


def _batch(samples: Sequence[_Sample]) -> Batch:
    x, memory = (torch.stack(rows) for rows in zip(*((s.x, s.memory) for s in samples), strict=True))
    denoised = torch.stack([sample.denoised for sample in samples if sample.denoised is not None])
    t, length = torch.tensor([(sample.t, sample.length) for sample in samples], dtype=torch.float64).T
    return Batch(x, t, denoised, length, memory, [sample.path for sample in samples])


def _evaluate(
    denoiser: Denoiser, samples: Sequence[_Sample], asked: Mapping[_Sample, tuple[Tensor, float]]
) -> list[Tensor]:
    """The estimates at the states and times of a step; those of samples without an estimate are kept by these."""
    rows = [sample for sample in samples if sample in asked or sample.denoised is None]
    states = [asked.get(sample, (sample.x, sample.t)) for sample in rows]
    x, t = torch.stack([x for x, _ in states]), torch.tensor([t for _, t in states], dtype=torch.float64)
    labels = [sample.y for sample in rows if sample.y is not None]
    denoised: Tensor = denoiser(x, t, torch.stack(labels) if labels else None)
    found = []
    for sample, estimate, is_finite in zip(rows, denoised, denoised.isfinite().flatten(1).all(1).tolist(), strict=True):
        sample.evaluations += 1
        if sample in asked:
            found.append(estimate)
        else:
            sample.denoised, sample.is_finite = estimate, is_finite
    return found


def _judge(sampler: AdaptiveSampler, samples: Sequence[_Sample], trial: Trial) -> None:
    controller, shortest = sampler.controller, sampler.controller.shortest * sampler.unit
    for row, sample in enumerate(samples):
        error, length = float(trial.error[row]), float(trial.length[row])
        sample.length = max(length * controller.factor(error), shortest)
        if math.isfinite(error) and (error <= 1 or length <= shortest):
            sample.x, sample.t, sample.memory = trial.x[row], float(trial.t[row]), trial.memory[row]
            sample.denoised = None if trial.denoised is None else trial.denoised[row]
            sample.path.advance(length)
            sample.accepted += 1
        else:
            sample.rejected += 1
            sample.is_finite &= math.isfinite(error) or length > shortest


def _finish(sampler: AdaptiveSampler, sample: _Sample) -> Finished | None:
    problem = None
    if not sample.is_finite:
        level = float(sampler.schedule.noise_level(torch.tensor(sample.t, dtype=torch.float64)))
        problem = f"{not_finite(sample.evaluations, level)}; try a smaller tolerance with the option relative"
    elif sample.t <= sampler.schedule.t_min and sample.denoised is not None:
        pass
    elif sample.evaluations + sampler.info.evaluations > sampler.max_evaluations:
        problem = f"it needs more than {sampler.max_evaluations:,} evaluations; raise max_evaluations or relative"
    else:
        return None
    x = (sample.x if sample.denoised is None else sample.denoised).clone()
    return Finished(sample.number, x, sample.evaluations, sample.accepted, sample.rejected, problem)

"""What a sample costs in one step of a generator, and in many of a sampler, with the same network.

The generator's network is a denoiser's, asked once, as distillation leaves it (`condgen.generator.model`). The samplers
ask the same network, told the label, at every step. All take turns in one run and draw the noise of every sample from a
stream of its own, as `condgen sample` does, so that the quotients hold on a noisy machine; weights are random, since a
network's cost does not depend on them. Writing pictures costs the same either way, and is not counted.
"""

import copy
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.seeds import Fact, rows_over_seeds
from benchmarks.timing import take_turns
from condgen.generator import Generator as OneStep
from condgen.generator import GeneratorConfig
from condgen.networks import AnyDenoiserNet, MLPSettings, UNetSettings
from condgen.rng import Streams
from condgen.samplers import FIXED, SamplerName, final, grid_for, points_within, trajectory
from condgen.schedules import EDM
from condgen.score import ScoreConfig, ScoreModel
from condgen.training import Precision, PriorSettings, lighten_

__all__ = ["ONE_STEP", "ONE_STEP_SIZES", "RIVALS", "one_step_rows"]


class Size(NamedTuple):
    """A network, and the batches it is timed on; the samplers take the last one."""

    network: AnyDenoiserNet
    shape: tuple[int, int, int]
    batches: tuple[int, ...]


ONE_STEP_SIZES: dict[str, Size] = {
    "digits": Size(MLPSettings(width=256, depth=3), (1, 8, 8), (1, 16, 250)),
    "small-unet": Size(UNetSettings(channels=16, multipliers=(1, 2), blocks=1, attention=()), (3, 32, 32), (1, 16)),
    "cifar": Size(UNetSettings(channels=64, multipliers=(1, 2, 2)), (3, 32, 32), (16, 500)),  # for a GPU
}
ONE_STEP = "one step"
RIVALS: dict[str, tuple[SamplerName, int]] = {
    "euler-maruyama, 1,000 evaluations": ("euler-maruyama", 1000),
    "unipc, 20 evaluations": ("unipc", 20),
}
_CLASSES, _SIGMA_DATA, _LEVEL = 10, 0.5, 2.5


def one_step_rows(
    name: str, device: torch.device, rounds: int = 5, compiled: bool = False
) -> Generator[str, None, list[dict[str, Any]]]:
    """Times one step by batch, precision and compilation, and samplers with the same network.

    Args:
        name: one of `ONE_STEP_SIZES`.
        device: of the network.
        rounds: every variant is timed once a round; the median counts.
        compiled: compiled networks too, which takes about a minute for each batch.

    Yields:
        What comes next.

    Returns:
        Rows as `rows_over_seeds` makes them. By variant: "time" in microseconds an image, "speed" in images a second,
        and, of samplers, "relative cost", the time of an image in those of one step in float32 at the same batch.
    """
    size = ONE_STEP_SIZES[name]
    torch.manual_seed(0)
    names = tuple(map(str, range(_CLASSES)))
    config = GeneratorConfig(network=size.network, shape=size.shape, names=names, scale=_SIGMA_DATA, level=_LEVEL)
    generator = config.build().to(device).eval()
    model = ScoreConfig(
        network=size.network,
        schedule=EDM(),
        shape=size.shape,
        names=names,
        labels="embedding",
        sigma_data=_SIGMA_DATA,
    ).build()
    model = model.to(device).eval()
    weights = sum(p.numel() for p in generator.parameters())
    variants: dict[tuple[str, int], Callable[[], object]] = {}
    precisions: Sequence[Precision] = ("float32", "bfloat16")
    for batch in size.batches:
        for precision in precisions:
            for compile_it in (False, True) if compiled else (False,):
                lighter = lighten_(copy.deepcopy(generator), PriorSettings(precision=precision, compile=compile_it))
                variant = f"{ONE_STEP}, {precision}{', compiled' if compile_it else ''}"
                variants[variant, batch] = _one_step(lighter, batch, device)
    batch = size.batches[-1]
    for variant, (sampler, evaluations) in RIVALS.items():
        variants[variant, batch] = _sampled(model, sampler, evaluations, batch, device)
    named = {f"{variant}, batch {batch}": function for (variant, batch), function in variants.items()}
    found = yield from take_turns(named, rounds, device)
    facts = []
    base = found[f"{ONE_STEP}, float32, batch {batch}"]
    for variant, of in variants:
        ms = found[f"{variant}, batch {of}"]
        where = f"{name}: {size.network.kind} of {weights / 1e6:.2g} M weights, batch {of} of {_times(size.shape)}"
        facts.append(Fact("time", variant, where, "us an image", 1000 * ms / of))
        facts.append(Fact("speed", variant, where, "images/s", 1000 * of / ms))
        if variant in RIVALS:
            facts.append(Fact("relative cost", variant, where, "one steps in float32", ms / base))
    return rows_over_seeds(facts)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _labels(batch: int, device: torch.device) -> Tensor:
    return torch.arange(batch, device=device) % _CLASSES


def _one_step(generator: OneStep, batch: int, device: torch.device) -> Callable[[], object]:
    y = _labels(batch, device)

    @torch.no_grad()
    def run() -> Tensor:
        x: Tensor = generator(Streams(range(batch), device).normal(generator.latent_shape), y)
        return x

    return run


def _sampled(
    model: ScoreModel, name: SamplerName, evaluations: int, batch: int, device: torch.device
) -> Callable[[], object]:
    sampler, y = FIXED[name](model), _labels(batch, device)
    grid = grid_for(sampler, points_within(sampler, evaluations))

    def run() -> Tensor:
        return final(trajectory(sampler, grid, Streams(range(batch), device), y, model.config.shape)).x

    return run

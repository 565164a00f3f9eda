"""What a sample costs in one step of a generator, and in many of a sampler, with the same network.

    uv run tests/benchmarks/one_step.py --full --json assets/one-step.json    (3 minutes; quick: the perceptron, 30 s)

All take turns in one run and draw the noise of every sample from a stream of its own, as `condgen sample` does; weights
are random, since cost does not depend on them. Writing pictures costs the same either way, and is not counted.
"""

import copy

import torch
from bench import Figure, Full, JsonFile, Rounds, device, finish, run, take_turns

from condgen.generator import GeneratorConfig
from condgen.networks import MLPSettings, UNetSettings
from condgen.rng import Streams
from condgen.samplers import build_sampler, final, grid_for, points_within, trajectory
from condgen.schedules import EDM
from condgen.score import ScoreConfig
from condgen.training import PriorSettings, lighten_

NAMES = tuple(map(str, range(10)))
SIZES = {  # a network, the shape of a sample, and batches; samplers take the last one
    "digits": (MLPSettings(width=256, depth=3), (1, 8, 8), (1, 250)),
    "small U-Net": (UNetSettings(channels=16, multipliers=(1, 2), blocks=1, attention=()), (3, 32, 32), (1, 16)),
}


def one_step(generator, batch, where):
    y = torch.arange(batch, device=where) % len(NAMES)
    return torch.no_grad()(lambda: generator(Streams(range(batch), where).normal(generator.latent_shape), y))


def many_steps(model, sampler_name, evaluations, batch, where):
    sampler, y = build_sampler(sampler_name, model), torch.arange(batch, device=where) % len(NAMES)
    grid = grid_for(sampler, points_within(sampler, evaluations))
    return lambda: final(trajectory(sampler, grid, Streams(range(batch), where), y, model.shape)).x


def measure(name, rounds, where) -> list[Figure]:
    network, shape, batches = SIZES[name]
    torch.manual_seed(0)
    generator = GeneratorConfig(network=network, shape=shape, names=NAMES, scale=0.5, level=2.5).build()
    generator = generator.to(where).eval()
    about = {"schedule": EDM(), "shape": shape, "names": NAMES, "labels": "embedding", "sigma_data": 0.5}
    model = ScoreConfig(network=network, **about).build().to(where).eval()
    works = {}
    for batch in batches:
        for precision in ("float32", "bfloat16"):
            lighter = lighten_(copy.deepcopy(generator), PriorSettings(precision=precision))
            works[f"one step, {precision}, batch {batch}"] = batch, one_step(lighter, batch, where)
    works[f"unipc, 20 evaluations, batch {batch}"] = batch, many_steps(model, "unipc", 20, batch, where)
    works[f"Euler-Maruyama, 1,000, batch {batch}"] = batch, many_steps(model, "euler-maruyama", 1000, batch, where)
    times = take_turns({variant: work for variant, (_, work) in works.items()}, rounds, where)
    size = f"{name} of {sum(p.numel() for p in generator.parameters()) / 1e6:.2g} M weights"
    base = times[f"one step, float32, batch {batch}"] / batch
    figures = []
    for variant, (count, _) in works.items():
        ms = times[variant] / count
        figures.append(Figure("time", variant, size, "us an image", 1000 * ms))
        figures.append(Figure("speed", variant, size, "images/s", 1000 / ms))
        figures.append(Figure("cost", variant, size, "one steps", ms / base))
    return figures


def main(json: JsonFile = None, full: Full = False, rounds: Rounds = 3) -> None:
    torch.set_num_threads(1)
    sizes = list(SIZES) if full else ["digits"]
    finish([figure for name in sizes for figure in measure(name, rounds, device())], json, rounds=rounds)


if __name__ == "__main__":
    run(main)

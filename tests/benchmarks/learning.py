"""What a training has learnt after the same time, next to diffusers and denoising-diffusion-pytorch.

    CONDGEN_DATA=DIR uv run --group bench tests/benchmarks/learning.py --full --json assets/learning.json    (1 hour)

condgen trains as size two-cores-day of recipes/cifar10/score-edm.yaml, the others as their own examples do, and once
more with a larger batch and rate; their networks have somewhat fewer parameters. One thread, bfloat16 where the
processor has it, seconds of processor time. The loss is that of EDM (log-normal -1.2, 1.2; Karras et al. 2022) of
held-out images, fixed noise, float32, by condgen's average of the weights, and by the better of the others' weights
and their own average.
"""

import copy
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from bench import Figure, Full, JsonFile, console, finish, run
from diffusers import DDPMScheduler
from torchvision import utils
from train import NAMES, SIZES, denoising_diffusion_step, diffusers_step

import condgen as cg
from condgen.data.sets import parse_data
from condgen.recipes.compose import find_recipe, load_recipe
from condgen.rng import keyed_generator
from condgen.score import ScoreConfig
from condgen.training.distributed import Processes
from condgen.training.loop import train
from condgen.training.settings import resolved
from condgen.training.state import State
from condgen.training.tasks import ScoreTask

CPU = torch.device("cpu")
PEERS = {  # batch and what differs from the example
    "diffusers, its example": (diffusers_step, 16, {}),
    "diffusers, batch 64, rate 1e-3": (diffusers_step, 64, {"lr": 1e-3}),
    "diffusers, the same, 50 steps of warm-up": (diffusers_step, 64, {"lr": 1e-3, "warmup": 50}),
    "denoising-diffusion-pytorch, its example": (denoising_diffusion_step, 16, {}),
    "denoising-diffusion-pytorch, batch 64, rate 1e-3": (denoising_diffusion_step, 64, {"lr": 1e-3}),
}


def condgen_step(data):
    part = load_recipe(find_recipe("cifar10/score-edm"), size="two-cores-day").score
    config = ScoreConfig(network=part.network, schedule=cg.EDM(), shape=data.shape, names=NAMES, sigma_data=0.5)
    task = ScoreTask(config.build(), part.density)
    state = State.fresh(task.models, part.training.betas, part.training.optimizer)
    records = train(task, state, data, part.training, 0, Processes(cpu=True))
    return lambda: next(records), lambda: [state.ema]


def peer_step(make, batch, options, folder):
    """A step, and the estimates of clean images that one asks for after it."""
    size, precision = (*SIZES["learning"][:-2], batch, 32), resolved("auto", CPU)
    net, step, average = make(size, folder, precision, CPU, workers=0, **options)
    schedule = DDPMScheduler() if make is diffusers_step else net
    levels = (1 / schedule.alphas_cumprod.double() - 1).sqrt()

    def estimate(x, sigma, net):
        k, sigma = (levels - sigma[:, None]).abs().argmin(1), sigma.float().view(-1, 1, 1, 1)
        scaled = x / (1 + sigma**2).sqrt()
        return x - sigma * net(scaled, k).sample if make is diffusers_step else net.model_predictions(scaled, k)[1]

    def estimates():
        averaged = copy.deepcopy(net)
        if make is diffusers_step:
            average.copy_to(averaged.parameters())
        else:
            averaged.load_state_dict(average.ema_model.state_dict())
        return [lambda x, sigma, net=each: estimate(x, sigma, net) for each in (averaged, net)]

    return step, estimates


@torch.no_grad()
def held_out_loss(estimate, clean):
    quantiles = (torch.arange(len(clean), dtype=torch.float64) + 0.5) / len(clean)
    sigma = (1.2 * torch.special.ndtri(quantiles) - 1.2).exp()
    noised = clean + sigma.float().view(-1, 1, 1, 1) * torch.randn(clean.shape, generator=keyed_generator(0))
    found = torch.cat([estimate(*pair) for pair in zip(noised.split(64), sigma.split(64), strict=True)])
    return float(((found - clean).square().mean((1, 2, 3)) * (sigma**2 + 0.25) / (0.5 * sigma) ** 2).mean())


def main(
    json: JsonFile = None,
    full: Full = False,
    minutes: Annotated[float, typer.Option(help="Of each training; two seconds without --full.")] = 10,
) -> None:
    torch.set_num_threads(1)
    black = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    data = held_out = cg.LabelledSet(black, torch.arange(64) % 10, NAMES, "black", "train")
    if full:
        data, held_out, _ = parse_data("cifar10").load_all()
    clean = held_out.at_most(512, keyed_generator(0)).floats()
    seconds, figures = 60 * minutes if full else 2, []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all").mkdir()
        for number, image in enumerate(data.x):
            utils.save_image(image / 255, Path(folder) / "all" / f"{number:06d}.png")
        makers = {"condgen": lambda: condgen_step(data)}
        makers |= {name: lambda how=how: peer_step(*how, folder) for name, how in PEERS.items()}
        for name, make in makers.items():
            torch.manual_seed(0)
            step, estimates = make()
            used, count = 0.0, 0
            for part in range(1, 11):
                started = time.process_time()
                while used + time.process_time() - started < seconds * part / 10:
                    step()
                    count += 1
                used += time.process_time() - started
                loss = min(held_out_loss(estimate, clean) for estimate in estimates())
                console.print(name, count, f"{loss:.4f}")
                figures.append(Figure(f"{seconds * part / 10:g} s", name, "held-out loss after", "", loss))
                figures.append(Figure(f"{seconds * part / 10:g} s", name, "steps after", "", count))
    finish(figures, json)


if __name__ == "__main__":
    run(main)

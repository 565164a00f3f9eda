"""What a training step costs: images a second, next to diffusers and denoising-diffusion-pytorch.

    uv run --group bench tests/benchmarks/train.py --full --json assets/train.json    (10 minutes; quick: 60 s)

Every variant is a whole step as its library's own example takes it, from the data to the average of the weights; score
networks have about as many parameters. All take turns in one run; bfloat16 is autocast for all.
"""

import os
import tempfile
from pathlib import Path

import torch
from bench import Figure, Full, JsonFile, Rounds, device, finish, run, take_turns
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from ema_pytorch import EMA
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms, utils

import condgen as cg
from condgen.classifier import ClassifierConfig
from condgen.score import ScoreConfig
from condgen.training.distributed import Processes
from condgen.training.loop import train
from condgen.training.settings import PriorSettings, TrainingSettings, lighten_
from condgen.training.state import State
from condgen.training.tasks import ClassifierTask, ScoreTask

NAMES = tuple(map(str, range(10)))
SIZES = {  # multipliers; widths of condgen's, diffusers' and the other's U-Net; of the classifier; blocks; batch; side
    "quick": ((1, 2), 16, 16, 16, 16, 1, 8, 16),
    "cpu": ((1, 1, 2, 2), 80, 88, 96, 32, 2, 16, 32),
    "cuda": ((1, 2, 3), 112, 120, 144, 64, 2, 256, 32),
}


def batches(folder, side, batch, workers, where, signed):
    steps = [transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    steps += [transforms.Normalize([0.5], [0.5])] if signed else []
    pictures = datasets.ImageFolder(folder, transforms.Compose(steps))
    while True:
        for x, _ in DataLoader(pictures, batch, True, num_workers=workers, drop_last=True):
            yield x.to(where)


def diffusers_step(size, folder, precision, where):
    multipliers, _, width, _, _, blocks, batch, side = size
    levels = len(multipliers)
    net = UNet2DModel(
        sample_size=side,
        layers_per_block=blocks,
        block_out_channels=tuple(width * multiplier for multiplier in multipliers),
        down_block_types=tuple("AttnDownBlock2D" if i == 1 else "DownBlock2D" for i in range(levels)),
        up_block_types=tuple("AttnUpBlock2D" if i == levels - 2 else "UpBlock2D" for i in range(levels)),
        norm_num_groups=8,
    ).to(where)
    noise_scheduler, average = DDPMScheduler(num_train_timesteps=1000), EMAModel(net.parameters(), decay=0.9999)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
    rates = get_scheduler("cosine", optimiser, num_warmup_steps=500, num_training_steps=10**6)
    data = batches(folder, side, batch, 0, where, signed=True)

    def step():
        x = next(data)
        noise, k = torch.randn_like(x), torch.randint(0, 1000, (len(x),), device=where)
        with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bfloat16"):
            estimate = net(noise_scheduler.add_noise(x, noise, k), k).sample
        loss = nn.functional.mse_loss(estimate.float(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rates.step()
        optimiser.zero_grad()
        average.step(net.parameters())

    return net, step


def denoising_diffusion_step(size, folder, precision, where):
    multipliers, _, _, width, _, _, batch, side = size
    net = Unet(width, dim_mults=multipliers)
    diffusion = GaussianDiffusion(net, image_size=side).to(where)
    optimiser, average = torch.optim.Adam(diffusion.parameters(), lr=1e-4), EMA(diffusion, beta=0.995, update_every=10)
    data = batches(folder, side, batch, os.cpu_count() or 1, where, signed=False)

    def step():
        with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = diffusion(next(data))
        loss.backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update()

    return diffusion, step


def condgen_step(what, size, data, precision, where):
    multipliers, width, _, _, classifier_width, blocks, batch, side = size
    about = {"schedule": cg.EDM(), "shape": data.shape, "names": NAMES, "sigma_data": 0.5}
    network = cg.UNetSettings(channels=width, multipliers=multipliers, blocks=blocks, attention=(side // 2,))
    model = ScoreConfig(network=network, **about).build().to(where)
    task = ScoreTask(model, cg.LogNormal())
    if what != "score model":
        prior = lighten_(model.eval().requires_grad_(False), PriorSettings(precision=precision))
        classifier = ClassifierConfig(network=cg.ResNetSettings(width=classifier_width), **about).build().to(where)
        loss = cg.CrossEntropy() if what.startswith("CE") else cg.DLSM()
        task = ClassifierTask(classifier, loss, cg.LogNormal(), prior if loss.needs_prior else None)
    settings = TrainingSettings(steps=10**9, batch=batch, flip=True, precision=precision)
    state = State.fresh(task.models, settings.betas)
    records = train(task, state, data, settings, 0, Processes(cpu=where.type == "cpu"))
    return state.models["model"], lambda: next(records)


def main(json: JsonFile = None, full: Full = False, rounds: Rounds = 3) -> None:
    where, works = device(), {}
    size = SIZES[where.type if full else "quick"]
    batch, side = size[-2:]
    coarse = torch.rand(512, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    x = nn.functional.interpolate(coarse, (side, side), mode="bilinear").to(torch.uint8)
    data = cg.LabelledSet(x, torch.arange(512) % 10, NAMES, "smooth noise", "train").to(where)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all").mkdir()
        for number, image in enumerate(x):
            utils.save_image(image / 255, Path(folder) / "all" / f"{number:06d}.png")
        for precision in ("float32", "bfloat16"):
            made = {
                f"condgen, {what}": condgen_step(what, size, data, precision, where)
                for what in ("score model", "CE classifier", "DLSM classifier")
            }
            made["diffusers"] = diffusers_step(size, folder, precision, where)
            made["denoising-diffusion-pytorch"] = denoising_diffusion_step(size, folder, precision, where)
            works |= {(name, precision): step for name, (_, step) in made.items()}
            parameters = {name: sum(p.numel() for p in net.parameters()) / 1e6 for name, (net, _) in made.items()}
        times = take_turns(works, rounds, where, least_seconds=1.0)
    about = f"batch {batch} of 3x{side}x{side}"
    figures = [Figure("parameters", name, about, "M", count) for name, count in parameters.items()]
    figures += [Figure(how, name, about, "images/s", 1000 * batch / ms) for (name, how), ms in times.items()]
    finish(figures, json, rounds=rounds)


if __name__ == "__main__":
    run(main)

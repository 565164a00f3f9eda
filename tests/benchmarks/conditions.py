"""Classifiers of numbers, of attributes, and of sets of classes: held-out scores, and whether samples obey.

    uv run condgen run recipes/digits.yaml
    uv run tests/benchmarks/conditions.py runs/digits/score --full --json assets/conditions.json
      --picture assets/conditions.png    (16 minutes)
    uv run tests/benchmarks/conditions.py assets/pretrained/cifar100/score --classifier
      assets/pretrained/cifar100/classifier --full --json assets/conditions-cifar100.json    (5 minutes)

Digits: a Gaussian head of ink (mean brightness) and slant (of the second moments), in units of their deviation over the
training images, and a Bernoulli head of two attributes, even and with a loop; by likelihood alone and by DLSM of equal
time. CIFAR-100: its superclasses as sets of five classes, one classifier for both levels.
"""

import math
import time
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import torch
import typer
from bench import Figure, Full, JsonFile, Picture, Seeds, finish, run, take_turns
from sklearn.svm import SVC

import condgen as cg
from condgen.classifier import ClassifierConfig
from condgen.schedules import LogNormal

LEVELS = (0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0)
LOOPS = torch.tensor([1, 0, 0, 0, 0, 0, 1, 0, 1, 1], dtype=torch.bool)
SUPERCLASSES = """4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5
19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15
13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"""


def ink_and_slant(x):
    """(B, 2) of images (B, 1, 8, 8): mean brightness, and the covariance of rows and columns over rows' variance."""
    mass = ((x[:, 0] + 1) / 2).clamp(min=0) + 1e-9
    total = mass.sum((1, 2), keepdim=True)
    place = torch.arange(x.shape[-1], dtype=x.dtype)
    row, column = place[:, None] - (mass * place[:, None]).sum((1, 2), keepdim=True) / total, place
    column = column - (mass * column).sum((1, 2), keepdim=True) / total
    slant = (mass * row * column).sum((1, 2)) / (mass * row.square()).sum((1, 2))
    return torch.stack((mass.mean((1, 2)), slant), 1)


def attributes(label):
    return torch.stack((label % 2 == 0, LOOPS[label]), 1).float()


def trained(head, prior, x, y, loss, steps, seed):
    """A perceptron of the digits recipe's size, its rate falling to zero; yielded after each step."""
    torch.manual_seed(seed)
    network = {"kind": "mlp", "width": 256, "depth": 3}
    about = {"network": network, "schedule": prior.schedule, "shape": prior.shape, "names": ("first", "second")}
    model = ClassifierConfig.model_validate(about | {"sigma_data": prior.sigma_data, "head": head}).build()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (256,))
        t = LogNormal(mean=0, std=1.2).quantile(prior.schedule, torch.rand(256, dtype=torch.float64))
        batch = x[rows], y[rows], t, torch.randn(256, *prior.shape)
        found = cg.dlsm_loss(model, prior, *batch) if loss == "dlsm" else cg.cross_entropy_loss(model, *batch)
        optimiser.zero_grad()
        found.mean().backward()
        optimiser.step()
        rate.step()
        yield model


def last(steps):
    *_, model = steps
    return model.eval().requires_grad_(False)


def differences(methods, x, y, draws, kind, seed):
    for row in cg.held_out_differences(methods, ["zero guidance"], x, y, LEVELS, draws=draws, seed=seed):
        about = row.method, f"{kind}, noise level {row.sigma:g}", "1e-3 sigma^2"
        yield Figure("minus zero guidance", *about, 1e3 * row.mean)
        yield Figure("s.e. over images", *about, 1e3 * row.se)


def digits(prior, full, seeds, picture):
    train, test = (cg.load_data(cg.parse_data("digits"), split) for split in ("train", "test"))
    x, unseen = train.floats(), test.floats()
    known, figures = ink_and_slant(x), []
    judge = SVC().fit(x.flatten(1).numpy(), train.y.numpy())
    targets = {"gaussian": lambda x, y: (ink_and_slant(x) - known.mean(0)) / known.std(0)}
    targets["bernoulli"] = lambda x, y: attributes(y)
    for seed in range(seeds if full else 1):
        for head, of in targets.items():
            y, asked = of(x, train.y), of(unseen, test.y)
            calls = {loss: trained(head, prior, x, y, loss, 10**6, seed).__next__ for loss in ("likelihood", "dlsm")}
            ms = take_turns(calls, 9, torch.device("cpu"))
            steps = 1000 if full else 20
            counts = {"dlsm": steps, "likelihood": round(steps * ms["dlsm"] / ms["likelihood"])}
            counts["likelihood, as many steps"] = steps
            models = {loss: last(trained(head, prior, x, y, loss, counts[loss], seed)) for loss in counts}
            methods = {loss: cg.ClassifierGuided(prior, model) for loss, model in models.items()}
            figures += differences({"zero guidance": prior} | methods, unseen, asked, 4 if full else 1, head, seed)
            for loss, model in models.items():
                for scale in (0.0, 1.0, 2.0):
                    drawn = cg.sample(cg.ClassifierGuided(prior, model, scale), asked, nfe=20, seed=1000 * seed)
                    about = f"{loss}, scale {scale:g}", f"{head}, samples", ""
                    if head == "gaussian":
                        found = of(drawn, None)
                        for name, one, wanted in zip(("ink", "slant"), found.T, asked.T, strict=True):
                            figures.append(
                                Figure(f"error of {name}", *about, float((one - wanted).square().mean().sqrt()))
                            )
                        if picture is not None and seed == 0 and (loss, scale) == ("dlsm", 2):
                            draw(prior, model, picture)
                    else:
                        label = torch.from_numpy(judge.predict(drawn.flatten(1).numpy()))
                        right = (attributes(label) == asked).float().mean(0)
                        for name, value in zip(("even", "loop"), right.tolist(), strict=True):
                            figures.append(Figure(f"{name} as asked", *about, value))
    return figures


def draw(prior, model, picture):
    """Rows: ink from two deviations below to two above; columns: slant; the same noise throughout."""
    asked = torch.cartesian_prod(torch.linspace(-2, 2, 7), torch.linspace(-2, 2, 9))
    x = cg.sample(cg.ClassifierGuided(prior, model, 2.0), asked, nfe=20, seed=[0] * len(asked))
    figure, axes = plt.subplots(7, 9, figsize=(6.3, 5), layout="constrained")
    for axis, image in zip(axes.flat, x[:, 0], strict=True):
        axis.imshow(image, cmap="gray", vmin=-1, vmax=1)
        axis.set_axis_off()
    figure.supxlabel("slant asked for, -2 to 2 deviations")
    figure.supylabel("ink, from -2 (top) to 2")
    figure.savefig(picture, dpi=110)


def cifar100(prior, classifier, full):
    test = cg.load_data(cg.parse_data("cifar100"), "test").at_most(
        1500 if full else 20, torch.Generator().manual_seed(0)
    )
    coarse, figures = torch.tensor([int(number) for number in SUPERCLASSES.split()]), []
    for name, y in {"class": test.y, "superclass": (coarse[:, None] == coarse)[test.y]}.items():
        methods = {"zero guidance": prior, name: cg.ClassifierGuided(prior, classifier)}
        figures += differences(methods, test.floats(), y, 1, "cifar100", 0)
    return figures


def main(
    score: Annotated[Path, typer.Argument(help="Of an unconditional score model of digits, or of CIFAR-100.")],
    classifier: Annotated[Path | None, typer.Option(help="Of CIFAR-100.")] = None,
    json: JsonFile = None,
    full: Full = False,
    picture: Picture = None,
    seeds: Seeds = 3,
) -> None:
    torch.set_num_threads(1)
    prior, started = cg.load(score), time.perf_counter()
    figures = cifar100(prior, cg.load(classifier), full) if classifier else digits(prior, full, seeds, picture)
    finish(figures, json, seconds=math.ceil(time.perf_counter() - started))


if __name__ == "__main__":
    run(main)

"""Classifiers of equal measured training time, by their posterior scores on held-out data.

    uv run tests/benchmarks/balance.py runs/digits/score --full --json assets/balance-digits.json    (40 minutes)
    uv run tests/benchmarks/balance.py runs/digits/score --full --only "ce;..." --split test    (baselines)
    uv run tests/benchmarks/balance.py runs/cifar10/score --full --pool 12800 --only "ce;dlsm" --split test

Every variant trains on one score model for as long as the default DLSM takes for `--steps` steps, by milliseconds a
step measured in turns. Held-out differences (`cg.held_out_differences`) are against cross-entropy, below zero where the
score is nearer to the truth; choices are made on validation data, that of the best guidance scale among them.
With `--pool` the prior's estimates come from a pool: a seed's share of its making is part of DLSM's time.
"""

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import torch
import typer
from bench import Figure, Full, JsonFile, Picture, Rounds, Seeds, console, device, finish, run, take_turns

from condgen.checkpoint import MODEL_FILE, save_tensors
from condgen.classifier import Classifier, ClassifierConfig
from condgen.data import LabelledSet, load
from condgen.denoiser import Denoiser
from condgen.diagnostics.held_out import HeldOutRow, held_out_differences
from condgen.guidance import ClassifierGuided
from condgen.losses import DLSM, ClassifierLoss, CrossEntropy
from condgen.networks import MLPSettings, ResNetSettings
from condgen.recipes import ScoreStage
from condgen.report.held_out import draw_held_out
from condgen.rng import keyed_generator
from condgen.runs.folder import read_settings
from condgen.schedules import LogNormal
from condgen.score import ScoreModel
from condgen.training import (
    PooledPrior,
    PriorPool,
    PriorSettings,
    Processes,
    Record,
    State,
    TrainingSettings,
    lighten_,
    train,
)
from condgen.training.tasks import ClassifierTask

LEVELS, SCALES = (0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0), (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)


class Variant(NamedTuple):
    loss: ClassifierLoss
    network: Mapping[str, Any] = {}
    training: Mapping[str, Any] = {}
    after: str | None = None  # half of the time goes to this variant, from whose weights it goes on


def dlsm(weight: float, ce_weight: float, **changes: Any) -> Variant:
    return Variant(DLSM(sigma_weight=weight, ce_weight=ce_weight), **changes)


VARIANTS = {
    "ce": Variant(CrossEntropy()),
    "dlsm": Variant(DLSM()),  # w 1.5, lambda 0.3
    "dlsm, w 1, lambda 1": dlsm(1, 1),
    "dlsm, w 1, lambda 1, mean": Variant(DLSM(sigma_weight=1, ce_weight=1, reduction="mean")),
    "dlsm, w 1, lambda 0.1": dlsm(1, 0.1),
    "dlsm, w 1, lambda 10": dlsm(1, 10),
    "dlsm, w 0.5, lambda 1": dlsm(0.5, 1),
    "dlsm, w 1.5, lambda 1": dlsm(1.5, 1),
    "dlsm, w 2, lambda 1": dlsm(2, 1),
    "dlsm, w 1, lambda 1, after ce": dlsm(1, 1, training={"lr": 1e-3}, after="ce"),
    "dlsm, after ce": Variant(DLSM(), training={"lr": 1e-3}, after="ce"),
    "dlsm, dropout": Variant(DLSM(), {"dropout": 0.2}),
    "ce, dropout": Variant(CrossEntropy(), {"dropout": 0.2}),
    "ce, weight decay": Variant(CrossEntropy(), training={"weight_decay": 0.3}),
    "ce, label smoothing": Variant(CrossEntropy(label_smoothing=0.1)),
}


class Trainer:
    """Trains classifiers on a score model."""

    def __init__(self, prior: ScoreModel, data: LabelledSet, pool: int, folder: Path) -> None:
        self.prior, self.data, self.processes = prior, data, Processes()
        self.pool, self.folder, self.tiny = PooledPrior(pool=pool), folder, data.shape[-1] < 16
        self.batch = 256 if self.tiny else 64

    def start(
        self, variant: Variant, steps: int, seed: int, first: Classifier | None = None
    ) -> tuple[State, ClassifierConfig, Iterator[Record]]:
        torch.manual_seed(seed)
        network = MLPSettings(width=256, depth=3) if self.tiny else ResNetSettings(width=16, blocks=(1, 1, 1, 1))
        about = {"schedule": self.prior.schedule, "shape": self.data.shape, "names": self.data.names}
        network = network.model_copy(update=dict(variant.network))
        config = ClassifierConfig(network=network, sigma_data=self.prior.sigma_data, **about)
        settings = TrainingSettings(
            **{"steps": steps, "batch": self.batch, "lr": 2e-3, "ema": 0.995, "flip": not self.tiny, "log_every": 10**6}
            | dict(variant.training)
        )
        density, pool = LogNormal(mean=0, std=1.2), None
        prior = self.prior if variant.loss.needs_prior else None
        if prior is not None and self.pool.pool:
            pool = PriorPool(prior, self.data, density, self.pool, settings, self.folder, self.processes)
        model = config.build().to(self.processes.device)
        if first is not None:
            model.load_state_dict(first.state_dict())
        task = ClassifierTask(model, variant.loss, density, prior, pool)
        state = State.fresh(task.models, settings.betas, weight_decay=settings.weight_decay)
        return state, config, train(task, state, self.data, settings, seed, self.processes)

    def lengths(self, variants: Mapping[str, Variant], steps: int, seeds: int, rounds: int) -> dict[str, int]:
        """Steps that take as long as `steps` of DLSM, with a seed's share of the pool."""
        entries = min(steps * self.batch, self.pool.pool + steps * self.batch // self.pool.reuse)
        with TemporaryDirectory() as folder:  # after its first entries this pool is never renewed
            timed = Trainer(self.prior, self.data, min(1, self.pool.pool), Path(folder))
            timed.pool = timed.pool.model_copy(update={"reuse": 10**9})
            works = {name: timed.start(v, 10**6, 0)[2] for name, v in {"dlsm": VARIANTS["dlsm"], **variants}.items()}
            x, t = self.data.floats(torch.arange(128)), torch.ones(128, dtype=torch.float64)
            calls = {name: lambda work=work: next(work) for name, work in works.items()}
            cost = take_turns(calls | {"prior": lambda: self.prior(x, t)}, rounds, device())
        console.print({name: f"{ms:.4g} ms" for name, ms in cost.items()})
        whole = steps * cost["dlsm"] + (entries / 128 * cost["prior"] / seeds if self.pool.pool else 0.0)
        return {
            name: steps if variant.loss.needs_prior else round(whole / cost[name]) for name, variant in variants.items()
        }

    def trained(self, name: str, lengths: Mapping[str, int], seed: int, out: Path, share: float = 1.0) -> Classifier:
        """A classifier that has had a share of the time, from its folder if it is there."""
        variant, first = VARIANTS[name], None
        out /= f"{name.replace(',', '').replace(' ', '-')}-{seed}" + (f"-{share:g}" if share < 1 else "")
        if not (out / MODEL_FILE).exists():
            if variant.after is not None:
                share, first = share / 2, self.trained(variant.after, lengths, seed, out.parent, share / 2)
            steps = round(share * lengths[name])
            state, config, work = self.start(variant, steps, seed, first)
            for record in work:
                if record.step % 100 == 0:
                    console.print(f"{out.name}: {record.step} of {steps}")
            save_tensors(out / MODEL_FILE, state.ema.state_dict(), config.model_dump(mode="json"))
        return Classifier.load(out, self.processes.device)


def best_scale(prior: Denoiser, classifier: Classifier, held_out: LabelledSet, draws: int) -> float:
    """The constant guidance scale whose squared error, relative to no guidance and over all levels, is least."""
    methods: dict[str, Denoiser] = {"zero": prior, **{str(s): ClassifierGuided(prior, classifier, s) for s in SCALES}}
    total = dict.fromkeys(methods, 0.0)
    for row in held_out_differences(methods, ["zero"], held_out.floats(), held_out.y, LEVELS, draws=draws, seed=1):
        total[row.method] += row.mean
    return float(min(methods.keys() - {"zero"}, key=lambda name: total[name]))


def over_seeds(rows: list[HeldOutRow]) -> Iterator[HeldOutRow]:
    """Means, with the variance between seeds added to that over images, which the seeds share."""
    for method, sigma in dict.fromkeys((row.method, row.sigma) for row in rows):
        found = [row for row in rows if (row.method, row.sigma) == (method, sigma)]
        means = torch.tensor([row.mean for row in found], dtype=torch.float64)
        spread = float(means.var()) / len(found) if len(found) > 1 else 0.0
        se = (statistics.fmean(row.se for row in found) ** 2 + spread) ** 0.5
        yield found[0].model_copy(update={"mean": float(means.mean()), "se": se})


def main(
    score: Annotated[Path, typer.Argument(help="A folder of condgen train-score.")],
    json: JsonFile = None,
    full: Full = False,
    only: Annotated[str, typer.Option(help="Variants, separated by semicolons; all by default.")] = "",
    steps: Annotated[int | None, typer.Option(help="Of the default DLSM.")] = None,
    images: Annotated[int, typer.Option(help="At most so many held-out images.")] = 1000,
    draws: Annotated[int, typer.Option(help="Noise draws an image.")] = 8,
    split: Annotated[str, typer.Option(help="validation, or test.")] = "validation",
    scales: Annotated[bool, typer.Option("--scales", help="Each variant at its best scale too.")] = False,
    pool: Annotated[int, typer.Option(help="Noised images whose estimates by the prior are kept.")] = 0,
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Evaluate the prior in bfloat16.")] = False,
    out: Annotated[Path, typer.Option(help="Where classifiers go, and come from.")] = Path("runs/balance"),
    picture: Picture = None,
    seeds: Seeds = 3,
    rounds: Rounds = 5,
) -> None:
    torch.set_num_threads(1)
    steps, seeds = steps or (1000 if full else 30), seeds if full else 1
    prior = lighten_(ScoreModel.load(score, device()), PriorSettings(precision="bfloat16" if bfloat16 else "float32"))
    data = ScoreStage.model_validate(read_settings(score)).data
    held_out, validation = (
        load(data, part).at_most(images, keyed_generator(0)).to(device()) for part in (split, "validation")
    )
    trainer = Trainer(prior, load(data, "train").to(device()), pool, out / "prior-pool")
    variants = {name: VARIANTS[name] for name in (only.split(";") if only else VARIANTS)}
    lengths = trainer.lengths(variants, steps, seeds, rounds)
    figures = [Figure("steps", name, "equal time", "", lengths[name]) for name in variants]
    methods: dict[str, Denoiser] = {"zero guidance": prior}
    for seed in range(seeds):
        for name in variants:
            classifier = trainer.trained(name, lengths, seed, out)
            methods[f"{name}/{seed}"] = ClassifierGuided(prior, classifier)
            if scales:
                scale = best_scale(prior, classifier, validation, draws)
                methods[f"{name}, best scale/{seed}"] = ClassifierGuided(prior, classifier, scale)
                figures.append(Figure("best scale", name, "equal time", "", scale))
    kept: list[HeldOutRow] = []
    references = [f"ce/{seed}" for seed in range(seeds)]
    for row in held_out_differences(methods, references, held_out.floats(), held_out.y, LEVELS, draws=draws):
        name, _, seed = row.method.partition("/")
        if seed in ("", row.reference.removeprefix("ce/")):
            kept.append(row.model_copy(update={"method": name, "reference": "ce"}))
            size = f"noise level {row.sigma:g}"
            figures.append(Figure("minus ce", name, size, "1e-3 sigma^2", 1e3 * row.mean))
            figures.append(Figure("s.e. over images", name, size, "1e-3 sigma^2", 1e3 * row.se))
    about = {"data": data.kind, "images": len(held_out), "draws": draws, "split": split, "batch": trainer.batch}
    if picture is not None:
        draw_held_out(list(over_seeds(kept)), picture)
    finish(figures, json, pool=pool, **about)


if __name__ == "__main__":
    run(main)

"""Classifiers of equal measured training time, by their posterior scores on held-out data.

    uv run tests/benchmarks/balance.py runs/digits/score --full --json assets/balance-digits.json    (40 minutes)
    uv run tests/benchmarks/balance.py runs/digits/score --full --only "dlsm;ce;ce, dropout" --scales --split test
    uv run tests/benchmarks/balance.py runs/cifar10/score --full --pool 12800 --only "ce;dlsm" --split test

Every variant trains on one score model for as long as the default DLSM takes for `--steps` steps, by milliseconds a
step measured in turns. Held-out differences (`cg.held_out_differences`) are from one variant, `--against`, below zero
where the score is nearer to the truth; choices are made on validation data, those of scale and temperature too.
With `--pool` the prior's estimates come from a pool: a seed's share of its making is part of DLSM's time (all of it
with `--per-class`, where a seed has its own). `--cost` repeats what was measured before, so that parts of a comparison
can run apart and be put together by a last run. `--also` compares conditional score models too, of one seed or of each,
such as labelled=runs/x/score-labelled or labelled/0=runs/x/seed-0, each also without its label.
"""

import re
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from bench import Figure, Full, JsonFile, Picture, Rounds, Seeds, console, device, finish, run, take_turns
from scaling import best_scalings

from condgen import Classifier, ClassifierGuided, DenoiserGuided, ScoreModel, held_out_differences
from condgen.recipes.compose import merged, read_yaml
from condgen.recipes.schema import ClassifierStage, ScoreStage
from condgen.report.score_errors import draw_held_out
from condgen.rng import keyed_generator
from condgen.runs.folder import read_settings
from condgen.runs.models import Folders
from condgen.runs.train import Train
from condgen.training.distributed import Processes
from condgen.training.settings import PriorSettings, lighten_

LEVELS = (0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0)
ALONE = Processes()
SETTINGS = read_yaml(Path(__file__).with_suffix(".yaml"))
VARIANTS = SETTINGS["variants"]


def stage(model, data, name, seed, steps, prior, training, **changes):
    """The training of a variant on a score model."""
    part = merged(merged(SETTINGS[data], VARIANTS[name]), {"training": {"steps": steps} | training} | changes)
    if part["objective"]["loss"] == "dlsm":
        part["prior"] = prior
    about = {"data": model.data, "schedule": model.schedule, "seed": seed}
    return ClassifierStage.model_validate(about | {"classifier": part})


def over_seeds(rows):
    """Means, with the variance between seeds added to that over images, which the seeds share."""
    for method, sigma in dict.fromkeys((row.method, row.sigma) for row in rows):
        found = [row for row in rows if (row.method, row.sigma) == (method, sigma)]
        means, se = [row.mean for row in found], statistics.fmean(row.se for row in found)
        spread = statistics.variance(means) / len(found) if len(found) > 1 else 0.0
        update = {"mean": statistics.fmean(means), "se": (se**2 + spread) ** 0.5}
        yield found[0].model_copy(update=update)


def main(
    score: Annotated[Path, typer.Argument(help="A folder of condgen train-score.")],
    json: JsonFile = None,
    full: Full = False,
    only: Annotated[str, typer.Option(help="Variants, separated by semicolons; all by default.")] = "",
    against: Annotated[str, typer.Option(help="The variant that others are compared with.")] = "ce",
    steps: Annotated[int, typer.Option(help="Of the default DLSM; a tenth without --full.")] = 1000,
    images: Annotated[int, typer.Option(help="At most so many held-out images.")] = 1000,
    draws: Annotated[int, typer.Option(help="Noise draws an image.")] = 8,
    split: Annotated[str, typer.Option(help="validation, or test.")] = "validation",
    per_class: Annotated[int | None, typer.Option(help="Labels of every class; all by default.")] = None,
    also: Annotated[str, typer.Option(help="Conditional score models: NAME=FOLDER, separated by commas.")] = "",
    scales: Annotated[bool, typer.Option("--scales", help="Each at its best scale and temperature too.")] = False,
    pool: Annotated[int, typer.Option(help="Noised images whose estimates by the prior are kept.")] = 0,
    precision: Annotated[str, typer.Option(help="Of the prior.")] = "float32",
    cost: Annotated[str, typer.Option(help="Instead of measuring: ce=80,dlsm=300,prior=600 milliseconds.")] = "",
    out: Annotated[Path, typer.Option(help="Of the classifiers, which are kept.")] = Path("runs/balance"),
    picture: Picture = None,
    seeds: Seeds = 3,
    rounds: Rounds = 5,
) -> None:
    torch.set_num_threads(1)
    steps, seeds = (steps, seeds) if full else (max(2, steps // 10), 1)
    model = ScoreStage.model_validate(read_settings(score))
    prior = lighten_(ScoreModel.load(score, device()), PriorSettings.model_validate({"precision": precision}))
    data = model.data.load_all()
    held_out, chosen = (getattr(data, part).at_most(images, keyed_generator(0)) for part in (split, "validation"))
    kind, names = "images" if data.train.shape[-1] >= 16 else "digits", only.split(";") if only else list(VARIANTS)
    kept, labels = {"precision": precision, "pool": pool}, {"per_class": per_class}

    each = (part.partition("=") for part in re.split(",(?! )", cost) if part)  # names of variants have commas
    ms = {name: float(value) for name, _, value in each}
    if not ms:
        x, t = data.train.floats(torch.arange(128)).to(device()), torch.ones(128, dtype=torch.float64)
        calls, of_one = {"prior": lambda: prior(x, t)}, kept | {"pool": min(1, pool), "reuse": 10**9}
        with TemporaryDirectory() as folder:  # of a pool of one entry, whose steady state is timed
            for name in dict.fromkeys(["dlsm", *names]):
                settings = stage(model, kind, name, 0, 10**6, of_one, labels, init=None)
                work = Train("classifier", Path(folder) / name, settings, data.train, Folders(score)).run(ALONE)
                calls[name] = lambda work=work: next(work)
            ms = take_turns(calls, rounds, device())
    console.print({name: f"{value:.4g} ms" for name, value in ms.items()})
    drawn = steps * SETTINGS[kind]["training"]["batch"]
    fresh = min(drawn, pool) + max(drawn - pool, 0) / 8 if pool else 0
    whole = steps * ms["dlsm"] + fresh / 128 * ms["prior"] / (seeds if per_class is None else 1)

    figures, methods = [], {"zero guidance": prior}
    for name, _, folder in (part.partition("=") for part in also.split(",") if part):
        labelled = lighten_(ScoreModel.load(folder, device()), PriorSettings.model_validate({"precision": precision}))
        methods |= {name: labelled, f"no label, {name}": DenoiserGuided(labelled, scale=0.0)}

    def trained(name, seed, share):
        folders, init = Folders(score), VARIANTS[name].get("init")
        if init in VARIANTS:
            share /= 2
            folders = Folders(score, classifiers={init: trained(init, seed, share)})
        equal = steps * ms["dlsm"] / ms[name] if "kind" in VARIANTS[name].get("network", {}) else steps
        count = round(share * (equal if VARIANTS[name]["objective"]["loss"] == "dlsm" else whole / ms[name]))
        place = out / f"{name.replace(',', '').replace(' ', '-')}-{seed}-{share:g}"
        console.print(f"{place.name}: {count} steps")
        settings = stage(model, kind, name, seed, count, kept, labels)
        list(Train(f"classifier {name}", place, settings, data.train, folders).run(ALONE))
        if share == 1 or init in VARIANTS:
            figures.append(Figure("steps", name, "equal time", "", count))
        return place

    for seed in range(seeds):
        for name in names:
            classifier = Classifier.load(trained(name, seed, 1.0), device())
            methods[f"{name}/{seed}"] = ClassifierGuided(prior, classifier)
            for what, value, guided in best_scalings(prior, classifier, chosen, LEVELS, draws) if scales else ():
                methods[f"{name}, best {what}/{seed}"] = guided
                figures.append(Figure(f"best {what}", name, "equal time", "", value))
    rows, references = [], [f"{against}/{seed}" for seed in range(seeds)]
    for row in held_out_differences(methods, references, held_out.x, held_out.y, LEVELS, draws=draws):
        name, _, seed = row.method.partition("/")
        if seed in ("", row.reference.rpartition("/")[2]):
            rows.append(row.model_copy(update={"method": name, "reference": against}))
            about = name, f"noise level {row.sigma:g}", "1e-3 sigma^2"
            figures.append(Figure(f"minus {against}", *about, 1e3 * row.mean))
            figures.append(Figure("s.e. over images", *about, 1e3 * row.se))
    if picture is not None:
        draw_held_out(list(over_seeds(rows)), picture)
    about = {"data": model.data.kind, "images": len(held_out), "draws": draws, "split": split, "pool": pool}
    finish(figures, json, **about)


if __name__ == "__main__":
    run(main)

"""`condgen evaluate`, `diagnose`, `doctor`."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.progress import console, follow
from condgen.cli.run import Overrides
from condgen.cli.stages import read_prior
from condgen.data import load, parse_data
from condgen.errors import UserError
from condgen.hub import MODEL, model_folder
from condgen.metrics import FEATURES_HELP, CasName, Measures
from condgen.recipes import (
    DiagnoseRecipe,
    DiagnoseStage,
    EvaluateStage,
    Guidance,
    apply_overrides,
    default_recipe,
)
from condgen.runs import (
    Folders,
    default_methods_in,
    describe_environment,
    diagnose_stage,
    evaluate_stage,
    lock,
    sample_folders,
)
from condgen.runs.layout import MANIFEST
from condgen.score import ScoreModel
from condgen.settings import parse
from condgen.training import Processes

__all__ = ["diagnose", "doctor", "evaluate"]


def _named(folders: list[Path]) -> dict[str, Path]:
    names = [folder.resolve().name for folder in folders]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"two folders are called {twice[0]!r}: rename one, since folder names become row names")
    return dict(zip(names, folders, strict=True))


def evaluate(
    samples: Annotated[
        list[Path], typer.Argument(help="Folders that condgen sample has written, whole or all shards.")
    ],
    data: Annotated[str, typer.Option(help="The real data: digits, moons, cifar10, cifar100, or a folder.")] = "digits",
    features: Annotated[
        str, typer.Option(help=f"What distances are measured between. {FEATURES_HELP}", metavar="NAME|PATH")
    ] = "pixels",
    cas: Annotated[
        CasName,
        typer.Option(
            help="What learns from the samples and is tested on real data: an SVC on the features, a ResNet-20."
        ),
    ] = "probe",
    cas_steps: Annotated[
        int, typer.Option(min=20, help="Steps of the ResNet's training, with 128 images each.")
    ] = 2000,
    flip: Annotated[bool, typer.Option("--flip", help="The ResNet sees mirrored images too: not for digits.")] = False,
    most: Annotated[
        int,
        typer.Option(min=100, help="Samples whose neighbours are looked at: precision to coverage, KD, authenticity."),
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of subsets and intervals.")] = 0,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/evaluation"),
) -> None:
    """Compare samples with real data: distances, overlap, variety, memory, and what a classifier learns from them.

    Every figure comes with its n, features, reference and floor: the same figure of held-out real data. Features of
    networks are kept in $CONDGEN_CACHE, ~/.cache/condgen by default.
    """
    from condgen.report import build_report, metrics_table, read_run, to_rich

    for folder in samples:
        if not (sample_folders(folder)[0] / MANIFEST).exists():
            raise UserError(f"{folder} holds no {MANIFEST}: name folders that condgen sample has written")
    settings, processes = parse_data(data), Processes()
    with lock(out, processes):
        train, test = processes.in_turn(lambda: (load(settings, "train"), load(settings, "test")))
        if features.startswith("hf:"):
            features = str(model_folder(features))
        measures = Measures(features=features, cas=cas, cas_steps=cas_steps, cas_flip=flip, most=most)
        stage = EvaluateStage(seed=seed, measures=measures)
        worked = follow(evaluate_stage(out, stage, _named(samples), train, test, processes), processes)
        if not processes.is_main:
            return
        if worked == 0:
            console.print(f"nothing left to do: {out} is finished", markup=False)
        build_report(out)
    console.print(to_rich(metrics_table(read_run(out).metrics), console.width))
    console.print(f"report: {(out / 'report.html').resolve()}", markup=False, soft_wrap=True)


def diagnose(
    score: Annotated[
        Path, typer.Option(parser=model_folder, metavar=MODEL, help="Folder of the score model that is the prior.")
    ],
    classifier: Annotated[
        list[Path] | None,
        typer.Option(parser=model_folder, metavar=MODEL, help="Folder of a classifier. Repeatable."),
    ] = None,
    posterior: Annotated[
        list[Path] | None,
        typer.Option(
            parser=model_folder, metavar=MODEL, help="Folder of a score model that is told the label. Repeatable."
        ),
    ] = None,
    levels: Annotated[str | None, typer.Option(help="Noise levels, separated by commas, in units of the data.")] = None,
    queries: Annotated[int | None, typer.Option(min=2, help="Noised data points a level.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the queries.")] = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/diagnosis"),
    overrides: Overrides = None,
) -> None:
    """Measure how wrong the scores are at each noise level: D (prior), D_P (posterior), D_L (likelihood).

    The truth is the exact score of the noised training set, which is the optimum of the training objectives. Every
    classifier is shown as it is, at its calibrated scale where it has one, and at scale 10 where it was trained by
    cross-entropy. --set methods={cfg: {score: FOLDER-NAME, guide: unlabelled, scale: 2}} shows other guidance.
    """
    from condgen.report import build_report, read_run, summary_tables, to_rich

    stage = read_prior(score)
    if stage.data is None:
        raise UserError(f"the score model in {score} was imported without data: import it again with --data")
    train = load(stage.data, "train")
    base = default_recipe(stage.data, train).diagnose
    assert base is not None
    tree = base.model_dump(mode="json")
    low, high = stage.schedule.noise_range
    tree["levels"] = [level for level in tree["levels"] if low <= level <= high]
    if levels is not None:
        tree["levels"] = [part.strip() for part in levels.split(",")]
    tree |= {key: value for key, value in (("queries", queries), ("seed", seed)) if value is not None}
    settings = parse(DiagnoseRecipe, apply_overrides(tree, overrides or []), "diagnose")
    named = _named([*(classifier or []), *(posterior or [])])
    classifiers = {name: path for name, path in named.items() if path in (classifier or [])}
    folders = Folders(score, {name: path for name, path in named.items() if name not in classifiers}, classifiers)
    told = {name: parse(Guidance, {"score": name}, f"the folder name {name!r}") for name in folders.scores}
    for place in folders.scores.values():
        if not settings.methods and ScoreModel.load(place).config.labels == "none":
            raise UserError(f"{place} is not told the label, so it has no posterior score: name it with --score alone")
    methods = settings.methods or default_methods_in(classifiers) | told
    unused = folders.scores.keys() - {name for m in methods.values() for name in (m.score, m.guide)}
    unused |= classifiers.keys() - {m.classifier for m in methods.values()}
    if unused:
        raise UserError(f"no method uses {min(unused)!r}: leave the folder out, or name it in --set methods=...")
    if not methods:
        raise UserError(
            "nothing to diagnose: name a classifier with --classifier, or a labelled model with --posterior"
        )
    processes, diagnosis = Processes(), DiagnoseStage(diagnose=settings, methods=methods)
    with lock(out, processes):
        work = diagnose_stage(out, diagnosis, folders, train.to(processes.device), processes)
        worked = follow(work, processes)
        if not processes.is_main:
            return
        if worked == 0:
            console.print(f"nothing left to do: {out} is finished", markup=False)
        build_report(out)
    for table in summary_tables(read_run(out)):
        console.print(to_rich(table, console.width))
    console.print(f"report: {(out / 'report.html').resolve()}", markup=False, soft_wrap=True)


def doctor(out: Annotated[Path, typer.Option(help="Where runs would go.")] = Path("runs")) -> None:
    """Say what is here: versions, processors, devices, data sets, free disk."""
    about = describe_environment()
    machine = about.pop("machine")
    near = next(path for path in (out.resolve(), *out.resolve().parents) if path.exists())
    lines = {**about, **machine}
    lines["free disk"] = f"{shutil.disk_usage(near).free / 2**30:.1f} GiB in {near}"
    lines["writable"] = "yes" if os.access(near, os.W_OK) else f"no: choose another folder than {near}"
    for name in ("digits", "moons", "cifar10", "cifar100"):
        try:
            data = load(parse_data(name), "train")
        except UserError as error:
            lines[f"data: {name}"] = f"not found ({error})"
        else:
            lines[f"data: {name}"] = f"{len(data):,} training samples of shape {data.shape}"
    for name, value in lines.items():
        console.print(f"{name:<16} {value}", markup=False, soft_wrap=True)

"""`condgen train-score`, `train-classifier`, `train-generator`."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import typer
from pydantic import BaseModel

from condgen.cli.progress import console, follow
from condgen.cli.run import Overrides
from condgen.data import AnyData, LabelledSet, load, parse_data
from condgen.errors import UserError
from condgen.recipe import (
    ClassifierStage,
    GeneratorStage,
    Recipe,
    ScoreStage,
    apply_overrides,
    default_recipe,
    load_recipe,
    parse,
    read_yaml,
)
from condgen.run import lock, train_stage
from condgen.run.train import TrainStage
from condgen.training import Processes

__all__ = ["train_classifier", "train_generator", "train_score"]

Data: TypeAlias = Annotated[
    str | None, typer.Option(help="digits, moons, cifar10, cifar100, or a folder with one sub-folder a class.")
]
RecipeFile: TypeAlias = Annotated[
    Path | None, typer.Option("--recipe", help="Take data, networks and training from this recipe's own part.")
]
Steps: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Training steps.")]
BatchSize: TypeAlias = Annotated[int | None, typer.Option("--batch", min=1, help="Images a step, over all processes.")]
Rate: TypeAlias = Annotated[float | None, typer.Option("--lr", help="Learning rate.")]
Seed: TypeAlias = Annotated[int | None, typer.Option(min=0, help="Of weights, order and noise.")]
Download: TypeAlias = Annotated[bool, typer.Option("--download", help="Fetch a missing data set (CIFAR only).")]


StageType = TypeVar("StageType", ScoreStage, ClassifierStage, GeneratorStage)


def _load_data(settings: AnyData) -> LabelledSet:
    data = load(settings, "train")
    what = f"{data.shape[1]}x{data.shape[2]} images" if data.is_images else f"{data.shape[0]}-D points"
    classes = ", ".join(data.names[:10]) + (", ..." if data.n_classes > 10 else "")
    console.print(f"{data.source}: {len(data):,} {what}, {data.n_classes} classes ({classes})", markup=False)
    return data


def _base(
    recipe_file: Path | None, data: str | None, fallback: AnyData, download: bool, sets: list[str]
) -> tuple[Recipe, LabelledSet]:
    """The recipe that options change: the named file's, or the default one of the data set."""
    about_data = [*(["data.download=true"] if download else []), *(text for text in sets if text.startswith("data."))]
    if recipe_file is not None:
        if data is not None:
            raise UserError("--data and --recipe exclude each other: the recipe names its data")
        recipe = load_recipe(recipe_file, about_data)
        return recipe, _load_data(recipe.data)
    chosen = parse_data(data) if data is not None else fallback
    tree = apply_overrides({"data": chosen.model_dump(mode="json")}, about_data)
    settings = parse(type(chosen), tree["data"], "data")
    loaded = _load_data(settings)
    return default_recipe(settings, loaded), loaded


def _stage(
    model: type[StageType], part: str, tree: dict[str, Any], options: dict[str, Any], sets: list[str]
) -> StageType:
    """Applies command-line options, then --set, to a stage's settings."""
    given: list[str] = [f"{key}={value}" for key, value in options.items() if value is not None]
    return parse(model, apply_overrides(tree, [*given, *sets]), f"train-{part}")


def _training(part: str, steps: int | None, batch: int | None, lr: float | None, seed: int | None) -> dict[str, Any]:
    return {
        f"{part}.training.steps": steps,
        f"{part}.training.batch": batch,
        f"{part}.training.lr": lr,
        "seed": seed,
    }


def _plain(**parts: BaseModel | int) -> dict[str, Any]:
    return {name: part.model_dump(mode="json") if isinstance(part, BaseModel) else part for name, part in parts.items()}


def _train(name: str, out: Path, stage: TrainStage, data: LabelledSet, score: Path | None = None) -> None:
    with lock(out):
        processes = Processes()
        if follow(train_stage(name, out, stage, data.to(processes.device), processes, score)) == 0:
            console.print(f"nothing left to do: {out} is finished", markup=False)
    console.print(f"model: {out}", markup=False)


def train_score(
    data: Data = None,
    recipe: RecipeFile = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/score"),
    steps: Steps = None,
    batch: BatchSize = None,
    lr: Rate = None,
    seed: Seed = None,
    download: Download = False,
    overrides: Overrides = None,
) -> None:
    """Train the unconditional score model by denoising score matching (Vincent 2011; Karras et al. 2022).

    Without --data or --recipe it learns scikit-learn's digits. --set reaches every setting: score.network.width=512.
    """
    base, loaded = _base(recipe, data, parse_data("digits"), download, overrides or [])
    tree = _plain(data=base.data, schedule=base.schedule, seed=base.seed, score=base.score)
    stage = _stage(ScoreStage, "score", tree, _training("score", steps, batch, lr, seed), overrides or [])
    _train("score", out, stage, loaded)


def train_classifier(
    loss: Annotated[
        Literal["ce", "dlsm"],
        typer.Option(help="ce: cross-entropy. dlsm: match the likelihood score as well (Chao et al. 2022)."),
    ] = "dlsm",
    score: Annotated[
        Path | None,
        typer.Option(help="The run folder of the score model that stays frozen; its data and noise are used."),
    ] = None,
    data: Data = None,
    recipe: RecipeFile = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; by default runs/classifier-LOSS.")] = None,
    ce_weight: Annotated[
        float | None, typer.Option(min=0, help="Weight of cross-entropy beside DLSM, the paper's lambda.")
    ] = None,
    sigma_weight: Annotated[
        float | None, typer.Option(help="w: DLSM's residual is weighted by noise level to the 2w; 1 evens levels out.")
    ] = None,
    reduction: Annotated[
        Literal["sum", "mean"] | None,
        typer.Option(help="Sum or mean of DLSM's residual over dimensions (the paper: mean)."),
    ] = None,
    steps: Steps = None,
    batch: BatchSize = None,
    lr: Rate = None,
    seed: Seed = None,
    download: Download = False,
    overrides: Overrides = None,
) -> None:
    """Train a noise-aware classifier, whose gradient steers the score model.

    With --loss dlsm the score model is needed: --score DIR, by default runs/score. --set reaches every setting:
    classifier.network.width=512.
    """
    if score is None and loss == "dlsm":
        score = Path("runs/score")
        if not score.exists():
            raise UserError(
                "DLSM builds on a trained score model, and there is none in runs/score: "
                "run 'condgen train-score' first, or name a folder with --score"
            )
    built_on = parse(ScoreStage, read_yaml(score / "recipe.yaml"), str(score / "recipe.yaml")) if score else None
    base, loaded = _base(recipe, data, built_on.data if built_on else parse_data("digits"), download, overrides or [])
    same_loss = [c for c in base.classifiers.values() if c.objective.loss == loss]
    classifier = next(iter([*same_loss, *base.classifiers.values()]), None)
    if classifier is None:
        raise UserError(f"{recipe} describes no classifier: add one under classifiers, or leave --recipe out")
    tree = _plain(
        data=base.data, schedule=built_on.schedule if built_on else base.schedule, seed=base.seed, classifier=classifier
    )
    objective = "classifier.objective"
    options = {
        f"{objective}.loss": loss,
        f"{objective}.ce_weight": ce_weight,
        f"{objective}.sigma_weight": sigma_weight,
        f"{objective}.reduction": reduction,
    } | _training("classifier", steps, batch, lr, seed)
    stage = _stage(ClassifierStage, "classifier", tree, options, overrides or [])
    name = f"classifier {loss}"
    _train(name, out or Path(f"runs/classifier-{loss}"), stage, loaded, score)


def train_generator(
    data: Data = None,
    recipe: RecipeFile = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/generator"),
    steps: Steps = None,
    batch: BatchSize = None,
    lr: Rate = None,
    seed: Seed = None,
    download: Download = False,
    overrides: Overrides = None,
) -> None:
    """Train the class-conditional one-step generator by score mismatching (Ye & Liu 2024).

    Without --data or --recipe it learns scikit-learn's digits. --set reaches every setting:
    generator.objective.critic_steps=5.
    """
    base, loaded = _base(recipe, data, parse_data("digits"), download, overrides or [])
    if base.generator is None:
        raise UserError(f"{recipe} describes no generator: add one under generator, or leave --recipe out")
    tree = _plain(data=base.data, seed=base.seed, generator=base.generator)
    stage = _stage(GeneratorStage, "generator", tree, _training("generator", steps, batch, lr, seed), overrides or [])
    _train("generator", out, stage, loaded)

"""What the commands that train one model share: their options, and how a stage comes from them."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer
from pydantic import BaseModel

from condgen.cli.looks import draw_as_it_goes
from condgen.cli.progress import console, follow
from condgen.data import AnyData, LabelledSet, load, parse_data
from condgen.errors import UserError
from condgen.hub import CONFIG_FILE
from condgen.recipes import (
    ClassifierStage,
    GeneratorStage,
    ImportStage,
    Recipe,
    ScoreStage,
    TrainStage,
    apply_overrides,
    default_recipe,
    load_recipe,
)
from condgen.runs import Models, lock, read_settings, train_stage
from condgen.runs.layout import RECIPE_FILE, SNAPSHOTS
from condgen.settings import parse
from condgen.training import Precision, Processes

__all__ = [
    "Arithmetic",
    "BatchSize",
    "Compile",
    "Data",
    "Download",
    "Flip",
    "MicroBatch",
    "Rate",
    "RecipeFile",
    "Seed",
    "Steps",
    "base_recipe",
    "build_stage",
    "data_beside",
    "plain",
    "read_prior",
    "read_stage",
    "train",
    "training_options",
]

Data: TypeAlias = Annotated[
    str | None, typer.Option(help="digits, moons, cifar10, cifar100, or a folder with one sub-folder a class.")
]
RecipeFile: TypeAlias = Annotated[
    Path | None, typer.Option("--recipe", help="Take data, networks and training from this recipe's own part.")
]
Steps: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Training steps.")]
BatchSize: TypeAlias = Annotated[int | None, typer.Option("--batch", min=1, help="Images a step, over all processes.")]
Rate: TypeAlias = Annotated[float | None, typer.Option("--lr", help="Learning rate.")]
Flip: TypeAlias = Annotated[
    bool, typer.Option("--flip", help="Mirror half of the images left to right. Not for digits, letters, other signs.")
]
Arithmetic: TypeAlias = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        help="Inside the networks that are trained; bfloat16 is faster where hardware has it.",
    ),
]
Compile: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the networks that are trained: a minute or two, which pays in long training."
    ),
]
MicroBatch: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--micro-batch",
        metavar="N|auto",
        help="Rows at a time in each process. The gradient is that of the batch.",
    ),
]
Seed: TypeAlias = Annotated[int | None, typer.Option(min=0, help="Of weights, order and noise.")]
Download: TypeAlias = Annotated[bool, typer.Option("--download", help="Fetch a missing data set (CIFAR only).")]


_SHARED = ("data", "schedule", "seed")  # by the stages of every kind of model

StageType = TypeVar("StageType", ScoreStage, ClassifierStage, GeneratorStage)


def load_data(settings: AnyData) -> LabelledSet:
    """The training split, described in a line on the terminal."""
    data = Processes().in_turn(lambda: load(settings, "train"))
    what = f"{data.shape[1]}x{data.shape[2]} images" if data.is_images else f"{data.shape[0]}-D points"
    classes = ", ".join(data.names[:10]) + (", ..." if data.n_classes > 10 else "")
    console.print(f"{data.source}: {len(data):,} {what}, {data.n_classes} classes ({classes})", markup=False)
    return data


def base_recipe(
    recipe_file: Path | None,
    size: str | None,
    data: str | None,
    fallback: AnyData,
    download: bool,
    sets: list[str],
) -> tuple[Recipe, LabelledSet]:
    """The recipe that options change: the named file's, or the default one of the data set."""
    about_data = [*(["data.download=true"] if download else []), *(text for text in sets if text.startswith("data."))]
    if size is not None and recipe_file is None:
        raise UserError("--size is about a recipe that comes in sizes: name it with --recipe, or leave --size out")
    if recipe_file is not None:
        if data is not None:
            raise UserError("--data and --recipe exclude each other: the recipe names its data")
        recipe = load_recipe(recipe_file, about_data, size)
        return recipe, load_data(recipe.data)
    chosen = parse_data(data) if data is not None else fallback
    tree = apply_overrides({"data": chosen.model_dump(mode="json")}, about_data)
    settings = parse(type(chosen), tree["data"], "data")
    loaded = load_data(settings)
    return default_recipe(settings, loaded), loaded


def build_stage(
    model: type[StageType], part: str, tree: dict[str, Any], options: dict[str, Any], sets: list[str]
) -> StageType:
    """Applies command-line options, then --set, to a stage's settings."""
    given: list[str] = [f"{key}={value}" for key, value in options.items() if value is not None]
    return parse(model, apply_overrides(tree, [*given, *sets]), f"train-{part}")


def training_options(
    part: str,
    steps: int | None,
    batch: int | None,
    lr: float | None,
    seed: int | None,
    flip: bool,
    precision: Precision | None,
    compiled: bool,
    micro_batch: str | None,
) -> dict[str, Any]:
    """The options of training, by the settings that they change."""
    return {
        f"{part}.training.steps": steps,
        f"{part}.training.batch": batch,
        f"{part}.training.lr": lr,
        f"{part}.training.flip": "true" if flip else None,
        f"{part}.training.precision": precision,
        f"{part}.training.compile": "true" if compiled else None,
        f"{part}.training.micro_batch": micro_batch,
        "seed": seed,
    }


def plain(**parts: BaseModel | int) -> dict[str, Any]:
    """A stage's settings as plain values, ready for overrides."""
    return {name: part.model_dump(mode="json") if isinstance(part, BaseModel) else part for name, part in parts.items()}


def read_stage(model: type[StageType], folder: Path) -> StageType:
    """The settings that the model in a folder was trained with.

    Raises:
        UserError: where the folder holds no model, or one of another kind.
    """
    part = next(name for name in model.model_fields if name not in _SHARED)
    what = {"score": "score model"}.get(part, part)
    if folder.resolve().parent.name == SNAPSHOTS:  # of a stage, whose settings are its own
        folder = folder.resolve().parent.parent
    if not any((folder / file).is_file() for file in (RECIPE_FILE, CONFIG_FILE)):
        raise UserError(f"{folder} holds no {what}: name the folder that condgen train-{part} has written")
    settings = read_settings(folder)
    if part not in settings:
        raise UserError(f"{folder} holds no {what}, but something else: check which folder goes with which option")
    return parse(model, settings, f"the settings in {folder}")


def read_prior(folder: Path) -> ScoreStage | ImportStage:
    """The settings of a score model, trained here or by others: its data, where they are known, and its schedule."""
    if (folder / RECIPE_FILE).is_file() or (folder / CONFIG_FILE).is_file():
        settings = read_settings(folder)
        if "imported" in settings:
            return parse(ImportStage, settings, f"the settings in {folder}")
    return read_stage(ScoreStage, folder)


def data_beside(prior: ScoreStage | ImportStage | None, folder: Path | None, named: bool) -> AnyData:
    """The data that a model on top of a score model learns unless others are named: the score model's, or digits."""
    if prior is None:
        return parse_data("digits")
    if prior.data is None and not named:
        raise UserError(f"the score model in {folder} was imported without data: name them with --data")
    return prior.data or parse_data("digits")


def train(name: str, out: Path, stage: TrainStage, data: LabelledSet, built_on: Models | None = None) -> None:
    """Trains a model in its folder, with a bar, and says where it is."""
    held_out = load(stage.data, "test") if not isinstance(stage, ScoreStage) else None
    processes = Processes()
    with lock(out, processes):
        work = train_stage(name, out, stage, data.to(processes.device), processes, built_on, held_out)
        worked = follow(draw_as_it_goes(work), processes)
        if not processes.is_main:  # what is left is for people
            raise typer.Exit
        if worked == 0:
            console.print(f"nothing left to do: {out} is finished", markup=False)
    console.print(f"model: {out}", markup=False)

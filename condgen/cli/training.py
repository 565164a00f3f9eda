"""What the commands that train one model share."""

from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import BaseModel

from condgen.cli.options import overridden
from condgen.cli.previews import follow_previews
from condgen.cli.progress import work_in
from condgen.cli.terminal import say
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
from condgen.runs import Folders, Train, read_settings
from condgen.runs.layout import RECIPE_FILE, SNAPSHOTS
from condgen.settings import parse
from condgen.training import Processes

StageType = TypeVar("StageType", ScoreStage, ClassifierStage, GeneratorStage)


def training_keys(part: str) -> dict[str, str]:
    """The settings of training that have an option, by its name."""
    return {name: f"{part}.training.{name}" for name in ("steps", "batch", "lr", "flip")} | {"seed": "seed"}


def base_recipe(
    recipe: Path | None,
    size: str | None,
    data: str | None,
    overrides: list[str] | None,
    prior: ScoreStage | ImportStage | None = None,
) -> tuple[Recipe, LabelledSet]:
    """The recipe that options change, that of the file or the default one of the data; and the training split.

    Args:
        recipe: a file.
        size: of that recipe.
        data: the name of a data set or a folder; by default that of the prior, or digits.
        overrides: all of --set, of which those of the data are applied.
        prior: the score model that a model builds on, whose schedule is taken over.
    """
    of_data = [text for text in overrides or () if text.startswith("data.")]
    if size is not None and recipe is None:
        raise UserError("--size belongs to a recipe: name it with --recipe, or leave --size out")
    if recipe is not None:
        if data is not None:
            raise UserError("--data and --recipe exclude each other: the recipe names its data")
        base = load_recipe(recipe, of_data, size)
        loaded = _load(base.data)
    else:
        if data is None and prior is not None and prior.data is None:
            raise UserError("the score model was imported without data: name them with --data")
        chosen = prior.data if data is None and prior is not None and prior.data else parse_data(data or "digits")
        tree = apply_overrides({"data": chosen.model_dump(mode="json")}, of_data)
        settings = parse(type(chosen), tree["data"], "data")
        loaded = _load(settings)
        base = default_recipe(settings, loaded)
    return base if prior is None else base.model_copy(update={"schedule": prior.schedule}), loaded


def _load(settings: AnyData) -> LabelledSet:
    data = Processes().in_turn(lambda: load(settings, "train"))
    what = f"{data.shape[1]}x{data.shape[2]} images" if data.is_images else f"{data.shape[0]}-D points"
    classes = ", ".join(data.names[:10]) + (", ..." if data.n_classes > 10 else "")
    say(f"{data.source}: {len(data):,} {what}, {data.n_classes} classes ({classes})")
    return data


def build_stage(
    model: type[StageType], part: BaseModel, base: Recipe, given: dict[str, Any], overrides: list[str] | None
) -> StageType:
    """The stage of one model of a recipe, with options and --set applied."""
    name = next(name for name in model.model_fields if name not in ("data", "schedule", "seed"))
    tree = {"data": base.data, "schedule": base.schedule, name: part}
    plain = {key: settings.model_dump(mode="json") for key, settings in tree.items()} | {"seed": base.seed}
    return parse(model, overridden(plain, given, overrides), f"train-{name}")


def read_prior(folder: Path) -> ScoreStage | ImportStage:
    """The settings that the score model in a folder was trained or imported with.

    Raises:
        UserError: the folder holds no model, or one of another kind.
    """
    if folder.resolve().parent.name == SNAPSHOTS:
        folder = folder.resolve().parent.parent
    settings = read_settings(folder) if any((folder / file).is_file() for file in (RECIPE_FILE, CONFIG_FILE)) else {}
    if "imported" in settings:
        return parse(ImportStage, settings, f"the settings in {folder}")
    if "score" not in settings:
        raise UserError(f"{folder} holds no score model: name the folder that condgen train-score has written")
    return parse(ScoreStage, settings, f"the settings in {folder}")


def train(name: str, out: Path, stage: TrainStage, data: LabelledSet, folders: Folders | None = None) -> None:
    """Trains a model in its folder, with a bar."""
    held_out = load(stage.data, "test") if not isinstance(stage, ScoreStage) else None
    processes = Processes()
    work = Train(name, out, stage, data.to(processes.device), folders or Folders(), held_out).run(processes)
    if not work_in(out, follow_previews(work), processes):
        raise typer.Exit
    say(f"model: {out}")

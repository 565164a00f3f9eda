"""What there is to export: models, how they came about, and what their run has measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condgen.checkpoint import MODEL_FILE, load_tensors
from condgen.errors import UserError
from condgen.files import within
from condgen.recipes import Method, Recipe, read_yaml
from condgen.report import Run, read_run
from condgen.runs import Folders, read_json, read_settings
from condgen.runs.layout import RECIPE_FILE, RUN_FILE, SNAPSHOTS, STAGE_FILE
from condgen.settings import parse

_KINDS = ("score model", "classifier", "generator")


@dataclass(frozen=True)
class Model:
    folder: Path  # where it lies
    name: str  # of the folder, such as classifier-dlsm
    description: dict[str, Any]  # what rebuilds the network
    stage: dict[str, Any]  # the settings that it was trained with
    record: dict[str, Any]  # `stage.json`
    parameters: int  # how many numbers its weights are

    @property
    def kind(self) -> str:
        return str(self.description["kind"])

    @property
    def data(self) -> str:
        """What its data are called; empty where that is unknown."""
        about = self.stage.get("data") or {}
        return _last_part(about.get("root")) or str(about.get("kind", ""))

    def public(self, text: str) -> str:
        """A text or JSON with the name of the folder of data in place of its path, which stays private."""
        root = str((self.stage.get("data") or {}).get("root") or "")
        if name := _last_part(root):
            text = text.replace(root, name).replace(json.dumps(root)[1:-1], json.dumps(name)[1:-1])
        return text


def _last_part(root: object) -> str:
    """The name of a folder of data; empty for `.`, `..` and the root of the file system."""
    return Path(str(root or "")).name.replace("..", "")


@dataclass(frozen=True)
class Source:
    folder: Path  # of the run, or of the stage
    models: tuple[Model, ...]  # all of them
    run: Run  # what was measured in that folder
    recipe: Recipe | None = None  # of a run; None of a single stage

    @property
    def methods(self) -> Mapping[str, Method]:
        return self.recipe.sample.methods if self.recipe and self.recipe.sample else {}


def read_source(folder: Path) -> Source:
    """The models in the folder of a run or of a stage.

    Raises:
        UserError: there is none, one is not finished, or a file is reached through a symbolic link.
    """
    if (folder / MODEL_FILE).is_file():
        return Source(folder, (_model(folder),), read_run(folder))
    if not (folder / RUN_FILE).is_file():
        raise UserError(f"{folder} holds no model: name the folder of a run that is finished, or of one of its models")
    recipe, places = models_of_run(folder)
    for place in places:
        if not (within(folder, place.name) / MODEL_FILE).is_file():
            raise UserError(f"{place} is not finished: run the command that made it again, it goes on where it stopped")
    return Source(folder, tuple(map(_model, places)), read_run(folder), recipe)


def models_of_run(run: Path) -> tuple[Recipe, list[Path]]:
    """The recipe of a run, and where its models are, trained or not."""
    recipe = parse(Recipe, read_yaml(run / RECIPE_FILE), str(run / RECIPE_FILE))
    main, *others = Folders.of_run(recipe, run)
    return recipe, [*([main] if main else []), *(place for places in others for place in places.values())]


def _model(folder: Path) -> Model:
    tensors, description = load_tensors(within(folder, MODEL_FILE))
    if description.get("kind") not in _KINDS:
        raise UserError(f"{folder / MODEL_FILE} holds a {description.get('kind')}: only models are exported")
    trained = folder.resolve().parent.parent if folder.resolve().parent.name == SNAPSHOTS else folder
    return Model(
        folder=folder,
        name=folder.resolve().name,
        description=description,
        stage=read_settings(trained),
        record=read_json(folder / STAGE_FILE) if (folder / STAGE_FILE).is_file() else {},
        parameters=sum(tensor.numel() for tensor in tensors.values()),
    )

"""What there is to export: models, how they came about, and what a run has measured of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from condgen.checkpoint import MODEL_FILE, load_tensors
from condgen.errors import UserError
from condgen.files import within
from condgen.hub import CONFIG_FILE
from condgen.metrics import REAL
from condgen.recipes import read_yaml
from condgen.recipes.guidance import Name
from condgen.report import ErrorRow, MetricRow, parse_rows
from condgen.runs import default_methods_in, read_json, read_settings
from condgen.runs.layout import DIAGNOSTICS, METRICS, RECIPE_FILE, RUN_FILE, SNAPSHOTS, STAGE_FILE, classifier_folder

__all__ = ["Kind", "Measured", "Model", "Source", "checked_name", "last_part", "named_parts", "read_source"]

_NAME: TypeAdapter[str] = TypeAdapter(Name)

Kind: TypeAlias = Literal["score model", "classifier", "generator"]

_KINDS: tuple[Kind, ...] = ("score model", "classifier", "generator")


@dataclass(frozen=True)
class Model:
    """One trained model.

    Attributes:
        folder: where it lies.
        name: of the folder, such as classifier-dlsm.
        kind: what it is.
        description: what rebuilds the network.
        stage: the settings that it was trained with, without the paths of a machine.
        record: what its stage says of the work.
        parameters: how many numbers its weights are.
        paths: where its data lie, if that is a folder of this machine.
    """

    folder: Path
    name: str
    kind: Kind
    description: dict[str, Any]
    stage: dict[str, Any]
    record: dict[str, Any]
    parameters: int
    paths: str = ""


@dataclass(frozen=True)
class Measured:
    """Figures of a run: rows of metrics and of score errors, and which models stand behind the methods.

    Attributes:
        metrics: rows of metrics.json.
        errors: rows of diagnostics.json.
        sampled: what methods of sampling use, by name.
        diagnosed: what methods of the diagnosis use, by name.
        about: the versions and the machine, in words.
    """

    metrics: list[MetricRow] = field(default_factory=list)
    errors: list[ErrorRow] = field(default_factory=list)
    sampled: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    diagnosed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    about: tuple[str, ...] = ()

    def of(self, model: Model) -> "Measured":
        """The part that says something of one model, with the real data beside it."""
        sampled = {name: method for name, method in self.sampled.items() if _uses(method, model.name)}
        diagnosed = {name: method for name, method in self.diagnosed.items() if _uses(method, model.name)}
        shown = {*diagnosed, "prior"} if model.name == "score" else {*diagnosed, "zero guidance"}
        quantities = {"score model": ("D",) if model.name == "score" else ("D_P",), "classifier": ("D_L", "D_P")}
        wanted = quantities.get(model.kind, ())
        errors = [row for row in self.errors if row.method in shown and row.quantity in wanted]
        return Measured(
            metrics=[row for row in self.metrics if row.method in sampled] and self._rows({*sampled, REAL}),
            errors=errors if {row.method for row in errors} - {"zero guidance"} else [],
            sampled=sampled,
            diagnosed=diagnosed,
            about=self.about,
        )

    def _rows(self, methods: set[str]) -> list[MetricRow]:
        return [row for row in self.metrics if row.method in methods]


def _uses(method: Mapping[str, Any], name: str) -> bool:
    """Whether a way of sampling goes through the model in a run's folder of this name."""
    generator, score, guide = method.get("generator"), method.get("score"), method.get("guide")
    if name == "score":
        return guide == "score" or (generator is None and score is None)
    kind, _, own = name.partition("-")
    if kind == "score":
        return own in (score, guide)
    return own == method.get(kind)


@dataclass(frozen=True)
class Source:
    """What one export is made of.

    Attributes:
        folder: of the run, or of the stage.
        name: of the run, or of the stage's folder.
        models: all of them.
        measured: what the run says of them.
        is_run: whether it is a whole run.
        run: the folder of the run, or of the one that the stage is part of.
    """

    folder: Path
    name: str
    models: tuple[Model, ...]
    measured: Measured
    is_run: bool
    run: Path | None = None


def read_source(folder: Path) -> Source:
    """The models in the folder of a run or of a stage.

    Raises:
        UserError: where there is none, one is not finished, or a name leads out of the folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name the folder of a run or of a model, such as runs/digits")
    if (folder / MODEL_FILE).is_file():
        above = folder.resolve().parent
        listed = (above / RUN_FILE).is_file() and folder.resolve() in _places(above)
        measured = _measured(above) if listed else Measured()
        name = folder.resolve().name
        return Source(folder, name, (_model(folder),), measured, is_run=False, run=above if listed else None)
    if not (folder / RUN_FILE).is_file():
        raise UserError(f"{folder} holds no model: name the folder of a run that is finished, or of one of its models")
    places = [place for place in _places(folder) if _is_of_model(place)]
    unfinished = next((place for place in places if not (place / MODEL_FILE).is_file()), None)
    if unfinished is not None or not places:
        what = f"{unfinished} is not finished" if unfinished else f"{folder} holds no finished model"
        raise UserError(f"{what}: run the command that made it again, it goes on where it stopped")
    for place in places:
        checked_name(place.name.partition("-")[2] or place.name, folder / RUN_FILE)
    name = str(_read(folder, RUN_FILE).get("name", folder.resolve().name))
    return Source(folder, name, tuple(map(_model, places)), _measured(folder), is_run=True, run=folder)


def _places(run: Path) -> list[Path]:
    """The folders of a run's stages: what an earlier recipe has left is none of them."""
    stages = _read(run, RUN_FILE).get("stages", [])
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise UserError(f"{run / RUN_FILE} is damaged (its stages are no list of objects): run the recipe again")
    return [within(run.resolve(), stage.get("folder"), run / RUN_FILE) for stage in stages]


def _read(folder: Path, file: str) -> dict[str, Any]:
    return read_json(within(folder, file))


def _is_of_model(place: Path) -> bool:
    return place.name.split("-")[0] in ("score", "classifier", "generator")


def _model(folder: Path) -> Model:
    tensors, description = load_tensors(within(folder, MODEL_FILE))
    kind = next((kind for kind in _KINDS if description.get("kind") == kind), None)
    if kind is None:
        raise UserError(f"{folder / MODEL_FILE} holds a {description.get('kind')}: only models are exported")
    snapshot = folder.resolve().parent.name == SNAPSHOTS
    trained = folder.resolve().parent.parent if snapshot else folder
    for file in (RECIPE_FILE, CONFIG_FILE, STAGE_FILE):
        within(trained, file)
    stage = read_settings(trained)
    data = stage.get("data")
    root = str(data.get("root") or "") if isinstance(data, dict) else ""
    return Model(
        folder=folder,
        name=f"{trained.resolve().name}-{folder.resolve().name}" if snapshot else folder.resolve().name,
        kind=kind,
        description=description,
        stage=stage | {"data": {**data, "root": last_part(root) or root}} if root and data else stage,
        record=read_json(trained / STAGE_FILE) if (trained / STAGE_FILE).is_file() and not snapshot else {},
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        paths=root,
    )


def _measured(run: Path) -> Measured:
    path = within(run, RECIPE_FILE)
    recipe = read_yaml(path)
    found = {
        file: _read(run, file).get("rows", []) if (run / file).is_file() else [] for file in (METRICS, DIAGNOSTICS)
    }
    metrics = parse_rows(MetricRow, found[METRICS], str(run / METRICS))
    errors = parse_rows(ErrorRow, found[DIAGNOSTICS], str(run / DIAGNOSTICS))
    diagnosed = named_parts((recipe.get("diagnose") or {}).get("methods"), path)
    if not diagnosed:
        classifiers = {name: classifier_folder(run, name) for name in named_parts(recipe.get("classifiers"), path)}
        diagnosed = {name: method.model_dump(mode="json") for name, method in default_methods_in(classifiers).items()}
    root = str((recipe.get("data") or {}).get("root") or "")
    if root:
        named = {row.reference: str(row.reference).replace(root, last_part(root) or root) for row in metrics}
        metrics = [row.model_copy(update={"reference": named[row.reference]}) for row in metrics]
    return Measured(
        metrics=metrics,
        errors=errors,
        sampled=named_parts((recipe.get("sample") or {}).get("methods"), path),
        diagnosed=diagnosed,
        about=_about(_read(run, RUN_FILE)),
    )


def _about(run: Mapping[str, Any]) -> tuple[str, ...]:
    machine = run.get("machine") or {}
    parts = [f"{key} {run[key]}" for key in ("condgen", "torch") if key in run]
    parts += [f"{key} {machine[key]}" for key in ("cpu", "device") if machine.get(key)]
    return tuple(parts)


def checked_name(name: object, where: Path) -> str:
    """A name as recipes allow it: no path, nothing that Markdown or a shell would take amiss.

    Raises:
        UserError: where it is another.
    """
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise UserError(
            f"{where} holds the name {name!r}: only letters, digits, _, . and - are allowed; make the run again"
        ) from error


def named_parts(tree: object, where: Path) -> dict[str, Mapping[str, Any]]:
    """A part of a recipe that holds settings by name, such as its methods; nothing stands for none.

    Raises:
        UserError: where it is something else, or a name is not one.
    """
    found = {} if tree is None else tree
    if not isinstance(found, dict) or not all(isinstance(part, dict | None) for part in found.values()):
        raise UserError(f"{where} is damaged: settings by name are expected in {str(tree)[:60]!r}; make the run again")
    return {checked_name(name, where): part or {} for name, part in found.items()}


def last_part(root: str) -> str:
    """The name of a folder of data, which stands for its path in what is published; empty for `.` and `..`."""
    return Path(root).name.replace("..", "")

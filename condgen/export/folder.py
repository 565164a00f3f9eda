"""Folders in the form of the Hugging Face hub: weights, what rebuilds them, a card, pictures.

Weights are copied as they are, so that calibrations still hold, or rounded to bfloat16. In cards, whatever comes from a
run is escaped.
"""

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData
from jinja2 import TemplateError

from condgen import __version__
from condgen.checkpoint import MODEL_FILE, load_tensors, save_tensors
from condgen.errors import UserError
from condgen.export.onnx import ONNX_FILE, read_runtime, write_onnx, write_page
from condgen.files import blamed_on, read_bytes, read_text, whole, within, write_atomically
from condgen.hub import CALIBRATION_FILE, CONFIG_FILE, parse_name
from condgen.recipes.compose import read_yaml
from condgen.recipes.guidance import Method
from condgen.recipes.schema import Recipe
from condgen.report.load import Run, read_run
from condgen.report.models import classifier_table
from condgen.report.page import open_template, to_markdown
from condgen.report.score_errors import held_out_tables
from condgen.report.tables import metrics_table
from condgen.runs import layout
from condgen.runs.folder import read_json, read_settings, write_json
from condgen.runs.models import Folders
from condgen.schedules import karras_levels
from condgen.score import ScoreModel
from condgen.settings import parse

CARD_FILE = "README.md"
PLACE = "OWNER/NAME"  # stands in a card for the name of a repository that is not known yet
UNDECIDED = "unknown"  # the licence of a model that has none yet
PIPELINE = Path(__file__).with_name("pipeline.py")
_ABOUT = {"library_name": "condgen", "condgen_version": __version__}
_TASKS = {"score model": "unconditional-image-generation", "generator": "unconditional-image-generation"}
_TASKS |= {"classifier": "image-classification"}


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
        about = self.stage.get("data") or {}
        kind = str(about.get("kind", ""))
        return (_last_part(about.get("root")) if kind == "folder" else "") or kind  # archives lie in any folder

    def public(self, text: str) -> str:
        """A text or JSON without the path of the data, which stays private."""
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


def export(
    folder: Path,
    out: Path,
    license: str,
    *,
    rounded: bool = False,
    onnx: bool = False,
    web: Path | None = None,
    diffusers: str | None = None,
) -> Source:
    """Writes the model of a stage, or every model of a run in a sub-folder, as a new folder for the hub with one card.

    Matrices and kernels may be rounded to bfloat16 (by 1/256 of a weight at most); calibrations, which were measured
    with the weights as they are, are then left out. Generators may be written as ONNX too, and as a page that draws,
    for which `web` is the folder `dist` of onnxruntime-web. With the name of a classifier in `diffusers` the folder is
    a pipeline of diffusers, which that classifier guides.
    UserError: there is no finished model, or none for what is asked for, or `out` exists.
    """
    onnx = onnx or web is not None
    runtime = read_runtime(web) if web else {}
    with whole(out) as unfinished, blamed_on(folder, TemplateError):
        source = read_source(folder)
        if diffusers is not None:
            source = as_pipeline(source, diffusers)
        if runtime and len(source.models[0].description["shape"]) != 3:
            raise UserError(f"{folder} makes points, and a page shows images: leave --web out")
        if onnx and all(model.kind != "generator" for model in source.models):
            raise UserError(f"{folder} holds no generator, of which ONNX is made: leave --onnx out, or name another")
        config: dict[str, Any] = _ABOUT | {"models": [model.name for model in source.models]}
        for model in source.models:
            place = unfinished / model.name if source.recipe else unfinished
            own = _write_model(model, place, rounded)
            if onnx and model.kind == "generator":
                write_onnx(place, place / ONNX_FILE)
                if runtime:
                    write_page(place, model.name, model.data, own["names"], runtime)
            if source.recipe:
                write_json(place / CONFIG_FILE, own)
            else:
                config = own
        if diffusers is not None:
            write_pipeline(source, unfinished)
        figures = _copy_pictures(source, unfinished)
        asked = {"onnx": onnx, "web": bool(runtime), "diffusers": diffusers is not None}
        card = model_card(source, figures, license, {name for name, wanted in asked.items() if wanted})
        write_atomically(unfinished / CARD_FILE, card.encode())
        files = {file.relative_to(unfinished).as_posix() for file in unfinished.rglob("*") if file.is_file()}
        write_json(unfinished / CONFIG_FILE, config | {"files": sorted(files | {CONFIG_FILE})})
    return source


def contents(folder: Path, repository: str) -> dict[str, Path | bytes]:
    """What `export` has written, by name, and the card with the name of the repository in it.

    What was put into the folder later is left out; a UserError names what is gone, or leads out of it.
    """
    config = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    files = config.get("files")
    if config.get("library_name") != _ABOUT["library_name"] or not isinstance(files, list):
        raise UserError(f"{folder} is no exported folder: run 'condgen export RUN --out DIR' first, and name that DIR")
    found: dict[str, Path | bytes] = {file: within(folder, file) for file in sorted(set(map(str, files)))}
    for file in found:
        if not (folder / file).is_file():
            raise UserError(f"{folder / file} is missing: export the run again")
    card = (folder / CARD_FILE).read_bytes()
    return found | {CARD_FILE: card.replace(PLACE.encode(), repository.encode())}


def _write_model(model: Model, out: Path, rounded: bool) -> dict[str, Any]:
    out.mkdir(parents=True)
    if rounded:
        tensors, description = load_tensors(model.folder / MODEL_FILE)
        matrices = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items() if tensor.ndim > 1}
        save_tensors(out / MODEL_FILE, tensors | matrices, description)
    else:
        shutil.copyfile(model.folder / MODEL_FILE, out / MODEL_FILE)
    calibration = model.folder / CALIBRATION_FILE
    if model.kind == "classifier" and not rounded and calibration.is_file():
        with blamed_on(calibration, OSError):
            write_atomically(out / CALIBRATION_FILE, model.public(read_text(calibration)).encode())
    return json.loads(model.public(json.dumps(_ABOUT | model.description | {"stage": model.stage})))


def as_pipeline(source: Source, classifier: str) -> Source:
    """The run with this classifier, before others, in a sub-folder `classifier`; UserError where it makes none."""
    names = {model.name.removeprefix("classifier-"): model for model in source.models if model.kind == "classifier"}
    score = next((model for model in source.models if model.name == "score"), None)
    if classifier not in names:
        known = ", ".join(names) or "another run's"
        raise UserError(f"{source.folder} has no classifier {classifier!r} for diffusers: choose one of {known}")
    if score is None or score.description["labels"] != "none" or len(score.description["shape"]) != 3:
        raise UserError(f"{source.folder} has no unconditional score model of images, which a pipeline needs")
    chosen = names[classifier]
    models = [replace(model, name="classifier") if model is chosen else model for model in source.models]
    return replace(source, models=tuple(sorted(models, key=lambda model: model.name.startswith("classifier-"))))


def write_pipeline(source: Source, out: Path) -> None:
    """What makes an exported run a pipeline of diffusers, with betas that span the model's noise levels."""
    component = [PIPELINE.stem, "Component"]
    parts = {"score": component, "classifier": component, "scheduler": ["diffusers", "UniPCMultistepScheduler"]}
    pipeline = {"_class_name": [PIPELINE.stem, "ClassifierGuidedPipeline"]}
    write_json(out / "model_index.json", pipeline | parts)
    for place in (out, out / "score", out / "classifier"):
        shutil.copyfile(PIPELINE, place / PIPELINE.name)
    schedule = ScoreModel.load(source.folder / "score").schedule
    signal = 1 / (1 + karras_levels(*schedule.noise_range, 1000).flip(0) ** 2)
    betas = 1 - signal / torch.cat((torch.ones(1), signal[:-1]))
    settings = {"_class_name": "UniPCMultistepScheduler", "use_karras_sigmas": True, "clip_sample": False}
    settings |= {"num_train_timesteps": len(betas), "trained_betas": betas.tolist()}
    write_json(out / "scheduler" / "scheduler_config.json", settings)


def _copy_pictures(source: Source, out: Path) -> list[str]:
    calibration = f"{layout.CALIBRATION_FOLDER}/{layout.CALIBRATION_PICTURE}"
    files = {Path(file).name: file for file in (layout.GRID, layout.PREVIEWS_PICTURE, calibration)}
    if source.recipe is not None:
        files = {file: file for file in (layout.SAMPLES_PICTURE, layout.HELD_OUT_PICTURE)}
        grids = {name: layout.samples_folder(Path(), name) / layout.GRID for name in source.methods}
        files |= {f"samples-{name}.png": str(grid) for name, grid in grids.items()}
    written = []
    for name, file in files.items():
        path = within(source.folder, file)
        if path.is_file():
            with blamed_on(path, OSError):
                write_atomically(out / "figures" / name, read_bytes(path))
            written.append(f"figures/{name}")
    return written


def model_card(source: Source, figures: list[str], license: str, also: Collection[str] = ()) -> str:
    """The card of exported models, and `also` of onnx, web or diffusers."""
    run, first = source.run, source.models[0]
    metrics = [row.model_copy(update={"reference": first.public(row.reference or "")}) for row in run.metrics]
    imported = first.stage.get("imported")
    kinds = dict.fromkeys(model.kind for model in source.models)
    head = ModelCardData(
        license=license,
        library_name="condgen",
        tags=["condgen", "class-conditional", "score-based-generative-model", *(k.replace(" ", "-") for k in kinds)],
        pipeline_tag=_TASKS[first.kind] if len(first.description["shape"]) == 3 else None,
        base_model=parse_name(imported)[0] if imported and imported.startswith("hf:") else None,
    )
    body = open_template("condgen.export", "card.md.j2").render(
        source=source,
        license=None if license == UNDECIDED else license,
        figures=figures,
        imported=imported,
        metrics=to_markdown(metrics_table(metrics)) if metrics else None,
        differences=[to_markdown(table) for table in held_out_tables(run.held_out)],
        calibrations=[to_markdown(classifier_table(rows, name)) for name, rows in run.classifiers.items()],
        also=also,
        place=PLACE,
        version=__version__,
    )
    return str(ModelCard(f"---\n{head.to_yaml()}\n---\n\n{body.strip()}\n"))


def read_source(folder: Path) -> Source:
    """UserError where a model is missing, unfinished, or reached through a link."""
    if (folder / MODEL_FILE).is_file():
        return Source(folder, (_model(folder),), read_run(folder))
    if not (folder / layout.RUN_FILE).is_file():
        raise UserError(f"{folder} holds no model: name the folder of a run that is finished, or of one of its models")
    recipe, places = models_of_run(folder)
    for place in places:
        if not (within(folder, place.name) / MODEL_FILE).is_file():
            raise UserError(f"{place} is not finished: run the command that made it again, it goes on where it stopped")
    return Source(folder, tuple(map(_model, places)), read_run(folder), recipe)


def models_of_run(run: Path) -> tuple[Recipe, list[Path]]:
    recipe = parse(Recipe, read_yaml(run / layout.RECIPE_FILE), str(run / layout.RECIPE_FILE))
    main, *others = Folders.of_run(recipe, run)
    return recipe, [*([main] if main else []), *(place for places in others for place in places.values())]


def _model(folder: Path) -> Model:
    tensors, description = load_tensors(within(folder, MODEL_FILE))
    if description.get("kind") not in _TASKS:
        raise UserError(f"{folder / MODEL_FILE} holds a {description.get('kind')}: only models are exported")
    return Model(
        folder=folder,
        name=folder.resolve().name,
        description=description,
        stage=read_settings(folder),
        record=read_json(folder / layout.STAGE_FILE) if (folder / layout.STAGE_FILE).is_file() else {},
        parameters=sum(tensor.numel() for tensor in tensors.values()),
    )

"""Folders in the form of the Hugging Face hub: weights, what rebuilds them, a card, pictures.

The weights are copied as they are, so that content keys, and with them calibrations, still hold; or rounded to
bfloat16, for half the room.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from jinja2 import TemplateError

from condgen import __version__
from condgen.checkpoint import MODEL_FILE, load_tensors, save_tensors
from condgen.errors import UserError
from condgen.export.card import PLACE, model_card
from condgen.export.sources import Model, Source, read_source
from condgen.files import blamed_on, read_bytes, read_text, whole, within, write_atomically
from condgen.hub import CALIBRATION_FILE, CONFIG_FILE
from condgen.runs import read_json
from condgen.runs.layout import (
    CALIBRATION_FOLDER,
    CALIBRATION_PICTURE,
    GRID,
    HELD_OUT_PICTURE,
    PREVIEWS_PICTURE,
    SAMPLES_PICTURE,
    samples_folder,
)

CARD_FILE = "README.md"
_LIBRARY = "condgen"


def export(folder: Path, out: Path, license: str, *, rounded: bool = False) -> Source:
    """Writes the model of a stage, or every model of a run in a sub-folder, as a folder for the hub with one card.

    Args:
        folder: of the run or stage.
        out: a new folder.
        license: of the weights, as the hub spells it.
        rounded: round matrices and kernels to bfloat16 (by 1/256 of a weight at most), and leave calibrations out,
            which were measured with the weights as they are.

    Raises:
        UserError: there is no finished model, or `out` holds something.
    """
    with whole(out) as unfinished, blamed_on(folder, TemplateError):
        source = read_source(folder)
        for model in source.models:
            _write_model(model, unfinished / model.name if source.recipe else unfinished, rounded)
        figures = _copy_pictures(source, unfinished)
        write_atomically(unfinished / CARD_FILE, model_card(source, figures, license).encode())
        _write_config(source, unfinished)
    return source


def contents(folder: Path, repository: str) -> dict[str, Path | bytes]:
    """What goes to a repository, by name: what `export` has written, and the card with the repository's name.

    The folder itself stays as it is, so that it can go to another repository as well.

    Raises:
        UserError: `export` has written none, a file is gone, or leads out of the folder.
    """
    config = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    files = config.get("files")
    if config.get("library_name") != _LIBRARY or not isinstance(files, list):
        raise UserError(f"{folder} is no exported folder: run 'condgen export RUN --out DIR' first, and name that DIR")
    found: dict[str, Path | bytes] = {}
    for file in sorted({str(file) for file in files}):
        found[file] = within(folder, file)
        if not (folder / file).is_file():
            raise UserError(f"{folder / file} is missing: export the run again")
    card = (folder / CARD_FILE).read_bytes()
    return found | {CARD_FILE: card.replace(f"hf:{PLACE}".encode(), f"hf:{repository}".encode())}


def _write_model(model: Model, out: Path, rounded: bool) -> None:
    out.mkdir(parents=True)
    if rounded:
        tensors, description = load_tensors(model.folder / MODEL_FILE)
        matrices = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items() if tensor.ndim > 1}
        save_tensors(out / MODEL_FILE, tensors | matrices, description)
    else:
        shutil.copyfile(model.folder / MODEL_FILE, out / MODEL_FILE)
    about = {"library_name": _LIBRARY, "condgen_version": __version__}
    config = model.public(_json(about | model.description | {"stage": model.stage}))
    write_atomically(out / CONFIG_FILE, config.encode())
    if model.kind == "classifier" and not rounded and (model.folder / CALIBRATION_FILE).is_file():
        with blamed_on(model.folder / CALIBRATION_FILE, OSError):
            calibration = model.public(read_text(model.folder / CALIBRATION_FILE))
        write_atomically(out / CALIBRATION_FILE, calibration.encode())


def _write_config(source: Source, out: Path) -> None:
    """Completes or makes the outermost `config.json`; what lies in the folder later is not pushed unasked."""
    path, models = out / CONFIG_FILE, [model.name for model in source.models]
    config: dict[str, object] = {"library_name": _LIBRARY, "condgen_version": __version__, "models": models}
    if source.recipe is None:
        config = read_json(path)
    files = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()} | {CONFIG_FILE}
    write_atomically(path, _json(config | {"files": sorted(files)}).encode())


def _copy_pictures(source: Source, out: Path) -> list[str]:
    """Samples of each method of a run; of a single model the pictures that its training and calibration have left."""
    files = {Path(file).name: file for file in (GRID, PREVIEWS_PICTURE, f"{CALIBRATION_FOLDER}/{CALIBRATION_PICTURE}")}
    if source.recipe is not None:
        methods = source.recipe.sample.methods if source.recipe.sample else {}
        files = {"samples.png": SAMPLES_PICTURE, HELD_OUT_PICTURE: HELD_OUT_PICTURE}
        files |= {f"samples-{name}.png": f"{samples_folder(Path(), name)}/{GRID}" for name in methods}
    written = []
    for name, file in files.items():
        if within(source.folder, file).is_file():
            with blamed_on(source.folder / file, OSError):
                content = read_bytes(source.folder / file)
            write_atomically(out / "figures" / name, content)
            written.append(f"figures/{name}")
    return written


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"

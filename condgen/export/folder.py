"""Folders in the form of the Hugging Face hub: weights, what rebuilds them, a card, pictures.

The weights are copied as they are, so that content keys, and with them calibrations, still hold.
"""

import json
import os
import shutil
from collections.abc import Mapping
from html import escape
from pathlib import Path

from jinja2 import TemplateError

from condgen import __version__
from condgen.checkpoint import MODEL_FILE
from condgen.errors import UserError
from condgen.export.card import PLACE, model_card, run_card
from condgen.export.sources import Measured, Model, Source, last_part, read_source
from condgen.files import blamed_on, read_bytes, within, write_atomically
from condgen.hub import CALIBRATION_FILE, CONFIG_FILE
from condgen.report import draw_errors, escape_markdown
from condgen.runs import read_json
from condgen.runs.layout import (
    CALIBRATION_FOLDER,
    CALIBRATION_PICTURE,
    GRID,
    PREVIEWS_PICTURE,
    REPORT,
    REPORT_DATA,
    REPORT_TEXT,
    SAMPLES_FOLDER,
    SAMPLES_PICTURE,
)

__all__ = ["CARD_FILE", "contents", "export", "exported"]

CARD_FILE = "README.md"

_LIBRARY = "condgen"
_REPORTS = (REPORT, REPORT_TEXT, REPORT_DATA)
_LARGEST = 2**26  # bytes of a text, which is rewritten without the places of data


def export(folder: Path, out: Path, license: str) -> Source:
    """Writes the model of a stage, or every model of a run, as a folder for the hub.

    Args:
        folder: of the stage or the run.
        out: where to; it must not exist yet, or be empty.
        license: as the hub spells it.

    Raises:
        UserError: where there is no finished model, or `out` holds something.
    """
    with blamed_on(folder):
        source = read_source(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already: choose another folder with --out, or delete it")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.unfinished")
    try:
        with blamed_on(folder, TemplateError):
            if source.is_run:
                _write_run(source, unfinished, license)
            else:
                (model,) = source.models
                run = source.run or source.folder
                _write_model(model, source.measured.of(model), run, unfinished, license, title=source.name)
        _list_files(unfinished)
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}: choose another folder with --out") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return source


def exported(folder: Path) -> list[str]:
    """The files that `export` has written into a folder, by their names within it; not what was done there since.

    Raises:
        UserError: where it has written none, one is gone, or leads out of the folder.
    """
    config = read_json(within(folder, CONFIG_FILE)) if (folder / CONFIG_FILE).is_file() else {}
    files = config.get("files")
    if config.get("library_name") != _LIBRARY or not isinstance(files, list):
        raise UserError(f"{folder} is no exported folder: run 'condgen export RUN --out DIR' first, and name that DIR")
    for file in files:
        if not within(folder, file, folder / CONFIG_FILE).is_file():
            raise UserError(f"{folder / file} is missing: export the run again")
    return sorted(set(files))


def contents(folder: Path, repository: str) -> dict[str, Path | bytes]:
    """What goes to a repository, by name: exported files as they are, and cards with its name where they leave a gap.

    The folder keeps the gap, whatever ends the upload, so that it can go to another repository as well.
    """
    return {
        file: _named(folder / file, repository) if file.rpartition("/")[2] == CARD_FILE else folder / file
        for file in exported(folder)
    }


def _named(card: Path, repository: str) -> bytes:
    return card.read_bytes().replace(f"hf:{PLACE}".encode(), f"hf:{repository}".encode())


def _list_files(out: Path) -> None:
    """Writes down which files were exported: what lies there later, such as a classifier, is not pushed unasked."""
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    write_atomically(out / CONFIG_FILE, _json(read_json(out / CONFIG_FILE) | {"files": files}))


def _write_run(source: Source, out: Path, license: str) -> None:
    for model in source.models:
        title, place = f"{source.name}: {model.name}", out / model.name
        _write_model(model, source.measured.of(model), source.folder, place, license, title, inside=model.name)
    figures = [
        *_copy_pictures(source.folder, [SAMPLES_PICTURE], out),
        *_copy_grids(source.folder, source.measured, out),
    ]
    drawn = _draw_errors(source.measured, out)
    roots = {model.paths for model in source.models if model.paths}
    for file in _REPORTS:
        if within(source.folder, file).is_file():
            _copy_text(source.folder / file, out / file, roots)
    config = {"library_name": _LIBRARY, "condgen_version": __version__, "models": [m.name for m in source.models]}
    write_atomically(out / CONFIG_FILE, _json(config))
    write_atomically(out / CARD_FILE, run_card(source, figures, drawn, license).encode())


def _write_model(
    model: Model, measured: Measured, run: Path, out: Path, license: str, title: str, inside: str = ""
) -> None:
    out.mkdir(parents=True)
    shutil.copyfile(model.folder / MODEL_FILE, out / MODEL_FILE)
    about = {"library_name": _LIBRARY, "condgen_version": __version__}
    write_atomically(out / CONFIG_FILE, _json(about | model.description | {"stage": model.stage}))
    if model.kind == "classifier" and within(model.folder, CALIBRATION_FILE).is_file():
        _copy_text(model.folder / CALIBRATION_FILE, out / CALIBRATION_FILE, {model.paths} - {""})
    own = [GRID, PREVIEWS_PICTURE, f"{CALIBRATION_FOLDER}/{CALIBRATION_PICTURE}"]
    within_run = run if measured.sampled else model.folder
    figures = [*_copy_pictures(model.folder, own, out), *_copy_grids(within_run, measured, out)]
    drawn = _draw_errors(measured, out)
    write_atomically(out / CARD_FILE, model_card(model, measured, figures, drawn, title, license, inside).encode())


def _draw_errors(measured: Measured, out: Path) -> list[str]:
    """The report's plots of score errors, a picture for each weighting."""
    weightings = sorted({row.weighting for row in measured.errors})
    files = {weighting: f"figures/score-errors-{weighting}.png" for weighting in weightings}
    return [file for weighting, file in files.items() if draw_errors(measured.errors, weighting, out / file)]


def _copy_grids(run: Path, measured: Measured, out: Path) -> list[str]:
    """The samples of each method."""
    files = {f"{SAMPLES_FOLDER}/{name}/{GRID}": f"figures/samples-{name}.png" for name in measured.sampled}
    return [written for file, name in files.items() for written in _copy_pictures(run, [file], out, name)]


def _copy_pictures(folder: Path, files: list[str], out: Path, name: str | None = None) -> list[str]:
    written = []
    for file in files:
        if within(folder, file).is_file():
            target = name or f"figures/{Path(file).name}"
            (out / target).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out / target, _read(folder / file))
            written.append(target)
    return written


def _read(path: Path, most: int | None = None) -> bytes:
    try:
        return read_bytes(path) if most is None else read_bytes(path, most)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be exported ({error}): make it again, or delete it") from error


def _copy_text(path: Path, target: Path, roots: set[str]) -> None:
    """Copies a file with the names of data folders in place of their paths, however the file quotes text."""
    text = _read(path, _LARGEST).decode("utf-8")
    for root in filter(lambda root: last_part(root) and len(Path(root).parts) > 1, roots):
        for encode in (str, escape, escape_markdown, lambda value: json.dumps(value)[1:-1]):
            text = text.replace(encode(root), encode(last_part(root)))
    write_atomically(target, text.encode())


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()

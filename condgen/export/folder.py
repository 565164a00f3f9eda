"""Folders in the form of the Hugging Face hub: weights, what rebuilds them, a card, pictures.

The weights are copied as they are, so that content keys, and with them calibrations, still hold.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path

from condgen import __version__
from condgen.errors import UserError
from condgen.export.card import PLACE, model_card, run_card
from condgen.export.inside import within
from condgen.export.sources import Measured, Model, Source, read_source
from condgen.hub import CALIBRATION_FILE, CONFIG_FILE, UPLOADED
from condgen.report.tables import escape_markdown
from condgen.run import read_json
from condgen.weights import MODEL_FILE, write_atomically

__all__ = ["CARD_FILE", "export", "exported", "named", "uploaded"]

CARD_FILE = "README.md"

_LIBRARY = "condgen"
_REPORTS = ("report.html", "report.md", "report.json")


def export(folder: Path, out: Path, license: str) -> Source:
    """Writes the model of a stage, or every model of a run, as a folder for the hub.

    Args:
        folder: of the stage or the run.
        out: where to; it must not exist yet, or be empty.
        license: as the hub spells it.

    Raises:
        UserError: where there is no finished model, or `out` holds something.
    """
    source = read_source(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already: choose another folder with --out, or delete it")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.unfinished")
    try:
        if source.is_run:
            _write_run(source, unfinished, license)
        else:
            (model,) = source.models
            run = source.run or source.folder
            _write_model(model, source.measured.of(model), run, unfinished, license, title=source.name)
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}: choose another folder with --out") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return source


def exported(folder: Path) -> list[Path]:
    """The folders of models in one that `export` has written.

    Raises:
        UserError: where it has not.
    """
    config = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    if config.get("library_name") != _LIBRARY or not (folder / CARD_FILE).is_file():
        raise UserError(f"{folder} is no exported folder: run 'condgen export RUN --out DIR' first, and name that DIR")
    places = [folder / name for name in config["models"]] if "models" in config else [folder]
    for place in places:
        if not (place / MODEL_FILE).is_file():
            raise UserError(f"{place / MODEL_FILE} is missing: export the run again")
    return places


def uploaded(folder: Path) -> list[Path]:
    """The files of an exported folder that go to the hub, and no trace of work that was done in it since."""
    exported(folder)
    found = (path for pattern in UPLOADED for path in folder.rglob(pattern))
    return sorted(path for path in found if path.is_file())


@contextmanager
def named(folder: Path, repository: str) -> Iterator[None]:
    """Puts the name of the repository where the cards of an exported folder leave a gap, for as long as it is open."""
    cards = [place / CARD_FILE for place in dict.fromkeys((folder, *exported(folder)))]
    before = {card: card.read_bytes() for card in cards}
    try:
        for card, text in before.items():
            write_atomically(card, text.replace(f"hf:{PLACE}".encode(), f"hf:{repository}".encode()))
        yield
    finally:
        for card, text in before.items():
            write_atomically(card, text)


def _write_run(source: Source, out: Path, license: str) -> None:
    for model in source.models:
        title, place = f"{source.name}: {model.name}", out / model.name
        _write_model(model, source.measured.of(model), source.folder, place, license, title, inside=model.name)
    figures = [*_copy_pictures(source.folder, ["samples.png"], out), *_copy_grids(source.folder, source.measured, out)]
    roots = {model.paths for model in source.models if model.paths}
    for file in _REPORTS:
        if within(source.folder, file).is_file():
            _copy_text(source.folder / file, out / file, roots)
    config = {"library_name": _LIBRARY, "condgen_version": __version__, "models": [m.name for m in source.models]}
    write_atomically(out / CONFIG_FILE, _json(config))
    write_atomically(out / CARD_FILE, run_card(source, figures, license).encode())


def _write_model(
    model: Model, measured: Measured, run: Path, out: Path, license: str, title: str, inside: str = ""
) -> None:
    out.mkdir(parents=True)
    shutil.copyfile(model.folder / MODEL_FILE, out / MODEL_FILE)
    about = {"library_name": _LIBRARY, "condgen_version": __version__}
    write_atomically(out / CONFIG_FILE, _json(about | model.description | {"stage": model.stage}))
    if model.kind == "classifier" and within(model.folder, CALIBRATION_FILE).is_file():
        _copy_text(model.folder / CALIBRATION_FILE, out / CALIBRATION_FILE, {model.paths} - {""})
    own = ["grid.png", "looks.png", "calibration/calibration.png"]
    within_run = run if measured.sampled else model.folder
    figures = [*_copy_pictures(model.folder, own, out), *_copy_grids(within_run, measured, out)]
    write_atomically(out / CARD_FILE, model_card(model, measured, figures, title, license, inside).encode())


def _copy_grids(run: Path, measured: Measured, out: Path) -> list[str]:
    """The samples of each method."""
    files = {f"samples/{name}/grid.png": f"figures/samples-{name}.png" for name in measured.sampled}
    return [written for file, name in files.items() for written in _copy_pictures(run, [file], out, name)]


def _copy_pictures(folder: Path, files: list[str], out: Path, name: str | None = None) -> list[str]:
    written = []
    for file in files:
        if within(folder, file).is_file():
            target = name or f"figures/{Path(file).name}"
            (out / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, out / target)
            written.append(target)
    return written


def _copy_text(path: Path, target: Path, roots: set[str]) -> None:
    """Copies a file without the paths of data: where they lie on a machine concerns nobody else."""
    text = path.read_text(encoding="utf-8")
    for root in roots:
        for dress in (str, escape, escape_markdown, lambda value: json.dumps(value)[1:-1]):
            text = text.replace(dress(root), dress(Path(root).name))
    write_atomically(target, text.encode())


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()

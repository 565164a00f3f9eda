"""JSON, rows of JSON and settings in run folders."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from condgen.checkpoint import MODEL_FILE
from condgen.data.sets import AnyData
from condgen.errors import UserError, explain
from condgen.files import blamed_on, each_line, parse_json, read_bytes, read_text, write_atomically
from condgen.hub import CONFIG_FILE
from condgen.recipes.compose import read_yaml
from condgen.runs.layout import RECIPE_FILE, SNAPSHOTS
from condgen.schedules import AnySchedule
from condgen.settings import parse


def file_key(path: Path) -> str:
    """A short content hash of a file."""
    advice = "train it first, or name its folder" if path.name == MODEL_FILE else "check the folder"
    with explain(f"cannot read {path}", advice, OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path} does not exist: name a folder that a condgen command has written")
    with blamed_on(path, OSError):
        return _object(read_text(path))


def read_settings(folder: Path) -> dict[str, Any]:
    """What the stage in a folder, or of a snapshot, was asked for, also in one that `condgen export` has written."""
    if folder.resolve().parent.name == SNAPSHOTS:
        folder = folder.resolve().parent.parent
    recipe, config = folder / RECIPE_FILE, folder / CONFIG_FILE
    if not (recipe.is_file() or config.is_file()):
        raise UserError(f"{folder} holds no model: name the folder that a training command of condgen has written")
    settings = read_json(config).get("stage") if config.is_file() and not recipe.is_file() else read_yaml(recipe)
    if not isinstance(settings, dict):
        raise UserError(f"{config} says nothing of how the model was trained: export it with condgen export")
    return settings


class _Learnt(BaseModel):
    data: AnyData | None = None


class Origin(_Learnt):
    """The data and schedule of a model: the defaults of what learns from it or starts from its weights."""

    schedule: AnySchedule


def origin_of(folder: Path) -> Origin:
    """The data and the schedule of the score model, or other model, in a folder; UserError where it says none."""
    return parse(Origin, read_settings(folder), f"the settings in {folder}")


def recorded_data(folder: Path) -> AnyData | None:
    """The data that a model in a folder has learnt, or the models of samples; None where there is no record of them."""
    with contextlib.suppress(UserError):  # what has no settings, or damaged ones, has none of data
        return parse(_Learnt, read_settings(folder), f"the settings in {folder}").data
    return None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())


def drop_partial_line(path: Path) -> None:
    """Cuts off a last line that was not written to its end, so that more can be appended."""
    if not path.exists():
        return
    with blamed_on(path, OSError):
        content = read_bytes(path)
    if (whole := content[: content.rfind(b"\n") + 1]) != content:
        write_atomically(path, whole)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; a last line that was cut short is left out."""
    return list(each_row(path))


def each_row(path: Path) -> Iterator[dict[str, Any]]:
    """The same, one at a time: a file of many takes little memory."""
    if not path.exists():
        return
    with blamed_on(path, OSError):
        for number, line in enumerate(each_line(path), start=1):
            with explain(f"{path}, line {number} is damaged", "delete the line", ValueError):
                row = _object(line)
            yield row


def _object(text: str) -> dict[str, Any]:
    if not isinstance(value := parse_json(text), dict):
        raise ValueError("not a JSON object")
    return value

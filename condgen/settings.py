"""The base of every settings class, and how plain data become settings: checked before anything runs."""

import difflib
import importlib
import os
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from condgen.errors import UserError

__all__ = ["UNKEYED", "Settings", "Target", "import_target", "imported_targets", "keyed", "parse"]

_TAGS = {"kind", "loss"}  # fields that tell the members of a union apart
_LONGEST = 200  # characters of a wrong value that a message repeats


class Settings(BaseModel):
    """Validated, immutable settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


UNKEYED: dict[str, JsonValue] = {"keyed": False}
"""Marks a field, as its `json_schema_extra`, on which no result depends beyond rounding: no content key holds it."""


def keyed(value: object) -> Any:  # noqa: ANN401 - JSON holds values of any kind
    """Settings as plain values, without the fields that are marked `UNKEYED`."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {name: keyed(getattr(value, name)) for name in fields if fields[name].json_schema_extra != UNKEYED}
    if isinstance(value, dict):
        return {str(name): keyed(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [keyed(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


Target: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
"""`package.module:Name`, an import path."""


def import_target(target: str) -> Any:  # noqa: ANN401 - whatever stands there
    """The object at `package.module:Name`, of an installed package or of a module in the current folder.

    Raises:
        UserError: it cannot be imported.
    """
    module, _, name = target.partition(":")
    if not module or not name:
        raise UserError(f"{target!r} is no import path: write package.module:Name")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module is another's, and may raise anything
        raise UserError(
            f"{target} cannot be imported ({type(error).__name__}: {error}): its module must be installed, or lie in "
            "the current folder"
        ) from error
    return found


def imported_targets(tree: object) -> Iterator[str]:
    """The import paths that plain data name: the target of every `{kind: import, target: ...}`, however deep."""
    if isinstance(tree, Mapping):
        if tree.get("kind") == "import":
            yield str(tree.get("target"))
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for part in tree:
            yield from imported_targets(part)


SettingsType = typing.TypeVar("SettingsType", bound=BaseModel)


def parse(model: type[SettingsType], tree: object, where: str) -> SettingsType:
    """Validates plain data, turning the first mistake into one line that says what to do."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        errors = error.errors()
        unknown = [e for e in errors if e["type"] == "extra_forbidden"]  # a misspelt key is also a missing one
        first, count = (unknown or errors)[0], len(errors)
        location, message = first["loc"], first["msg"].removeprefix("Value error, ")
        tags = _walk(model, location)[1]
        keys = [str(part) for place, part in enumerate(location) if place not in tags]
        if first["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(location[-1]), _fields_at(model, location[:-1]), n=1)
            known = ", ".join(sorted(_fields_at(model, location[:-1])))
            message = (
                f"no such setting; did you mean {close[0]!r}?"
                if close
                else f"no such setting; there {f'are: {known}' if known else 'is none'}"
            )
        elif "input" in first and not isinstance(first["input"], dict | list):
            said = repr(first["input"])
            message = f"{message} (it is {said if len(said) <= _LONGEST else said[:_LONGEST] + '…'})"
        more = f" ({count - 1} more)" if count > 1 else ""
        raise UserError(": ".join([where, *([".".join(keys)] if keys else []), message]) + more) from error


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """The settings classes that an annotation may hold, through Annotated, unions and dict values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        arguments = arguments[:1]
    elif typing.get_origin(annotation) is Literal:
        return []
    elif not isinstance(annotation, types.UnionType) and typing.get_origin(annotation) is dict:
        arguments = arguments[1:]
    return [model for argument in arguments for model in _models_in(argument)]


def _walk(model: type[BaseModel], location: Sequence[Any]) -> tuple[list[type[BaseModel]], set[int]]:
    """Follows the location of an error: the classes it ends in, and the places in it of tags of unions, not of keys."""
    candidates: list[type[BaseModel]] = [model]
    tags: set[int] = set()
    for place, part in enumerate(location):
        tagged = [
            c for c in candidates if part in {c.model_fields[tag].default for tag in _TAGS & c.model_fields.keys()}
        ]
        if len(candidates) > 1 and tagged:
            candidates = tagged
            tags.add(place)
            continue
        fields = [c.model_fields[part].annotation for c in candidates if part in c.model_fields]
        candidates = [m for annotation in fields for m in _models_in(annotation)] or candidates
    return candidates, tags


def _fields_at(model: type[BaseModel], location: Sequence[Any]) -> set[str]:
    return {name for candidate in _walk(model, location)[0] for name in candidate.model_fields}

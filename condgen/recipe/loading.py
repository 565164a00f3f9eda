"""Recipes: YAML files that say everything about a run, checked before anything runs.

A key that does not exist is an error that names the key meant. `key.to.value=...` overrides reach any of them. A
content hash of the settings and of what they build on decides what can be reused.
"""

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ValidationError

from condgen.errors import UserError
from condgen.recipe.models import Recipe

__all__ = ["apply_overrides", "content_key", "load_recipe", "parse", "read_yaml", "to_yaml"]


def content_key(*parts: BaseModel | str | int) -> str:
    """A short hash of settings and of the keys of what they build on."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def to_yaml(settings: BaseModel) -> str:
    """Resolved settings as YAML, every default written out."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads a recipe and applies `dotted.key=value` overrides.

    Raises:
        UserError: for a missing file, YAML that does not parse, and settings that do not hold, in one line.
    """
    return parse(Recipe, apply_overrides(read_yaml(path), overrides), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file.

    Raises:
        UserError: for a missing file, or one that is not a mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = sorted(str(p) for p in Path("recipes").glob("**/*.yaml")) if Path("recipes").is_dir() else []
        hint = f"; there are {', '.join(near)}" if near else ""
        raise UserError(f"no recipe at {path}{hint}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} must be a mapping of settings, such as recipes/digits.yaml")
    return tree


def apply_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Sets `dotted.key=value`, the value being YAML, in a tree of plain settings; returns the tree."""
    for override in overrides:
        _override(tree, override)
    return tree


def _override(tree: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set {text!r} is not of the form key.to.setting=value")
    *path, last = key.split(".")
    node = tree
    for i, part in enumerate(path):
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise UserError(f"--set {text!r}: {'.'.join(path[: i + 1])} is a value, not a group of settings")
        node = child
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text!r}: the value is not YAML ({' '.join(str(error).split())})") from error


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
        keys = [str(part) for part in location if part not in _tags(model, location)]
        if first["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(location[-1]), _fields_at(model, location[:-1]), n=1)
            known = ", ".join(sorted(_fields_at(model, location[:-1])))
            message = (
                f"no such setting; did you mean {close[0]!r}?" if close else f"no such setting; there are: {known}"
            )
        elif "input" in first and not isinstance(first["input"], dict | list):
            message = f"{message} (it is {first['input']!r})"
        more = f" ({count - 1} more)" if count > 1 else ""
        raise UserError(f"{where}: {'.'.join(keys) or 'recipe'}: {message}{more}") from error


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


def _walk(model: type[BaseModel], location: Sequence[Any]) -> tuple[list[type[BaseModel]], set[Any]]:
    """Follows an error's location: the classes it ends in, and which of its parts are tags of unions, not keys."""
    candidates: list[type[BaseModel]] = [model]
    tags: set[Any] = set()
    for part in location:
        tagged = [c for c in candidates if "kind" in c.model_fields and c.model_fields["kind"].default == part]
        if len(candidates) > 1 and tagged:
            candidates = tagged
            tags.add(part)
            continue
        fields = [c.model_fields[part].annotation for c in candidates if part in c.model_fields]
        candidates = [m for annotation in fields for m in _models_in(annotation)] or candidates
    return candidates, tags


def _fields_at(model: type[BaseModel], location: Sequence[Any]) -> set[str]:
    return {name for candidate in _walk(model, location)[0] for name in candidate.model_fields}


def _tags(model: type[BaseModel], location: Sequence[Any]) -> set[Any]:
    return _walk(model, location)[1]

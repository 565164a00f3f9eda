"""`condgen settings`."""

import inspect
import json
import re
import types
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from condgen.cli.terminal import say
from condgen.errors import UserError

__all__ = ["Row", "alternatives", "attributes", "bounds", "settings", "type_text", "walk"]

_STAGES = {"classifier": "classifiers.NAME", "generator": "generators.NAME"}  # as --set of a single stage has them
_TYPES = {bool: "true | false", int: "integer", float: "number", str: "text"}
_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_TAGS = ("kind", "loss")
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


class Row(NamedTuple):
    """A setting; `variant` is the kind of its group that has it, where there are several."""

    key: str
    variant: str
    type: str
    default: str
    meaning: str


def settings(
    key: Annotated[str | None, typer.Argument(help="A setting, or a group such as score.training.")] = None,
) -> None:
    """List the settings of a recipe: key, type, default, meaning. NAME stands for any name.

    condgen settings score.training

    Every command takes them as --set KEY=VALUE. For a single stage, the keys are those of a recipe without the
    name: classifier.training.steps stands for classifiers.NAME.training.steps.
    """
    from condgen.recipes import Recipe

    rows = list(walk(Recipe, seen={} if key is None else None))
    if key is not None:
        first, dot, rest = key.partition(".")
        wanted = (_STAGES.get(first, first) + dot + rest).split(".")
        found = [row for row in rows if _is_within(row.key.split("."), wanted)]
        if not found:
            close = get_close_matches(key, dict.fromkeys(row.key for row in rows), n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else "condgen settings lists all"
            raise UserError(f"there is no setting {key!r}: {hint}")
        rows = found
    for row in rows:
        kind = f" [{row.variant}]" if row.variant else ""
        say(f"{row.key}{kind} = {row.default}  ({row.type})" + (f"\n    {row.meaning}" if row.meaning else ""))
    if key is None:
        say("\nA key is listed once for all groups of one type: condgen settings KEY expands the others.")


def _is_within(key: list[str], wanted: list[str]) -> bool:
    return len(key) >= len(wanted) and all(k in (w, "NAME") for k, w in zip(key, wanted, strict=False))


def walk(
    model: type[BaseModel], prefix: str = "", variant: str = "", seen: dict[type[BaseModel], str] | None = None
) -> Iterator[Row]:
    """The settings of a class and of all settings classes within it.

    Args:
        model: the class.
        prefix: of the keys.
        variant: of its group.
        seen: where each class stood first, to list its settings there alone; None lists them everywhere.
    """
    documented = attributes(model)
    for name, field in model.model_fields.items():
        if name in _TAGS:
            continue
        key, models = prefix + name, alternatives(field.annotation)
        tags = [_tag(each) for each in models]
        kind = type_text(field.annotation) if not models else " | ".join(filter(None, tags)) or "group"
        meaning = field.description or documented.get(name, "")
        if seen is not None and models and all(each in seen for each in models):
            yield Row(key, variant, kind, _default(field), f"{meaning} (as {seen[models[0]]})".strip())
            continue
        yield Row(key, variant, kind + bounds(field), _default(field), meaning)
        for each, tag in zip(models, tags, strict=True):
            if seen is not None:
                seen[each] = key
            inner = f"{key}.NAME." if get_origin(field.annotation) is dict else f"{key}."
            yield from walk(each, inner, tag, seen)


def alternatives(annotation: object) -> list[type[BaseModel]]:
    """The settings classes that an annotation may hold, through unions and values of dictionaries."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        arguments = arguments[:1]
    elif get_origin(annotation) is dict:
        arguments = arguments[1:]
    elif get_origin(annotation) is Literal:
        return []
    return [model for argument in arguments for model in alternatives(argument)]


def type_text(annotation: object) -> str:
    """A type in words."""
    arguments = get_args(annotation)
    if annotation is type(None):
        return "null"
    if get_origin(annotation) is Annotated:
        return type_text(arguments[0])
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, arguments))
    if isinstance(annotation, types.UnionType) or get_origin(annotation) is Union:
        return " | ".join(map(type_text, arguments))
    if get_origin(annotation) is tuple:
        return f"[{', '.join('...' if part is ... else type_text(part) for part in arguments)}]"
    if get_origin(annotation) is dict:
        return "names with values"
    return _TYPES.get(annotation, "text") if isinstance(annotation, type) else "value"


def attributes(model: type[BaseModel]) -> dict[str, str]:
    """The meanings of fields that stand under `Attributes:` in the class's documentation."""
    _, _, section = (inspect.getdoc(model) or "").partition("Attributes:\n")
    return {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(section)}


def bounds(field: FieldInfo) -> str:
    """The limits of a number, such as ` > 0`."""
    found = [
        (sign, getattr(limit, name))
        for limit in field.metadata
        for name, sign in _BOUNDS.items()
        if hasattr(limit, name)
    ]
    return "".join(f" {sign} {limit:,}" for sign, limit in found)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return _tag(type(value))
    return json.dumps(value).strip('"')


def _tag(model: type[BaseModel]) -> str:
    """The kind of a settings class, where it is one of several."""
    tags = [get_args(model.model_fields[tag].annotation) for tag in _TAGS if tag in model.model_fields]
    return str(tags[0][0]) if tags else ""

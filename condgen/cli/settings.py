"""`condgen settings` and `samplers`: every setting, and every option of a sampler, from their JSON schemas."""

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import typer
from pydantic import BaseModel

from condgen.cli.terminal import say
from condgen.errors import UserError, did_you_mean

_STAGES = {"classifier": "classifiers.NAME", "generator": "generators.NAME"}  # as --set of a single stage has them
_TYPES = {"boolean": "true | false", "string": "text", "object": "names with values"}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
_TAGS = ("kind", "loss")

_Schema = Mapping[str, Any]


class Row(NamedTuple):
    """`variant` is the kind of the group that has it, where there are several."""

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
    from condgen.recipes.schema import Recipe

    rows = list(walk(Recipe, once=key is None))
    if key is not None:
        first, dot, rest = key.partition(".")
        wanted = (_STAGES.get(first, first) + dot + rest).split(".")
        known = {row.key for row in rows}
        rows = [row for row in rows if _is_within(row.key.split("."), wanted)]
        if not rows:
            raise UserError(f"there is no setting {key!r}: {did_you_mean(key, known) or 'condgen settings lists all'}")
    for row in rows:
        kind = f" [{row.variant}]" if row.variant else ""
        say(f"{row.key}{kind} = {row.default}  ({row.type})" + (f"\n    {row.meaning}" if row.meaning else ""))
    if key is None:
        say("\nA key is listed once for all groups of one type: condgen settings KEY expands the others.")


def _is_within(key: list[str], wanted: list[str]) -> bool:
    return len(key) >= len(wanted) and all(k in (w, "NAME") for k, w in zip(key, wanted, strict=False))


def samplers(name: Annotated[str | None, typer.Argument(help="One of them.")] = None) -> None:
    """List the samplers with their options: order, evaluations a step, noise, time grid, paper.

    condgen samplers ddim

    Options are given as --option NAME=VALUE.
    """
    from condgen.samplers.catalogue import SAMPLERS, WIDTH_ERRORS, options_of, sampler_class

    for each in SAMPLERS if name is None else [name]:
        sampler, info = sampler_class(each), sampler_class(each).info
        grid = f"{info.points} points of the grid {info.grid}" if info.grid else "its own steps"
        facts = f"order {info.order or '-'}, {info.evaluations} evaluations a step, noise: {info.noise}, {grid}"
        say(f"{each}: {(inspect.getdoc(sampler) or '').splitlines()[0]}\n    {facts}\n    {info.paper}")
        if each in WIDTH_ERRORS:
            error, enough = WIDTH_ERRORS[each]
            within = f", within 2% from {enough} evaluations" if enough is not None else ""
            say(f"    width of a Gaussian at the defaults: {error:+.1f}%{within}")
        for row in walk(options_of(each)):
            say(f"    --option {row.key}={row.default}  ({row.type})\n        {row.meaning}")


def walk(model: type[BaseModel], *, once: bool = False) -> Iterator[Row]:
    """The settings of a class and of all within it, from its schema; with `once`, each class at its first place."""
    schema = model.model_json_schema()
    yield from _walk(schema, schema.get("$defs", {}), "", "", {} if once else None)


def _walk(
    group: _Schema, groups: Mapping[str, _Schema], prefix: str, variant: str, seen: dict[str, str] | None
) -> Iterator[Row]:
    for name, field in group.get("properties", {}).items():
        if name in _TAGS:
            continue
        key, within = prefix + name, list(_groups_in(field))
        default = "required" if name in group.get("required", ()) else _text(field.get("default", {}))
        meaning = field.get("description", "")
        places = [seen[each] for each in within if each in seen] if seen is not None else []
        if places and len(places) == len(within):
            within, meaning = [], f"{meaning} (as {places[0]})".strip()
        yield Row(key, variant, _type(field, groups), default, meaning)
        for each in within:
            if seen is not None:
                seen[each] = key
            inner = f"{key}." if "type" not in field else f"{key}.NAME."
            yield from _walk(groups[each], groups, inner, _tag(groups[each]) if len(within) > 1 else "", seen)


def _parts(field: _Schema) -> list[_Schema]:
    return [*field.get("anyOf", ()), *field.get("oneOf", ()), *field.get("patternProperties", {}).values()]


def _groups_in(field: _Schema) -> Iterator[str]:
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2]
    for part in _parts(field):
        yield from _groups_in(part)


def _tag(group: _Schema) -> str:
    tags = [group["properties"][tag] for tag in _TAGS if tag in group.get("properties", {})]
    return " | ".join(tags[0].get("enum") or [str(tags[0]["const"])]) if tags else "group"


def _type(field: _Schema, groups: Mapping[str, _Schema]) -> str:
    if "$ref" in field:
        return _tag(groups[field["$ref"].rpartition("/")[2]])
    if parts := _parts(field):
        return " | ".join(_type(part, groups) for part in parts)
    if "enum" in field or "const" in field:
        return " | ".join(map(str, field.get("enum", [field.get("const")])))
    if field.get("type") == "array":
        parts = field.get("prefixItems", [])
        items = [_type(part, groups) for part in parts] if parts else [_type(field["items"], groups), "..."]
        return f"[{', '.join(items)}]"
    bounds = [f" {sign} {field[name]:,}" for name, sign in _BOUNDS.items() if name in field]
    kind = str(field.get("type", "value"))
    return "".join([_TYPES.get(kind, kind), *bounds])


def _text(default: Any) -> str:  # noqa: ANN401 - plain JSON
    tags = [str(default[tag]) for tag in _TAGS if tag in default] if isinstance(default, dict) else []
    return tags[0] if tags else json.dumps(default).strip('"')

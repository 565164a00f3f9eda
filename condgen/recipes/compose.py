"""Recipes as files: YAML that includes other files and comes in sizes, and `key.to.value=...` overrides.

`include: [score-edm.yaml, classifier-ce.yaml]` takes in other recipes in order, each once and relative to the file that
names it; what a file says itself goes over what it includes. Under `sizes`, each name has settings that go over the
others when that size is chosen. A mapping goes over another key by key, unless the two are of different `kind`;
anything else replaces what was there.

With a size, `cifar10` is called `cifar10-smoke`. Recipes that share a name share a run folder and its finished stages.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import yaml
from pydantic import BaseModel

from condgen.errors import UserError, did_you_mean
from condgen.files import read_text
from condgen.recipes.schema import Recipe
from condgen.settings import keyed, parse

_Tree: TypeAlias = dict[str, Any]
_DEPTH, _VALUES = 40, 100_000  # of a YAML file, aliases written out
_LARGEST = 100_000  # characters of one, which take the parser some seconds
_FROM_HERE = "root_from_here"  # the key of data's root as a path relative to the file
_SHIPPED = (Path(__file__).parent / "shipped", Path(__file__).parents[2] / "recipes")  # of a wheel, of a checkout

_SCALARS = {  # as YAML 1.2 has them, and underscores in numbers: 1.1 reads 010 as 8, 1:30 as 90 and 1e3 as a text
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+",
    "float": r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": r"<<",
}


class _Loader(yaml.SafeLoader):
    """Reads scalars as `_SCALARS` says; dates are texts."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


class _Dumper(yaml.SafeDumper):
    """Quotes every text that `_Loader`, or a reader of YAML 1.1, would take for something else."""


for _tag, _pattern in _SCALARS.items():
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), None)
_Loader.add_constructor(
    "tag:yaml.org,2002:int", lambda _, node: int(node.value, 0 if node.value[:2] in ("0x", "0o") else 10)
)


def load_recipe(path: Path, overrides: Iterable[str] = (), size: str | None = None) -> Recipe:
    """Reads a recipe in one of its sizes, and applies `dotted.key=value` overrides; a mistake is a UserError."""
    return parse(Recipe, apply_overrides(compose(path, size), overrides), str(path))


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with condgen, by name, such as `digits` or `cifar10/all`."""
    folder = next((place for place in _SHIPPED if place.is_dir()), _SHIPPED[0])
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.glob("**/*.yaml"))}


def find_recipe(name: str) -> Path:
    path, shipped = Path(name), shipped_recipes()
    known = name.removeprefix("recipes/").removesuffix(".yaml")
    if known in shipped and not path.is_file():
        return shipped[known]
    if not path.exists():
        hint = did_you_mean(known, shipped) or "condgen recipes lists those that come with condgen"
        raise UserError(f"no recipe at {name}: {hint}")
    return path


def content_key(*parts: BaseModel | str, length: bool = True) -> str:
    """A short hash of what `keyed` leaves of settings, and of the keys of their inputs."""
    plain = [keyed(part, length=length) for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            kinds = {before.get("kind"), value.get("kind")} - {None}
            result[key] = dict(value) if len(kinds) > 1 else merged(before, value)
        else:
            result[key] = value
    return result


def sizes_of(path: Path) -> list[str]:
    """The sizes that a recipe names itself; where it names none, those of what it includes."""
    *included, own = (sizes for _, sizes in _files(path, (), set()))
    return list(own or dict.fromkeys(name for sizes in included for name in sizes))


def compose(path: Path, size: str | None = None) -> dict[str, Any]:
    """The settings of a recipe with all that it includes, in one of its sizes; UserError where that cannot be read."""
    sizes = sizes_of(path)
    if (size or sizes) and size not in sizes:
        choice = f"choose one with --size {', --size '.join(sizes)}" if sizes else "leave --size out"
        raise UserError(f"{path} has {f'no size {size!r}' if size else 'several sizes'}: {choice}")
    tree: dict[str, Any] = {}
    for own, of_size in _files(path, (), set()):
        tree = merged(merged(tree, own), of_size.get(size or "", {}))
    if size is not None:
        tree["name"] = f"{tree.get('name', path.stem)}-{size}"
    return tree


def _files(path: Path, within: tuple[Path, ...], seen: set[Path]) -> Iterator[tuple[_Tree, _Tree]]:
    """The settings and the sizes of a recipe and of all that it includes, each once, the included ones first."""
    place = Path(os.path.realpath(path))
    if place in within:
        raise UserError(f"{path} includes itself, by way of {within[-1]}: take it out of include")
    if place in seen:
        return
    seen.add(place)
    own = read_yaml(path)
    included, sizes = own.pop("include", []), own.pop("sizes", {})
    included = [included] if isinstance(included, str) else included
    if not isinstance(included, list) or not all(isinstance(name, str) for name in included):
        raise UserError(f"{path}: include is a list of files, such as [score.yaml, classifier.yaml]")
    if not isinstance(sizes, dict) or not all(isinstance(value, dict) for value in sizes.values()):
        raise UserError(f"{path}: sizes are names with settings, such as {{small: {{score: ...}}}}")
    for name in included:
        beside = path.parent / name
        yield from _files(beside if beside.exists() else find_recipe(name), (*within, place), seen)
    yield own, {str(name): value for name, value in sizes.items()}


def to_yaml(settings: BaseModel, folder: Path | None = None) -> str:
    """All settings as YAML; for a file in a folder with the way to the data, which may be moved with it."""
    tree = settings.model_dump(mode="json")
    data = tree.get("data") or {}
    if data.get("root") and folder is not None:
        with contextlib.suppress(ValueError):  # another drive of Windows
            data[_FROM_HERE] = os.path.relpath(data["root"], os.path.realpath(folder))
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = parse_yaml(read_text(path, _LARGEST), str(path))
    except FileNotFoundError as error:
        raise UserError(f"no recipe at {path}: condgen recipes lists those that come with condgen") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} must be a mapping of settings, such as condgen recipes digits prints")
    data = tree.get("data")
    if isinstance(data, dict) and isinstance(from_here := data.pop(_FROM_HERE, None), str):
        place = os.path.join(os.path.realpath(path.parent), from_here)
        if not os.path.exists(str(data.get("root"))) and os.path.exists(place):
            data["root"] = os.path.normpath(place)
    return tree


def parse_yaml(text: str, where: str) -> Any:  # noqa: ANN401 - YAML holds values of any kind
    """The value of a YAML text; UserError where it does not parse, or is too deep or too large, aliases written out."""
    if len(text) > _LARGEST:
        raise UserError(f"{where} is not a recipe, since it holds more than {_LARGEST:,} characters")
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, where)
        return loader.construct_document(root)
    # The parser lets through errors of numbers and dates that it cannot make.
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{where} is not readable YAML: {error}") from error


def _check(root: yaml.Node, where: str) -> None:
    """UserError where a document is too large or too deep, or where a key stands twice in a mapping."""
    nodes, count = [(root, 1)], 0
    while nodes:
        node, depth = nodes.pop()
        count += 1
        if depth > _DEPTH or count > _VALUES:
            raise UserError(f"{where} is not a recipe: more than {_DEPTH} levels deep, or {_VALUES:,} values")
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise UserError(f"{where}: {key.value!r} stands on line {lines[key.value]} and on line {line}")
                lines[key.value] = line
            nodes += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += [(part, depth + 1) for part in node.value]


def apply_overrides(tree: dict[str, Any], overrides: Iterable[str], flag: str = "--set") -> dict[str, Any]:
    """Sets `dotted.key=value`, the value being YAML, in a tree, which it returns; a UserError names the flag."""
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"{flag} {text!r} is not of the form key.to.setting=value")
        *path, last = key.split(".")
        node = tree
        for i, part in enumerate(path):
            node[part] = {} if node.get(part) is None else node[part]
            node = node[part]
            if not isinstance(node, dict):
                raise UserError(f"{flag} {text!r}: {'.'.join(path[: i + 1])} is a value, not a group of settings")
        node[last] = parse_yaml(value, f"{flag} {text!r}: the value")
    return tree

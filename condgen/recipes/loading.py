"""Recipes: YAML files that say everything about a run, checked before anything runs.

A key that does not exist is an error that names the key meant. `key.to.value=...` overrides reach any of them. A
content hash of the settings and of what they build on decides what can be reused.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from condgen.errors import UserError
from condgen.foreign import read_text

__all__ = ["apply_overrides", "content_key", "parse_yaml", "read_yaml", "to_yaml"]

_DEPTH, _VALUES = 40, 100_000  # of a YAML file, aliases written out
_LARGEST = 100_000  # characters of one, which take the parser some seconds


def content_key(*parts: BaseModel | Mapping[str, Any] | str | int) -> str:
    """A short hash of settings, as such or as plain values, and of the keys of what they build on."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def to_yaml(settings: BaseModel) -> str:
    """Resolved settings as YAML for people to read: every default written out, what repeats itself counted."""
    return yaml.safe_dump(
        settings.model_dump(mode="json", context={"short": True}), sort_keys=False, allow_unicode=True
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file.

    Raises:
        UserError: for a missing file, or one that is not a mapping.
    """
    try:
        tree = parse_yaml(read_text(path, _LARGEST), str(path))
    except FileNotFoundError as error:
        near = sorted(str(p) for p in Path("recipes").glob("**/*.yaml")) if Path("recipes").is_dir() else []
        hint = f"; there are {', '.join(near)}" if near else ""
        raise UserError(f"no recipe at {path}{hint}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} must be a mapping of settings, such as recipes/digits.yaml")
    return tree


def parse_yaml(text: str, where: str) -> Any:  # noqa: ANN401 - YAML holds values of any kind
    """What a YAML text says, in memory that its length bounds.

    Aliases may make a few lines stand for billions of values, or for a mapping within itself: they are counted before
    anything is made of them.

    Args:
        text: the YAML.
        where: it comes from, for errors.

    Raises:
        UserError: it does not parse, or is nested too deeply, or too large; in one line.
    """
    if len(text) > _LARGEST:
        raise UserError(f"{where} is not a recipe, since it holds more than {_LARGEST:,} characters: mend it")
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _refuse_endless(root, where)
        return loader.construct_document(root)
    # Beside its own errors, the parser lets through those of numbers and dates that it cannot make.
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{where} is not readable YAML: {' '.join(str(error).split())}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _refuse_endless(root: yaml.Node, where: str) -> None:
    nodes, count = [(root, 1)], 0
    while nodes:
        node, depth = nodes.pop()
        count += 1
        if depth > _DEPTH or count > _VALUES:
            what = f"goes more than {_DEPTH} levels deep" if depth > _DEPTH else f"holds more than {_VALUES:,} values"
            raise UserError(f"{where} is not a recipe, since it {what}: mend it, or take the recipe that was run")
        if isinstance(node, yaml.MappingNode):
            nodes += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += [(part, depth + 1) for part in node.value]


def apply_overrides(tree: dict[str, Any], overrides: Iterable[str], flag: str = "--set") -> dict[str, Any]:
    """Sets `dotted.key=value`, the value being YAML, in a tree of plain settings; returns the tree.

    Raises:
        UserError: naming the flag of the command line that the overrides were given with.
    """
    for override in overrides:
        _override(tree, override, flag)
    return tree


def _override(tree: dict[str, Any], text: str, flag: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"{flag} {text!r} is not of the form key.to.setting=value")
    *path, last = key.split(".")
    node = tree
    for i, part in enumerate(path):
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise UserError(f"{flag} {text!r}: {'.'.join(path[: i + 1])} is a value, not a group of settings")
        node = child
    node[last] = parse_yaml(value, f"{flag} {text!r}: the value")

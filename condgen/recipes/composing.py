"""Recipes that are put together from files, and that come in sizes.

`include: [score-edm.yaml, classifier-ce.yaml]` takes in other recipes, each relative to the file that names it, in
order, and each once, however many files include it; what a file says itself goes over what it includes. Under `sizes`,
each name has settings that go over the file's others when that size is asked for; a recipe in sizes needs one to be
chosen. A mapping goes over another key by key, unless the two are of different `kind`; anything else replaces what was
there. A `promise` is of the file that makes it, and is not taken in.

The name of a recipe with a size is the two joined, `cifar10` and `smoke` to `cifar10-smoke`. Recipes that share a name
share a run folder, in which a stage that one has finished is there for the other.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from condgen.errors import UserError
from condgen.recipes.loading import apply_overrides, read_yaml
from condgen.recipes.models import Recipe
from condgen.settings import parse

_DEEPEST, _MOST = 20, 200  # files within each other, and in all

__all__ = ["compose", "load_recipe", "merged", "sizes_of"]


def load_recipe(path: Path, overrides: Iterable[str] = (), size: str | None = None) -> Recipe:
    """Reads a recipe in one of its sizes, and applies `dotted.key=value` overrides.

    Raises:
        UserError: for a missing file, YAML that does not parse, and settings that do not hold, in one line.
    """
    return parse(Recipe, apply_overrides(compose(path, size), overrides), str(path))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings over others; neither is changed."""
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
    """The sizes that a recipe comes in, of its own and of what it includes; none where it comes in one."""
    return list(dict.fromkeys(name for file in _files(path, (), set()) for name in file.sizes))


def compose(path: Path, size: str | None = None) -> dict[str, Any]:
    """The settings of a recipe with everything that it includes, in one of its sizes.

    Args:
        path: the recipe.
        size: one of its sizes; None where it has none.

    Raises:
        UserError: a file is missing, includes itself, or is not readable; there is no such size, or none was chosen.
    """
    sizes = sizes_of(path)
    tree: dict[str, Any] = {}
    for file in _files(path, (), set()):
        tree.pop("promise", None)  # what a part takes is not what the whole takes
        tree = merged(merged(tree, file.own), file.sizes.get(size or "", {}))
    if size is None and sizes:
        raise UserError(f"{path} comes in sizes: choose one with --size {', --size '.join(sizes)}")
    if size is not None and size not in sizes:
        close = get_close_matches(size, sizes, n=1)
        known = f"; there are {', '.join(sizes)}" if sizes else ", it comes in one only: leave --size out"
        raise UserError(f"{path} has no size {size!r}{f', did you mean {close[0]!r}?' if close else known}")
    if size is not None:
        tree["name"] = f"{tree.get('name', path.stem)}-{size}"
    return tree


class _File(NamedTuple):
    """What one file says itself."""

    own: dict[str, Any]
    sizes: dict[str, dict[str, Any]]


def _files(path: Path, within: tuple[Path, ...], seen: set[Path]) -> Iterator[_File]:
    """A recipe and all that it includes, each once, the included ones first."""
    place = Path(os.path.realpath(path))  # which takes links that lead in a circle
    if place in within:
        raise UserError(f"{path} includes itself, by way of {within[-1]}: take it out of include")
    if place in seen:
        return
    seen.add(place)
    if len(within) > _DEEPEST or len(seen) > _MOST:
        raise UserError(
            f"{path} is one of too many files: a recipe takes in at most {_MOST}, {_DEEPEST} within each other"
        )
    own = read_yaml(path)
    included, sizes = own.pop("include", []), own.pop("sizes", {})
    included = [included] if isinstance(included, str) else included
    if not isinstance(included, list) or not all(map(_is_file_name, included)):
        raise UserError(f"{path}: include is a list of files, such as [score.yaml, classifier.yaml]")
    if not isinstance(sizes, dict) or not all(isinstance(value, dict) for value in sizes.values()):
        raise UserError(f"{path}: sizes are names with settings, such as {{small: {{score: ...}}}}")
    for name in included:
        yield from _files(path.parent / name, (*within, place), seen)
    yield _File(own, {str(name): value for name, value in sizes.items()})


def _is_file_name(name: object) -> bool:
    if not isinstance(name, str) or "\0" in name:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half a character
        return False
    return True

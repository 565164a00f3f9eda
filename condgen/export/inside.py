"""Names and paths that a folder's own files give: none of them leads out of the folder.

A run or an export may come from somebody else, and its files are read before any recipe is validated. A method called
`../../x`, or a picture that is a symbolic link to a private key, must neither be read, published nor written.
"""

import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from condgen.errors import UserError
from condgen.recipes.guidance import Name

__all__ = ["checked_name", "named_parts", "within"]

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def within(root: Path, name: object, where: Path | None = None) -> Path:
    """The path of this name in a folder, whether there is anything or not.

    Args:
        root: the folder, which may be reached through links itself.
        name: relative to it.
        where: the file that gives the name, if it is not one of condgen's own.

    Raises:
        UserError: where the name, or a symbolic link on the way, leads elsewhere.
    """
    said = f"{where} names {name!r}, which" if where else f"{root / str(name)}"
    if not isinstance(name, str) or "\0" in name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise UserError(f"{said} does not lie within {root}: correct it, or make the folder again")
    base = os.path.realpath(root)
    if os.path.realpath(root / name) != os.path.normpath(os.path.join(base, name)):
        raise UserError(f"{said} is reached through a symbolic link: put the file itself in its place")
    return root / name


def checked_name(name: object, where: Path) -> str:
    """A name as recipes allow it: no path, nothing that Markdown or a shell would take amiss.

    Raises:
        UserError: where it is another.
    """
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise UserError(
            f"{where} holds the name {name!r}: only letters, digits, _, . and - are allowed; make the run again"
        ) from error


def named_parts(tree: object, where: Path) -> dict[str, Mapping[str, Any]]:
    """A part of a recipe that holds settings by name, such as its methods; nothing stands for none.

    Raises:
        UserError: where it is something else, or a name is not one.
    """
    found = {} if tree is None else tree
    if not isinstance(found, dict) or not all(isinstance(part, dict | None) for part in found.values()):
        raise UserError(f"{where} is damaged: settings by name are expected in {str(tree)[:60]!r}; make the run again")
    return {checked_name(name, where): part or {} for name, part in found.items()}

"""The base of every settings class, and how plain data become settings: checked before anything runs."""

import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import PydanticCustomError

from condgen.errors import UserError, did_you_mean

_LONGEST = 200  # characters of a wrong value that a message repeats


class Settings(BaseModel):
    """Validated, immutable settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _is_read_as_written(cls, tree: object, read: ModelWrapValidatorHandler[Self]) -> Self:
        given, known = tree if isinstance(tree, Mapping) else {}, cls.model_fields
        if unknown := [key for key in given if key not in known]:
            key = str(unknown[0]).encode(errors="replace").decode()  # pydantic's messages are UTF-8
            hint = did_you_mean(key, known) or f"there are: {', '.join(sorted(known)) or 'none'}"
            raise PydanticCustomError("unknown_setting", "no such setting; {hint}", {"key": key, "hint": hint})
        made = read(tree)
        if misread := [key for key, value in given.items() if _misread(value, getattr(made, key))]:
            raise PydanticCustomError("misread", "a number is asked for, not true or false", {"key": misread[0]})
        return made


def _misread(written: object, read: object) -> bool:
    """Whether true or false, which pydantic takes for 1 and 0, has become a number."""
    if isinstance(written, list | tuple) and isinstance(read, tuple):
        return any(map(_misread, written, read))
    return isinstance(written, bool) and type(read) in (int, float)


UNKEYED: dict[str, JsonValue] = {"keyed": False}
"""Marks a field, as its `json_schema_extra`, on which no result depends beyond rounding: no content key holds it."""
LENGTH: dict[str, JsonValue] = {"length": True}
"""Marks the field that says how much there is to do: where it alone has grown, a stage goes on."""


def keyed(value: object, *, length: bool = True) -> Any:  # noqa: ANN401 - JSON holds values of any kind
    """Settings as plain values, without the fields that are marked `UNKEYED`, or `LENGTH` if so asked."""
    if isinstance(value, BaseModel):
        omitted = (UNKEYED,) if length else (UNKEYED, LENGTH)
        names = [name for name, field in type(value).model_fields.items() if field.json_schema_extra not in omitted]
        return {name: keyed(getattr(value, name), length=length) for name in names}
    if isinstance(value, dict):
        return {str(name): keyed(part, length=length) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [keyed(part, length=length) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


Target: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]
"""`package.module:Name`, an import path."""


def import_target(target: str) -> Any:  # noqa: ANN401 - whatever stands there
    """The object at `package.module:Name`, of an installed package or of a module in the current folder."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return pkgutil.resolve_name(target)
    except Exception as error:  # the module is another's, and may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{target} cannot be imported ({reason}): install it, or run in the folder it is in") from error


def imported_targets(tree: object) -> Iterator[str]:
    """The import paths that plain data name: the target of every `{kind: import, target: ...}`, however deep."""
    if isinstance(tree, Mapping):
        if tree.get("kind") == "import":
            yield str(tree.get("target"))
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for part in tree:
            yield from imported_targets(part)


SettingsType = TypeVar("SettingsType", bound=BaseModel)


def parse(model: type[SettingsType], tree: object, where: str, *, is_saved: bool = False) -> SettingsType:
    """Checks plain data; the first mistake becomes a UserError. What it does not know in `is_saved` data is newer."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first, count = error.errors()[0], error.error_count()
        message, keys = first["msg"].removeprefix("Value error, "), _keys_within(tree, first["loc"])
        if first["type"] in ("unknown_setting", "misread"):
            keys.append(str(first["ctx"]["key"]))
        elif first["type"] == "missing":
            keys.append(str(first["loc"][-1]))
        elif not isinstance(first["input"], dict | list):
            value = repr(first["input"])
            message += f" (it is {value if len(value) <= _LONGEST else value[:_LONGEST] + '…'})"
        more = f" ({count - 1} more)" if count > 1 else ""
        if is_saved and first["type"] == "unknown_setting":
            more += "; it was made by a newer condgen: upgrade this one"
        raise UserError(": ".join([where, *([".".join(keys)] if keys else []), message]) + more) from error


def _keys_within(tree: Any, location: tuple[int | str, ...]) -> list[str]:  # noqa: ANN401 - plain data
    """The keys in the location of an error, which also names the members of unions."""
    keys = []
    for part in location:
        if isinstance(tree, list | tuple):
            tree = dict(enumerate(tree))
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
            keys.append(str(part))
    return keys

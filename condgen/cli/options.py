"""Options that several commands share, and options that are made from settings: type and meaning stand there."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from condgen.checkpoint import trusted_imports
from condgen.cli.settings import alternatives, type_text
from condgen.hub import model_folder
from condgen.recipes import apply_overrides

__all__ = [
    "Data",
    "Overrides",
    "RecipeFile",
    "Size",
    "Trust",
    "from_settings",
    "guide_folder",
    "model_option",
    "named_guide",
    "overridden",
]

_MOST_CHOICES = 5  # that the help spells out

Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, as condgen settings lists them."),
]
Size: TypeAlias = Annotated[str | None, typer.Option(help="A size of the recipe, such as smoke.")]
RecipeFile: TypeAlias = Annotated[Path | None, typer.Option("--recipe", help="Take the settings from this recipe.")]
Data: TypeAlias = Annotated[
    str | None, typer.Option(help="digits, moons, cifar10, cifar100, or a folder with one sub-folder a class.")
]
Trust: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust",
        callback=lambda context, value: value and context.with_resource(trusted_imports()),
        help="Let model files name code to import and run.",
    ),
]


def model_option(help: str) -> Any:  # noqa: ANN401 - typer's own
    """An option for the folder of a model."""
    return typer.Option(parser=model_folder, metavar="DIR|hf:REPO", help=help)


def guide_folder(guide: str | None) -> Path | None:
    """The folder of the score model that guides, if one does."""
    return None if guide is None or guide == "unlabelled" else model_folder(guide)


def named_guide(guide: str | None, folder: Path | None) -> str | None:
    """The name of a guide in settings: two parts of its path, since the last may be a step or "score"."""
    return guide if folder is None else "/".join(folder.resolve().parts[-2:])


def from_settings(
    model: type[BaseModel], keys: Mapping[str, str], *, defaults: bool = True
) -> Callable[[Callable[..., None]], Any]:
    """Adds an option for each of some settings to a command, which gets what was given as `given`, by dotted key.

    Args:
        model: the settings.
        keys: the dotted keys by the names of the options.
        defaults: whether the help shows the defaults of the settings.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(**arguments: Any) -> None:  # noqa: ANN401 - of many types
            found = {key: arguments.pop(name) for name, key in keys.items()}
            command(**arguments, given={key: value for key, value in found.items() if value is not None})

        signature = inspect.signature(command)
        own = [parameter for name, parameter in signature.parameters.items() if name != "given"]
        added = [_parameter(name, _field(model, key), defaults) for name, key in keys.items()]
        last = [own.pop()] if own and own[-1].name == "overrides" else []
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *added, *last)]
        wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapped

    return decorate


def overridden(tree: dict[str, Any], given: Mapping[str, Any], overrides: Sequence[str] | None) -> dict[str, Any]:
    """Settings with those options that were given, and with what --set says, which goes last."""
    texts = [f"{key}={list(value) if isinstance(value, tuple) else value}" for key, value in given.items()]
    return apply_overrides(apply_overrides(tree, texts, "option"), overrides or ())


def _field(model: type[BaseModel], key: str) -> FieldInfo:
    """The field at a dotted key, in the first alternative that has it where a setting is of several kinds."""
    models: list[type[BaseModel]] = [model]
    *path, last = key.split(".")
    for part in path:
        fields = [each.model_fields[part] for each in models if part in each.model_fields]
        models = [each for field in fields for each in alternatives(field.annotation)]
    return next(each.model_fields[last] for each in models if last in each.model_fields)


def _parameter(name: str, field: FieldInfo, defaults: bool) -> inspect.Parameter:
    kind = _option_type(field.annotation)
    is_list = "[" in type_text(field.annotation) and kind is str
    text = field.description or name
    if defaults and not field.is_required() and field.default is not None:
        text += f"; default: {field.default}"
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=text[:1].upper() + text[1:] + ".",
        parser=_list if is_list else None,
        metavar="N,N,..." if is_list else None,
    )
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _list(text: str) -> str:
    return text if text.startswith("[") else f"[{text}]"


def _option_type(annotation: object) -> Any:  # noqa: ANN401 - a type
    """The type of an option for a setting; text, which is read as YAML, where it is not a plain one."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Annotated:
        return _option_type(parts[0])
    if isinstance(annotation, types.UnionType) or get_origin(annotation) is Union:
        return _option_type(parts[0]) if len(parts) == 1 else str
    if annotation in (bool, int, float, str, tuple[float, float]):
        return annotation
    return annotation if get_origin(annotation) is Literal and len(parts) <= _MOST_CHOICES else str

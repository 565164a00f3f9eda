"""Options that several commands share, and options that are made from the fields of settings."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import typer
from pydantic import BaseModel

from condgen.checkpoint import trusted_imports
from condgen.cli.launch import choose_device
from condgen.cli.settings import Row, walk
from condgen.hub import model_folder
from condgen.recipes.compose import apply_overrides, find_recipe

Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting: condgen settings lists those of recipes."),
]
Size: TypeAlias = Annotated[str | None, typer.Option(help="A size of the recipe, such as smoke.")]
RecipeFile: TypeAlias = Annotated[
    Path | None, typer.Option("--recipe", parser=find_recipe, metavar="FILE|NAME", help="Take the settings from it.")
]
Data: TypeAlias = Annotated[str | None, typer.Option(help="digits, moons, cifar10, ..., or a folder of class folders.")]
RecordedData: TypeAlias = Annotated[str | None, typer.Option("--data", help="The data, if not at the place on record.")]
Trust: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust",
        callback=lambda context, value: value and context.with_resource(trusted_imports()),
        help="Let model files name code to import and run.",
    ),
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--device",
        callback=choose_device,
        metavar="cpu|cuda|cuda:N|mps|xpu",
        help="Where to compute; default: an accelerator, if there is one.",
    ),
]
Guide: TypeAlias = Annotated[
    str | None, typer.Option(metavar="unlabelled|DIR", help="Classifier-free guidance, or by a weaker score model.")
]


def model_option(help: str) -> Any:  # noqa: ANN401 - typer's own
    return typer.Option(parser=model_folder, metavar="DIR|hf:REPO", help=help)


class Given(NamedTuple):
    """The settings that a command was given, as `dotted.key=value`: by options of its own, and by --set."""

    options: list[str]
    overrides: list[str]

    @property
    def of_data(self) -> list[str]:
        return [text for text in (*self.options, *self.overrides) if text.startswith("data.")]

    def over(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Settings with what was given, --set last; of data only where the settings hold them."""
        for flag, texts in (("option", self.options), ("--set", self.overrides)):
            apply_overrides(tree, [text for text in texts if "data" in tree or not text.startswith("data.")], flag)
        return tree


_ALWAYS = {"trust": (Trust, False), "device": (Device, None), "overrides": (Overrides, None)}  # --set comes last


def from_settings(
    model: type[BaseModel], keys: Mapping[str, str], *, defaults: bool = True
) -> Callable[[Callable[..., None]], Any]:
    """Adds options to a command: --trust, --device, --set, and those of some settings, which it gets as `given`.

    Their values are texts, which are read as --set reads them. `keys` are dotted keys by the names of the options; with
    `defaults`, the help shows those of the settings.
    """
    rows = {row.key: row for row in reversed(list(walk(model)))}  # of several kinds, the first that has a key

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(**arguments: Any) -> None:  # noqa: ANN401 - of many types
            found = {key: arguments.pop(name) for name, key in keys.items()}
            _, _, overrides = (arguments.pop(name) for name in _ALWAYS)  # callbacks have read the first two
            options = [f"{key}={value}" for key, value in found.items() if value is not None]
            command(**arguments, given=Given(options, overrides or []))

        signature = inspect.signature(command)
        parameters = [parameter for name, parameter in signature.parameters.items() if name != "given"]
        parameters += [_parameter(name, rows[key], defaults) for name, key in keys.items()]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _ALWAYS.items()
        ]
        wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapped

    return decorate


def _parameter(name: str, row: Row, defaults: bool) -> inspect.Parameter:
    text = row.meaning or name
    if defaults and row.default not in ("required", "null"):
        text += f"; default: {row.default}"
    kind = row.type.removesuffix(" | null")
    is_list, is_flag = kind.startswith("["), kind == "true | false"
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=text[:1].upper() + text[1:] + ".",
        parser=(lambda given: given if given.startswith("[") else f"[{given}]") if is_list else None,
        metavar="N,N,..." if is_list else None if is_flag else kind.partition(" >")[0].replace(" | ", "|"),
    )
    annotation: Any = Annotated[bool | None if is_flag else str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)

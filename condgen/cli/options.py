"""Options that several commands share, and options that are made from the fields of settings."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from pydantic import BaseModel

from condgen.checkpoint import trusted_imports
from condgen.cli.launch import choose_device
from condgen.cli.settings import Row, walk
from condgen.cli.terminal import say
from condgen.data import AnyData, Folder, LabelledSet, Split, load, parse_data
from condgen.errors import UserError
from condgen.hub import model_folder
from condgen.recipes import apply_overrides, find_recipe
from condgen.settings import parse
from condgen.training import Processes

Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, as condgen settings lists them."),
]
Size: TypeAlias = Annotated[str | None, typer.Option(help="A size of the recipe, such as smoke.")]
RecipeFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        parser=find_recipe,
        metavar="FILE|NAME",
        help="Take the settings from this recipe.",
    ),
]
Data: TypeAlias = Annotated[
    str | None, typer.Option(help="digits, moons, cifar10, cifar100, or a folder with one sub-folder a class.")
]
RecordedData: TypeAlias = Annotated[
    str | None, typer.Option("--data", help="The data, where they are not at the place on record.")
]
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
    str | None,
    typer.Option(
        metavar="unlabelled|DIR", help="unlabelled: classifier-free guidance. A weaker score model: autoguidance."
    ),
]


def model_option(help: str) -> Any:  # noqa: ANN401 - typer's own
    return typer.Option(parser=model_folder, metavar="DIR|hf:REPO", help=help)


def named_guide(guide: str | None) -> tuple[str | None, dict[str, Path]]:
    """What settings call a guide, and the folder of the score model that guides, if one does, by that name.

    The name is of two parts of the path, since the last may be a step or "score".
    """
    if guide is None or guide == "unlabelled":
        return guide, {}
    folder = model_folder(guide)
    name = "/".join(folder.resolve().parts[-2:])
    return name, {name: folder}


def by_folder_name(folders: list[Path]) -> dict[str, Path]:
    """Folders by the names that rows of tables give them."""
    names = [folder.resolve().name for folder in folders]
    same = next((name for name in names if names.count(name) > 1), None)
    if same is not None:
        raise UserError(f"two folders are called {same!r}: rename one, since folder names become row names")
    return dict(zip(names, folders, strict=True))


def data_settings(text: str | None, overrides: Sequence[str] | None, recorded: AnyData | None = None) -> AnyData:
    """The data of a command: those on record, or those of --data; and then --set data.KEY=VALUE.

    A folder is read as the one on record was, at the same size and with the same splits.
    """
    chosen = recorded if text is None else parse_data(text)
    if chosen is None:
        raise UserError("no data are on record here: name them with --data")
    if isinstance(chosen, Folder) and isinstance(recorded, Folder):
        chosen = recorded.model_copy(update={"root": chosen.root})
    of_data, _ = split_overrides(overrides)
    return parse(type(chosen), apply_overrides({"data": chosen.model_dump(mode="json")}, of_data)["data"], "data")


def split_overrides(overrides: Sequence[str] | None) -> tuple[list[str], list[str]]:
    of_data = [text for text in overrides or () if text.startswith("data.")]
    return of_data, [text for text in overrides or () if text not in of_data]


def load_split(settings: AnyData, split: Split, processes: Processes) -> LabelledSet:
    """One split, read by one process of a machine after the other; says what was passed over."""
    loaded = processes.in_turn(lambda: load(settings, split))
    if loaded.passed_over:
        say(loaded.passed_over)
    return loaded


def from_settings(
    model: type[BaseModel], keys: Mapping[str, str], *, defaults: bool = True
) -> Callable[[Callable[..., None]], Any]:
    """Adds an option for each of some settings to a command, which gets what was given as `given`, by dotted key.

    Values are texts, which are read as --set reads them. `keys` are dotted keys by the names of the options; with
    `defaults`, the help shows those of the settings.
    """
    rows: dict[str, Row] = {}
    for row in walk(model):
        rows.setdefault(row.key, row)  # the first kind that has it, where there are several

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(**arguments: Any) -> None:  # noqa: ANN401 - of many types
            found = {key: arguments.pop(name) for name, key in keys.items()}
            command(**arguments, given={key: value for key, value in found.items() if value is not None})

        signature = inspect.signature(command)
        parameters = [parameter for name, parameter in signature.parameters.items() if name != "given"]
        parameters += [_parameter(name, rows[key], defaults) for name, key in keys.items()]
        parameters.sort(key=lambda parameter: parameter.name == "overrides")  # --set comes last
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
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
        parser=_list if is_list else None,
        metavar="N,N,..." if is_list else None if is_flag else kind.partition(" >")[0].replace(" | ", "|"),
    )
    annotation: Any = Annotated[bool | None if is_flag else str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _list(text: str) -> str:
    return text if text.startswith("[") else f"[{text}]"


def overridden(tree: dict[str, Any], given: Mapping[str, Any], overrides: Sequence[str] | None) -> dict[str, Any]:
    """Settings with those options that were given, and with what --set says, which goes last."""
    texts = [f"{key}={value}" for key, value in given.items()]
    return apply_overrides(apply_overrides(tree, texts, "option"), overrides or ())

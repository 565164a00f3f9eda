"""The data and models that a command names."""

from collections.abc import Sequence
from pathlib import Path

from condgen.cli.terminal import say
from condgen.data.labelled import LabelledSet, Split
from condgen.data.sets import AnyData, Folder, load, parse_data
from condgen.errors import UserError
from condgen.hub import model_folder
from condgen.recipes.compose import apply_overrides
from condgen.settings import parse
from condgen.training.distributed import Processes


def data_settings(text: str | None, overrides: Sequence[str] | None, recorded: AnyData | None = None) -> AnyData:
    """The data on record, or those of --data, a folder read as the one on record; then --set data.KEY=VALUE."""
    chosen = recorded if text is None else parse_data(text)
    if chosen is None:
        raise UserError("no data are on record here: name them with --data")
    if isinstance(chosen, Folder) and isinstance(recorded, Folder):
        chosen = recorded.model_copy(update={"root": chosen.root})
    of_data = [text for text in overrides or () if text.startswith("data.")]
    return parse(type(chosen), apply_overrides({"data": chosen.model_dump(mode="json")}, of_data)["data"], "data")


def load_split(settings: AnyData, split: Split, processes: Processes) -> LabelledSet:
    """One split, read by one process of a machine after the other; says what was passed over."""
    loaded = processes.in_turn(lambda: load(settings, split))
    if loaded.passed_over:
        say(loaded.passed_over)
    return loaded


def named_guide(guide: str | None) -> tuple[str | None, dict[str, Path]]:
    """What settings call a guide, and the folder of the score model that guides, if one does, by that name."""
    if guide is None or guide == "unlabelled":
        return guide, {}
    folder = model_folder(guide)
    name = "/".join(folder.resolve().parts[-2:])  # the last alone may be a step or "score"
    return name, {name: folder}


def by_folder_name(folders: list[Path]) -> dict[str, Path]:
    names = [folder.resolve().name for folder in folders]
    if same := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two folders are called {same[0]!r}: rename one, since folder names become row names")
    return dict(zip(names, folders, strict=True))

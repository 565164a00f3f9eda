"""`condgen evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from condgen.cli.options import Overrides, from_settings, overridden
from condgen.cli.progress import show_report, work_in
from condgen.data import load, parse_data
from condgen.errors import UserError
from condgen.hub import model_folder
from condgen.recipes import EvaluateStage
from condgen.runs import Evaluate, sample_folders
from condgen.runs.layout import MANIFEST
from condgen.settings import parse
from condgen.training import Processes


def by_folder_name(folders: list[Path]) -> dict[str, Path]:
    """Folders by the names that rows of tables give them."""
    names = [folder.resolve().name for folder in folders]
    same = next((name for name in names if names.count(name) > 1), None)
    if same is not None:
        raise UserError(f"two folders are called {same!r}: rename one, since folder names become row names")
    return dict(zip(names, folders, strict=True))


@from_settings(EvaluateStage, {name: f"measures.{name}" for name in ("features", "cas", "most")} | {"seed": "seed"})
def evaluate(
    samples: Annotated[list[Path], typer.Argument(help="Folders of samples, whole or all shards.")],
    data: Annotated[str, typer.Option(help="The real data: digits, moons, cifar10, cifar100, or a folder.")] = "digits",
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/evaluation"),
    overrides: Overrides = None,
    *,
    given: dict[str, Any],
) -> None:
    """Compare samples with real data: distances, overlap, variety, memorization, classifier accuracy.

    Every figure comes with its n, features, reference and floor: the same figure of held-out real data. Features of
    networks are kept in $CONDGEN_CACHE, ~/.cache/condgen by default.

    Also: --set measures.cas_steps=2000, --set measures.cas_flip=true.
    """
    for folder in samples:
        if not (sample_folders(folder)[0] / MANIFEST).exists():
            raise UserError(f"{folder} holds no {MANIFEST}: name folders that condgen sample has written")
    tree = overridden({"measures": {}}, given, overrides)
    features = str(tree["measures"].get("features", ""))
    if features.startswith("hf:"):
        tree["measures"]["features"] = str(model_folder(features))
    stage = parse(EvaluateStage, tree, "evaluate")
    settings, processes = parse_data(data), Processes()
    train, test = processes.in_turn(lambda: (load(settings, "train"), load(settings, "test")))
    work = Evaluate("evaluate", out, stage, by_folder_name(samples), train, test).run(processes)
    if work_in(out, work, processes):
        show_report(out)

"""`condgen calibrate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from condgen.cli.progress import console, follow
from condgen.data import load
from condgen.errors import UserError
from condgen.hub import MODEL, model_folder
from condgen.recipes import CalibrateRecipe, CalibrateStage, ClassifierStage
from condgen.runs import calibrate_stage, in_main, lock, read_settings
from condgen.runs.layout import CALIBRATION, CALIBRATION_FOLDER, CALIBRATION_PICTURE
from condgen.settings import parse
from condgen.training import Processes

__all__ = ["calibrate"]


def _own_folder(name: str) -> Path:
    if name.startswith("hf:"):
        raise UserError(
            f"calibrate writes into the classifier's folder, and {name} lies on the hub: fetch it with 'hf download "
            "OWNER/NAME --local-dir DIR', and name a folder in DIR"
        )
    return Path(name)


def calibrate(
    classifier: Annotated[
        Path, typer.Option(parser=_own_folder, metavar="DIR", help="Folder of the classifier; the figures go into it.")
    ],
    score: Annotated[Path, typer.Option(parser=model_folder, metavar=MODEL, help="Folder of the score model.")],
    levels: Annotated[
        str | None,
        typer.Option(
            help="Noise levels, separated by commas; by default 16 that span the data. "
            "Beyond the outer ones, their scales hold."
        ),
    ] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Noise draws of each held-out image, at each level.")] = None,
    most: Annotated[int | None, typer.Option(min=2, help="Held-out images to look at; by default all.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the noise.")] = None,
) -> None:
    """Measure a classifier on held-out data at each noise level, and find the guidance scale that suits it there.

    Accuracy, cross-entropy, calibration error, the gain over zero guidance, and the best scale: zero where guidance
    does not surely help. No exact score is needed. Writes CLASSIFIER/calibration.
    """
    from condgen.report import classifier_table, draw_calibration, read_run, to_rich

    trained = parse(ClassifierStage, read_settings(classifier), f"the settings in {classifier}")
    tree: dict[str, Any] = {"draws": draws, "most": most, "seed": seed}
    if levels is not None:
        tree["levels"] = [part.strip() for part in levels.split(",")]
    given = {key: value for key, value in tree.items() if value is not None}
    stage = CalibrateStage(calibrate=parse(CalibrateRecipe, given, "calibrate"))
    held_out = load(trained.data, "test")
    name, place = classifier.resolve().name.removeprefix("classifier-"), classifier / CALIBRATION_FOLDER
    processes = Processes()
    with lock(classifier, processes):
        work = calibrate_stage(f"calibrate {name}", stage, classifier, score, held_out, processes.device)
        worked = follow(in_main(processes, work), processes)
        if not processes.is_main:
            return
        if worked == 0:
            console.print(f"nothing left to do: {place} is finished", markup=False)
        rows = read_run(classifier).classifiers[name]
        draw_calibration(name, rows, place / CALIBRATION_PICTURE)
    console.print(to_rich(classifier_table(rows, name), console.width))
    console.print(f"plots: {(place / 'calibration.png').resolve()}", markup=False, soft_wrap=True)
    console.print(f"scales: {(place / CALIBRATION).resolve()}", markup=False, soft_wrap=True)

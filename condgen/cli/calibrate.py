"""`condgen calibrate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from condgen.cli.options import Trust, from_settings, model_option, overridden
from condgen.cli.progress import work_in
from condgen.cli.terminal import console, say
from condgen.data import load
from condgen.errors import UserError
from condgen.recipes import CalibrateRecipe, ClassifierStage
from condgen.runs import Calibrate, read_settings
from condgen.runs.layout import CALIBRATION_PICTURE, calibration_file
from condgen.settings import parse
from condgen.training import Processes


@from_settings(CalibrateRecipe, {name: name for name in ("levels", "draws", "most", "seed")})
def calibrate(
    classifier: Annotated[
        str, typer.Option(metavar="DIR", help="The classifier; the result is written into its folder.")
    ],
    score: Annotated[Path, model_option("The score model.")],
    trust: Trust = False,
    *,
    given: dict[str, Any],
) -> None:
    """Measure a classifier on held-out data at each noise level, and find the guidance scale that suits it there.

    Accuracy, cross-entropy, calibration error, the gain over zero guidance, and the best scale: zero where guidance
    does not surely help. No exact score is needed. Writes CLASSIFIER/calibration.
    """
    from condgen.report import classifier_table, draw_calibration, read_run, to_rich

    if classifier.startswith("hf:"):
        raise UserError(
            f"calibrate writes into the classifier's folder, and {classifier} lies on the hub: fetch it with "
            "'hf download OWNER/NAME --local-dir DIR', and name a folder in DIR"
        )
    folder = Path(classifier)
    trained = parse(ClassifierStage, read_settings(folder), f"the settings in {folder}")
    stage = parse(CalibrateRecipe, overridden({}, given, None), "calibrate")
    name, file, processes = folder.resolve().name.removeprefix("classifier-"), calibration_file(folder), Processes()
    held_out = load(trained.data, "test")
    work = Calibrate(f"calibrate {name}", file.parent, stage, score, held_out).run(processes)
    if work_in(folder, work, processes):
        rows = read_run(folder).classifiers[name]
        picture = file.with_name(CALIBRATION_PICTURE)
        draw_calibration(name, rows, picture)
        console.print(to_rich(classifier_table(rows, name), console.width))
        say(f"plots: {picture.resolve()}\nscales: {file.resolve()}")

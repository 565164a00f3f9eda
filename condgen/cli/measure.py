"""`condgen calibrate`, `evaluate` and `diagnose`: of classifiers, of samples, and of scores."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.cli.inputs import by_folder_name, data_settings, load_split
from condgen.cli.options import Given, RecordedData, from_settings, model_option
from condgen.cli.progress import show_report, work_in
from condgen.cli.terminal import console, say
from condgen.data.sets import AnyData, Folder, load
from condgen.errors import UserError
from condgen.hub import model_folder
from condgen.recipes.defaults import default_diagnose
from condgen.recipes.guidance import Guidance
from condgen.recipes.schema import CalibrateRecipe, ClassifierStage, DiagnoseRecipe, EvaluateStage
from condgen.runs.calibrate import Calibrate
from condgen.runs.diagnose import Diagnose, loss_of, with_defaults
from condgen.runs.evaluate import Evaluate
from condgen.runs.folder import origin_of, read_settings, recorded_data
from condgen.runs.layout import CALIBRATION_PICTURE, calibration_file
from condgen.runs.models import Folders
from condgen.runs.sample_folder import picture_side
from condgen.settings import parse
from condgen.training.distributed import Processes


@from_settings(CalibrateRecipe, {name: name for name in ("levels", "draws", "most", "seed")})
def calibrate(
    classifier: Annotated[str, typer.Option(metavar="DIR", help="The classifier, in whose folder the result is put.")],
    score: Annotated[Path, model_option("The score model.")],
    data: RecordedData = None,
    *,
    given: Given,
) -> None:
    """Measure a classifier on the validation split, and find the guidance scale that suits it at each noise level.

    Accuracy, cross-entropy, calibration error, the gain over zero guidance, and the best scale: zero where guidance
    does not surely help. No exact score is needed. Writes CLASSIFIER/calibration.
    """
    from condgen.report.figures import method_styles, save_panels
    from condgen.report.load import read_run
    from condgen.report.models import classifier_panels, classifier_table
    from condgen.report.page import to_rich

    if classifier.startswith("hf:"):
        fetch = "'hf download OWNER/NAME --local-dir DIR', and name a folder in DIR"
        raise UserError(f"calibrate writes into the classifier's folder, not into {classifier}: fetch it by {fetch}")
    folder = Path(classifier)
    trained = parse(ClassifierStage, read_settings(folder), f"the settings in {folder}")
    stage = parse(CalibrateRecipe, given.over({}), "calibrate")
    name, file, processes = folder.resolve().name.removeprefix("classifier-"), calibration_file(folder), Processes()
    held_out = load_split(data_settings(data, given.of_data, trained.data), "validation", processes)
    if work_in(folder, Calibrate(f"calibrate {name}", file.parent, stage, score, held_out).run(processes), processes):
        rows = read_run(folder).classifiers[name]
        picture = file.with_name(CALIBRATION_PICTURE)
        save_panels(classifier_panels({name: rows}, method_styles([name])), picture)
        console.print(to_rich(classifier_table(rows, name), console.width))
        say(f"plots: {picture.resolve()}\nscales: {file.resolve()}")


@from_settings(EvaluateStage, {name: f"measures.{name}" for name in ("features", "cas", "most")} | {"seed": "seed"})
def evaluate(
    samples: Annotated[list[Path], typer.Argument(help="Folders of samples, or of any images by class.")],
    data: Annotated[str | None, typer.Option(help="Real data, a name or folder; default: what models learnt.")] = None,
    of: Annotated[str | None, typer.Option("--class", help="The class of images directly in a folder.")] = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/evaluation"),
    *,
    given: Given,
) -> None:
    """Compare samples with real data: distances, overlap, variety, memorization, classifier accuracy.

    Every figure comes with its n, features, reference and floor: the same figure of held-out real data. Features of
    networks are kept in $CONDGEN_CACHE, ~/.cache/condgen by default.

    Also: --set measures.cas_steps=2000, --set measures.cas_flip=true.
    """
    tree = given.over({"measures": {}})
    features = str(tree["measures"].get("features", ""))
    if features.startswith("hf:"):
        tree["measures"]["features"] = str(model_folder(features))
    stage = parse(EvaluateStage, tree, "evaluate")
    settings, processes = _real_data(samples, data, given.of_data, of), Processes()
    train = load_split(settings, "train", processes)
    test = processes.in_turn(lambda: load(settings, "test"))
    work = Evaluate("evaluate", out, stage, by_folder_name(samples), train, test, of).run(processes)
    if work_in(out, work, processes):
        show_report(out)


def _real_data(samples: list[Path], text: str | None, of_data: list[str], of: str | None) -> AnyData:
    """The data to compare samples with, prepared as for their models, and images at the size of the samples."""
    recorded: list[AnyData] = [one for one in map(recorded_data, samples) if one is not None]
    if text is None and any(one != recorded[0] for one in recorded):
        raise UserError("the models of these samples have learnt different data: name the real data with --data")
    found = data_settings(text, of_data, recorded[0] if recorded else None)
    side = next(filter(None, map(picture_side, samples)), None)
    if not isinstance(found, Folder):
        return found
    return found.model_copy(update={"image_size": found.image_size or side, "single_class": of or found.single_class})


@from_settings(DiagnoseRecipe, {name: name for name in ("levels", "draws", "most", "queries", "seed")})
def diagnose(
    score: Annotated[Path, model_option("The unconditional score model, the prior.")],
    classifier: Annotated[list[Path] | None, model_option("A classifier. Repeatable.")] = None,
    posterior: Annotated[list[Path] | None, model_option("A score model with labels. Repeatable.")] = None,
    data: RecordedData = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/diagnosis"),
    *,
    given: Given,
) -> None:
    """Measure which posterior score is nearer to the truth at each noise level, on the test split.

    No exact score is needed: the difference of two held-out denoising losses is that of two squared score errors. Every
    classifier is shown at scale 1, at its calibrated scale if it has one, and at scale 10 if it was trained by
    cross-entropy. --set methods={cfg: {score: FOLDER-NAME, guide: unlabelled, scale: 2}} shows other guidance.

    Of points, and with --set oracle=true of images, also D (prior), D_P (posterior) and D_L (likelihood): the distances
    to the exact scores of the noised training set. Of images the report also shows at which pixels.
    """
    prior, processes = origin_of(score), Processes()
    real = data_settings(data, given.of_data, prior.data)
    train = load_split(real, "train", processes)
    base = default_diagnose(train)
    low, high = prior.schedule.noise_range
    tree = base.model_dump(mode="json") | {"levels": [level for level in base.levels if low <= level <= high]}
    settings = parse(DiagnoseRecipe, given.over(tree), "diagnose")
    named = by_folder_name([*(classifier or []), *(posterior or [])])
    classifiers = {name: path for name, path in named.items() if path in (classifier or [])}
    scores = {name: path for name, path in named.items() if name not in classifiers}
    labelled = [name for name, place in scores.items() if read_description(place / MODEL_FILE).get("labels") != "none"]
    for name, place in scores.items() if not settings.methods else ():
        parse(Guidance, {"score": name}, f"the folder name {name!r}")
        if name not in labelled:
            raise UserError(f"{place} knows no labels, so it has no posterior score: name it with --score alone")
    calibrated = [name for name, folder in classifiers.items() if calibration_file(folder).exists()]
    stage = with_defaults(settings, {name: loss_of(place) for name, place in classifiers.items()}, calibrated, labelled)
    used = {name for method in stage.methods.values() for name in (method.score, method.guide, method.classifier)}
    if unused := named.keys() - used:
        raise UserError(f"no method uses {min(unused)!r}: leave the folder out, or name it in --set methods=...")
    if not stage.methods:
        raise UserError("nothing to diagnose: name a classifier with --classifier, or a labelled model by --posterior")
    folders = Folders(score, scores, classifiers)
    test = processes.in_turn(lambda: load(real, "test"))
    work = Diagnose("diagnose", out, stage, folders, train.to(processes.device), test).run(processes)
    if work_in(out, work, processes):
        show_report(out)

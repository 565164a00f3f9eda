"""Every name of a file or folder within a run folder."""

from pathlib import Path

from condgen.checkpoint import MODEL_FILE

# Of every stage
STAGE_FILE, RECIPE_FILE, LOG_FILE, LOCK_FILE = "stage.json", "recipe.yaml", "log.jsonl", ".lock"
# Of training, with MODEL_FILE of `condgen.checkpoint` and STATE_FILE of `condgen.training`
SNAPSHOTS = "snapshots"  # averaged weights of earlier steps, each in a folder named by its step
PRIOR_POOL = "prior-pool"  # of a score model: its estimates for noised images, which classifiers share
PREVIEWS, PREVIEWS_PICTURE = "previews", "previews.png"
# Of samples
MANIFEST, GRID = "manifest.jsonl", "grid.png"
# Of a run
RUN_FILE, COST, SAMPLES_PICTURE = "run.json", "cost.json", "samples.png"
REPORT, REPORT_TEXT, REPORT_DATA = "report.html", "report.md", "report.json"
SCORE = "score"  # also what guidance calls the main score model
SAMPLES_FOLDER = "samples"
EVALUATION_FOLDER, METRICS, NEIGHBOURS = "evaluation", "metrics.json", "neighbours.json"
DIAGNOSIS_FOLDER, DIAGNOSTICS, FIELD, PIXELS = "diagnosis", "diagnostics.json", "field.json", "pixels.json"
HELD_OUT_PICTURE = "held-out.png"
CALIBRATION_FOLDER, CALIBRATION, CALIBRATION_PICTURE = "calibration", "calibration.json", "calibration.png"
CLASSIFIERS = "classifiers.json"  # the calibrations of all classifiers
PUBLISHED = (METRICS, NEIGHBOURS, DIAGNOSTICS, FIELD, PIXELS, COST, CLASSIFIERS)  # copies of what stages have found


def samples_folder(run: Path, method: str) -> Path:
    return run / SAMPLES_FOLDER / method


def calibration_file(classifier: Path) -> Path:
    return classifier / CALIBRATION_FOLDER / CALIBRATION


def model_folders(run: Path, kind: str) -> dict[str, Path]:
    """The folders `KIND-NAME` of a run that hold a trained model, by name; kind is score, classifier or generator."""
    found = {path.name.removeprefix(f"{kind}-"): path for path in sorted(run.glob(f"{kind}-*"))}
    return {name: path for name, path in found.items() if (path / MODEL_FILE).is_file() and ".before-" not in path.name}

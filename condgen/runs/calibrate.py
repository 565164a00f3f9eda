"""The calibrating stage: how good a classifier is at each noise level, and how far to trust it there.

`calibration.json` holds what was measured, and the curve of guidance scales that `condgen sample` can follow.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from condgen.checkpoint import MODEL_FILE
from condgen.classifier import Classifier
from condgen.data import LabelledSet
from condgen.diagnostics.classifier_errors import (
    BINS,
    SHARE,
    THRESHOLD,
    LevelRow,
    calibrate,
    measure_classifier,
    spread_levels,
)
from condgen.errors import UserError
from condgen.recipes import CalibrateStage, content_key
from condgen.rng import keyed_generator
from condgen.runs.folder import drop_partial_line, file_key, read_json, read_rows, write_json
from condgen.runs.layout import CALIBRATION, CALIBRATION_FOLDER, LOG_FILE, calibration_file
from condgen.runs.models import check_fits, check_levels
from condgen.runs.stage import Progress, Work, open_stage
from condgen.score import ScoreModel

__all__ = ["LEVELS", "calibrate_stage", "calibration_key", "gather_calibrations"]

LEVELS = 16  # where the recipe names none


def _models(classifier: Path, score: Path) -> dict[str, str]:
    return {"classifier": file_key(classifier / MODEL_FILE), "score": file_key(score / MODEL_FILE)}


def calibration_key(stage: CalibrateStage, classifier: Path, score: Path, held_out: LabelledSet) -> str:
    """The content hash of everything that a calibration depends on."""
    rule = f"{THRESHOLD} standard errors, {SHARE} of the greatest gain, {BINS} bins"
    return content_key(stage, held_out.fingerprint(), *_models(classifier, score).values(), rule)


def calibrate_stage(
    name: str,
    stage: CalibrateStage,
    classifier: Path,
    score: Path,
    held_out: LabelledSet,
    device: torch.device,
) -> Work:
    """Measures the classifier in a folder on held-out data, and writes `calibration/calibration.json` there.

    Each noise level is kept in `log.jsonl` as soon as it is measured, so an interrupted calibration goes on after it.

    Raises:
        UserError: models that do not fit each other or the data, or levels that the schedule does not reach.
    """
    models = _models(classifier, score)
    key = calibration_key(stage, classifier, score, held_out)
    prior, likelihood = ScoreModel.load(score, device), Classifier.load(classifier, device)
    check_fits(classifier, likelihood.config, prior.config, score)
    check_fits(score, prior.config, held_out, held_out.source)
    prior.require_unconditional(score, "to which a classifier could add")
    settings = stage.calibrate
    levels = settings.levels or spread_levels(likelihood.schedule, likelihood.config.sigma_data, LEVELS)
    check_levels(levels, prior.schedule)
    opened = open_stage(name, classifier / CALIBRATION_FOLDER, key, stage)
    if opened.finished:
        return
    yield from opened.start()

    held_out = held_out.at_most(settings.most, keyed_generator(settings.seed))
    log = opened.folder / LOG_FILE
    drop_partial_line(log)
    rows = [LevelRow(**row) for row in read_rows(log)]
    images, y = held_out.floats().to(device), held_out.y.to(device)
    for done, level in enumerate(levels):
        yield Progress(name, done, len(levels), done * len(y) * settings.draws, f"noise level {level:g}")
        if done < len(rows):
            continue
        (row,) = measure_classifier(
            likelihood, prior, images, y, [level], draws=settings.draws, generator=keyed_generator(settings.seed)
        )
        bad = [what for what, value in row.as_dict().items() if not math.isfinite(value)]
        if bad:
            who = "the classifier" if "cross_entropy" in bad or "norm" in bad else "the score model"
            raise UserError(
                f"{name}: {who} gives numbers that are not finite at noise level {level:g} ({', '.join(bad)}): look at "
                f"{classifier if who == 'the classifier' else score}, or leave this level out with calibrate.levels"
            )
        opened.log(row.as_dict())
        rows.append(row)
    what = {
        "data": held_out.source,
        "split": f"{held_out.split} (held out)",
        "n": len(held_out),
        "draws": settings.draws,
        "seed": settings.seed,
        "guidance": f"where the mean of <g, r> is above zero by more than {THRESHOLD:g} standard errors, and the gain "
        f"at the best scale at least {SHARE:.0%} of the greatest",
        "gain": "times sigma squared, per dimension; ± are standard errors over images",
        "ece": f"{BINS} bins of equal width in the probability of the most probable class",
        "schedule": prior.schedule.model_dump(mode="json"),
    }
    value = {
        "what": what,
        "models": models,  # content hashes: the curve is theirs alone
        "curve": calibrate(rows).model_dump(mode="json"),
        "rows": [row.as_dict() for row in rows],
    }
    write_json(opened.folder / CALIBRATION, value)
    opened.finish([CALIBRATION], what=f"{len(levels)} noise levels, {len(y):,} held-out images, {settings.draws} draws")
    yield Progress(name, len(levels), len(levels), len(levels) * len(y) * settings.draws)


def gather_calibrations(classifiers: Mapping[str, Path]) -> dict[str, Any]:
    """The calibrations of several classifiers in one object: their conditions, and rows that name the classifier.

    Args:
        classifiers: run folders by name, each with a finished calibration.
    """
    found = {name: read_json(calibration_file(place)) for name, place in classifiers.items()}
    rows = [{"classifier": name, **row} for name, one in found.items() for row in one["rows"]]
    what: dict[str, Any] = next(iter(found.values()))["what"] if found else {}
    return {"what": what, "rows": rows}

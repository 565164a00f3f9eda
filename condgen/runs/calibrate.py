"""The calibrating stage: how good a classifier is at each noise level, and the guidance scales that suit it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from condgen.checkpoint import MODEL_FILE
from condgen.classifier import Classifier
from condgen.data.labelled import LabelledSet
from condgen.diagnostics.classifier_errors import MEANINGS, RULE, LevelRow, calibrate, measure_classifier, spread_levels
from condgen.errors import UserError
from condgen.recipes.schema import CalibrateRecipe, check_levels
from condgen.rng import device_of, keyed_generator
from condgen.runs.folder import drop_partial_line, file_key, read_json, read_rows, write_json
from condgen.runs.layout import CALIBRATION, CLASSIFIERS, LOG_FILE
from condgen.runs.models import check_fits
from condgen.runs.stage import Progress, Stage, StageFolder, Work
from condgen.score import ScoreModel
from condgen.training.distributed import Processes

_LEVELS = 16  # where the recipe names none


@dataclass(frozen=True, eq=False)
class Calibrate(Stage):
    """Measures a classifier on unseen data, in `CLASSIFIER/calibration`; `log.jsonl` keeps each noise level at once."""

    settings: CalibrateRecipe
    score: Path  # the folder of the score model that the classifier guides
    held_out: LabelledSet  # the validation split
    unit: ClassVar[str] = "levels"

    @property
    def classifier(self) -> Path:
        return self.folder.parent

    def reads(self) -> list[Path]:
        return [self.classifier / MODEL_FILE, self.score / MODEL_FILE]

    def conditions(self) -> list[str]:
        return [self.held_out.fingerprint(), RULE]

    def total(self) -> int:
        return len(self.settings.levels or range(_LEVELS))

    def run(self, processes: Processes) -> Work:
        prior = ScoreModel.load(self.score, processes.device)
        likelihood = Classifier.load(self.classifier, processes.device)
        check_fits(self.classifier, likelihood.config, prior.config, self.score)
        check_fits(self.score, prior.config, self.held_out, self.held_out.source)
        prior.require_unconditional(self.score, "to which a classifier could add")
        check_levels(self.settings.levels or (), prior.schedule, self.name)
        opened = yield from self.open(processes)
        if not opened.finished and processes.is_main:
            yield from self._measure(opened, prior, likelihood)
        processes.wait()

    def _measure(self, opened: StageFolder, prior: ScoreModel, likelihood: Classifier) -> Work:
        recipe, log = self.settings, self.folder / LOG_FILE
        levels = recipe.levels or spread_levels(likelihood.schedule, likelihood.config.sigma_data, _LEVELS)
        held_out = self.held_out.at_most(recipe.most, keyed_generator(recipe.seed))
        drop_partial_line(log)
        rows = [LevelRow(**row) for row in read_rows(log)]
        device = device_of(likelihood)
        images, y = held_out.floats().to(device), held_out.y.to(device)
        for done, level in enumerate(levels):
            yield Progress(self.name, done, len(levels), done * len(y) * recipe.draws, f"noise level {level:g}")
            if done < len(rows):
                continue
            noise = keyed_generator(recipe.seed)
            (row,) = measure_classifier(likelihood, prior, images, y, [level], draws=recipe.draws, generator=noise)
            if bad := [what for what, value in row.as_dict().items() if not math.isfinite(value)]:
                of_classifier = "cross_entropy" in bad or "norm" in bad
                who, where = ("the classifier", self.classifier) if of_classifier else ("the score model", self.score)
                problem = f"{who} gives numbers that are not finite at noise level {level:g} ({', '.join(bad)})"
                advice = f"look at {where}, or leave this level out with calibrate.levels"
                raise UserError(f"{self.name}: {problem}: {advice}")
            opened.log(row.as_dict())
            rows.append(row)
        classifier, score = map(file_key, self.reads())
        value = {
            "what": {
                "data": held_out.source,
                "split": held_out.split,
                "n": len(held_out),
                "draws": recipe.draws,
                "seed": recipe.seed,
                **MEANINGS,
                "schedule": prior.schedule.model_dump(mode="json"),
            },
            "models": {"classifier": classifier, "score": score},  # the curve is theirs alone
            "curve": calibrate(rows).model_dump(mode="json"),
            "rows": [row.as_dict() for row in rows],
        }
        write_json(self.folder / CALIBRATION, value)
        found = f"{len(levels)} noise levels, {len(y):,} {held_out.split} images, {recipe.draws} draws"
        opened.finish([CALIBRATION], what=found)
        yield Progress(self.name, len(levels), len(levels), len(levels) * len(y) * recipe.draws)

    def publish(self, run: Path) -> None:
        found, path = read_json(self.folder / CALIBRATION), run / CLASSIFIERS
        before = read_json(path)["rows"] if path.exists() else []
        name = self.classifier.name.removeprefix("classifier-")
        rows = before + [{"classifier": name, **row} for row in found["rows"]]
        write_json(path, {"what": found["what"], "rows": rows})

"""What a recipe would take: its stages, what is finished of them, and their time by a short trial in a scratch folder.

In the trial every stage runs on a few images, and training for a few steps. Time grows with the number of images.
Measuring samples is not tried.
"""

import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from condgen.checkpoint import read_description
from condgen.recipes import Recipe
from condgen.runs.folder import each_row
from condgen.runs.layout import EVALUATION_FOLDER, LOG_FILE, MANIFEST
from condgen.runs.plan import plan, states
from condgen.runs.stage import Stage, Work
from condgen.training import STATE_FILE, Processes

_STEPS, _IMAGES, _QUERIES = 6, 8, 16  # of a trial


class Estimate(NamedTuple):
    """One stage of a recipe, before it is run.

    Attributes:
        stage: its name.
        state: finished, begun, changed (the run folder holds it with other settings), or to do.
        done: steps, samples, noise levels or methods that are there.
        total: in all.
        unit: of these.
        seconds: for what is left, without compilation; None where it was not tried.
    """

    stage: str
    state: str
    done: int
    total: int
    unit: str
    seconds: float | None


def estimate(recipe: Recipe, folder: Path, processes: Processes) -> Iterator[Estimate]:
    """What each stage of a recipe would take, here and now. The run folder is only read.

    Raises:
        UserError: what the run itself would raise before its first step.
    """
    data = recipe.data.load_all()
    data = data._replace(train=data.train.to(processes.device))
    # Batches as they are where few images take no less time than many: on a GPU, and by small networks.
    full = processes.device.type != "cpu" or recipe.score.network.kind == "mlp"
    stages = plan(recipe, folder, data)
    known = states(stages)
    with TemporaryDirectory(prefix="condgen-") as scratch:
        samples = recipe.sample.batch if full and recipe.sample else _IMAGES
        trial = plan(_shortened(recipe, full), Path(scratch), data, samples)
        for stage, tried in zip(stages, trial, strict=True):
            state = known[stage.folder]
            done = stage.total() if state == "finished" else _done(stage) if state == "begun" else 0
            seconds = None
            if stage.folder.name != EVALUATION_FOLDER:
                each = _seconds_an_image(tried.run(processes), tried.images())
                seconds = each * stage.images() * (1 - done / stage.total())
            yield Estimate(stage.name, state, done, stage.total(), stage.unit, seconds)


def _done(stage: Stage) -> int:
    """Units in the folder of a stage that has begun."""
    if stage.unit == "steps":
        path = stage.folder / STATE_FILE
        return int(read_description(path).get("step", 0)) if path.exists() else 0
    rows = {"samples": MANIFEST, "levels": LOG_FILE}
    path = stage.folder / rows.get(stage.unit, "")
    return min(stage.total(), sum(1 for _ in each_row(path))) if path.is_file() else 0


def _shortened(recipe: Recipe, full: bool) -> Recipe:
    """The recipe in small: few steps, and few images at a time unless `full`."""
    tree = recipe.model_dump()
    parts = [tree["score"], *(part for of in ("scores", "classifiers", "generators") for part in tree[of].values())]
    for part in parts:
        training = part["training"]
        batch = training["batch"] if full else min(training["batch"], _IMAGES)
        training |= {"steps": _STEPS, "batch": batch, "snapshots": (), "compile": False}
    if recipe.calibrate is not None:
        tree["calibrate"] |= {"most": recipe.calibrate.most if full else 20 * _IMAGES, "draws": 1}
    if recipe.sample is not None:
        tree["sample"] |= {"per_class": 1, "compile": False}
    if recipe.diagnose is not None:
        tree["diagnose"] |= {"queries": min(_QUERIES, recipe.diagnose.queries), "grid": None}
    return Recipe.model_validate(tree)


def _seconds_an_image(work: Work, images: int) -> float:
    """Seconds that work takes for each image; what happens once, before the first or after the last, does not count.

    Where it tells of its images once or twice only, all of its time is spread over them.
    """
    started = time.perf_counter()
    marks = [(event.images, time.perf_counter()) for event in work]
    rises = [(after - before) / (more - few) for (few, before), (more, after) in pairwise(marks) if more > few]
    if len(rises) > 1:
        return statistics.median(rises)
    return (time.perf_counter() - started) / images

"""Numbers go bad: in data, losses, scores, weights and features, each made to happen in a real command.

Of every case it is told whether it was *detected* (an error status, and one line that is no traceback), whether it was
*named* (the line, or the log, says where: step, noise level, class, file), whether the *state* that was saved is good,
and how many *images* were written of samples that had none: 0. Of the oracle it is told how far its scores at extreme
noise levels are from a closed form; where these leave the range of the type, it must refuse by name.
"""

import functools
import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.parts import Rows, Work
from PIL import Image

from condgen.checkpoint import MODEL_FILE, load_tensors, save_tensors
from condgen.runs.folder import read_rows
from condgen.runs.layout import MANIFEST
from condgen.samplers import SAMPLERS
from reliability import plants
from reliability.command import Command, Ended, complaint
from reliability.extremes import oracle_rows
from reliability.small import small_run

__all__ = ["Case", "number_rows", "run_case"]

_PATIENCE = 300.0  # seconds for a command
_STEP, _CLASS, _LEVEL = r"step \d+", r"class(es)? ['\d]", r"noise level [\d.]"


@dataclass(frozen=True)
class Case:
    """Something that goes wrong.

    Attributes:
        name: for people.
        arguments: of the command.
        words: what it must say, as regular expressions, for this to count as named.
        prepare: plants it.
        code: the status in which the command must end.
        state: a folder that must hold a state of finite numbers afterwards.
        samples: a folder of samples, and how many pictures it must hold: one for each that is good.
        log: what the log of the state's folder must say, as regular expressions.
    """

    name: str
    arguments: tuple[object, ...]
    words: Sequence[str]
    prepare: Callable[[], object] | None = None
    code: int = 2
    state: Path | None = None
    samples: tuple[Path, int] | None = None
    log: Sequence[str] = ()


def number_rows(folder: Path, seed: int) -> Work:
    """Makes each happen, and counts what was detected, named and saved.

    Args:
        folder: for runs, data and samples.
        seed: of the small run.
    """
    yield "training small models"
    run = small_run(folder, seed=seed)
    rows: Rows = []
    cases = [*_in_data(folder), *_in_training(folder, run), *_in_sampling(folder, run), *_in_measures(folder, run)]
    for case in cases:
        yield case.name
        rows += run_case(case)
    for name in SAMPLERS:
        yield f"guidance scale 1e6, {name}"
        rows += _exploding(folder, run, name)
    yield "the oracle at extreme noise levels"
    return [*rows, *oracle_rows()]


def run_case(case: Case) -> Rows:
    """Runs one command, and looks at what it has said and left."""
    ended = Command(*case.arguments, prepare=case.prepare).wait(_PATIENCE)
    said = f"{ended.out}\n{ended.err}"
    named = all(re.search(word, said) for word in case.words)
    found: list[tuple[str, float]] = [("detected", _detected(ended, case.code))]
    if case.log and case.state is not None:
        log = (case.state / "log.jsonl").read_text()
        named = named and all(re.search(word, log) for word in case.log)
    found.append(("named", named))
    if case.state is not None:
        found.append(("state saved, all of it finite", _state_is_good(case.state)))
    if case.samples is not None:
        place, good = case.samples
        pictures, lines = len(list(place.glob("[0-9]*.png"))), len(read_rows(place / MANIFEST))
        found += [
            ("good samples kept", min(pictures, lines) >= good),
            ("images of bad samples", max(pictures - good, 0)),
        ]
    return [{"what": what, "variant": case.name, "value": int(value), "unit": _unit(what)} for what, value in found]


def _unit(what: str) -> str:
    if what.startswith("samples"):
        return "samples"
    return "images" if what == "images of bad samples" else "of 1"


def _detected(ended: Ended, code: int) -> bool:
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    return not complaint(ended) and ended.code == code and len(lines) == int(code != 0)


def _state_is_good(folder: Path) -> bool:
    path = folder / "state" / "state.safetensors"
    if not path.is_file():
        return False
    tensors, _ = load_tensors(path)
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


# ----------------------------------------------------------------------------------------------------
# What is made to happen


def _in_data(folder: Path) -> list[Case]:
    grey, few = folder / "constant", folder / "one-each"
    for root, each, shades in ((grey, 12, (99, 99)), (few, 1, (30, 200))):
        for label, shade in zip("ab", shades, strict=True):
            (root / label).mkdir(parents=True, exist_ok=True)
            for number in range(each):
                Image.fromarray(np.full((8, 8), shade, np.uint8)).save(root / label / f"{number}.png")
    train = ("train-score", "--set", "score.training.steps=5", "--out")
    return [
        Case(
            "points that are NaN",
            (*train, folder / "d1", "--data", "moons"),
            ["moons .train.: .* points are NaN or infinite"],
            plants.bad_points,
        ),
        Case("labels out of range", (*train, folder / "d2", "--data", "digits"), ["label 12"], plants.bad_labels),
        Case("images that are all the same", (*train, folder / "d3", "--data", grey), ["constant.* the same"]),
        Case("one image a class", (*train, folder / "d4", "--data", few), ["one-each", "too few"]),
    ]


def _in_training(folder: Path, run: Path) -> list[Case]:
    def score(name: str, title: str, plant: Callable[[], object] | None, *settings: str, **more: Any) -> Case:
        out = folder / name
        words = more.pop("words", [_STEP, _LEVEL, _CLASS, "loss is not a finite", "last 10 updates"])
        chosen = [word for setting in settings for word in ("--set", setting)]
        command = ("run", folder / "small.yaml", "--out", out, *chosen)
        return Case(title, command, words, plant, state=out / "score", **more)

    limit = [_STEP, _LEVEL, _CLASS, "last 3 updates"]
    counted = [r'"not_finite": .*"step": 9, "rows": 1, "of": 32, "noise_level": [\d.]+, "class"', r'"skipped": 2']
    first = ["step 5: loss is not a finite number .1 of 32 rows", _LEVEL, _CLASS]
    dlsm = folder / "t7"
    with_dlsm = ("train-classifier", "--score", run / "score", "--out", dlsm, "--set", "classifier.training.steps=60")
    mended = functools.partial(plants.bad_losses, 12, 10**9, math.nan)
    again = ["step 21", "last 10 updates"]
    return [
        score("t1", "NaN in every loss from step 12 on", mended),
        score("t1", "the same command again", mended, words=again),
        score("t1", "the same at a lower learning rate, mended", None, "score.training.lr=1e-4", words=[], code=0),
        score("t2", "3 in a row, as asked for", mended, "score.training.skip_limit=3", words=limit),
        score("t3", "infinite losses", functools.partial(plants.bad_losses, 12, 10**9, math.inf)),
        Case(
            "NaN in one row of steps 5 and 9: told, and training goes on",
            ("train-score", "--data", "digits", *_set("steps=20", "batch=32", "log_every=1"), "--out", folder / "t4"),
            first,
            functools.partial(_bad_row_twice, 5, 9),
            code=0,
            state=folder / "t4",
            log=counted,
        ),
        score("t5", "a learning rate of 1e30", None, "score.training.lr=1e30"),
        score(
            "t6",
            "bfloat16 overflows",
            functools.partial(plants.huge_weights, 1e30),
            "score.training.precision=bfloat16",
            words=[_STEP, _CLASS, "train in float32"],
        ),
        Case(
            "DLSM's target is NaN",
            with_dlsm,
            [_STEP, _LEVEL, _CLASS, "dlsm is not a finite", "look at the score model"],
            functools.partial(plants.bad_prior, 20),
            state=dlsm,
        ),
    ]


def _set(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", f"score.training.{setting}")]


def _bad_row_twice(first: int, second: int) -> None:
    plants.bad_losses(first, first, math.nan, 3)
    plants.bad_losses(second, second, math.nan, 3)


def _in_sampling(folder: Path, run: Path) -> list[Case]:
    score, ce = run / "score", run / "classifier-ce"
    guided = ("sample", "--score", score, "--classifier", ce, "--per-class", 2, "--nfe", 8, "--out")
    one_step = ("sample", "--generator", run / "generator-sid", "--per-class", 2, "--out")
    bad = functools.partial(plants.bad_guidance, 3, 5.0)
    named = ["2 of 20 samples", "class '3'", "seed 6", r"evaluation \d", _LEVEL, "guidance scale"]
    broken = folder / "broken-score"
    shutil.copytree(score, broken, dirs_exist_ok=True)
    tensors, about = load_tensors(score / MODEL_FILE)
    chosen = sorted(tensors)[0]
    spoilt = tensors[chosen].clone()
    spoilt.view(-1)[0] = math.nan
    save_tensors(broken / MODEL_FILE, tensors | {chosen: spoilt}, about)
    weights = ("sample", "--score", broken, "--n", 4, "--nfe", 4, "--out", folder / "s4")
    return [
        Case(
            "a guided score that is NaN for a class", (*guided, folder / "s1"), named, bad, samples=(folder / "s1", 18)
        ),
        Case("the same again, mended", (*guided, folder / "s1"), ["20 samples"], code=0, samples=(folder / "s1", 20)),
        Case(
            "one step, infinite for a class",
            (*one_step, folder / "s2"),
            ["2 of 20 samples", "class '7'", "seed 14"],
            functools.partial(plants.bad_generator, 7),
            samples=(folder / "s2", 18),
        ),
        Case(
            "every sample is bad",
            (*guided[:5], "--n", 300, "--class", 3, "--batch", 20, "--nfe", 4, "--out", folder / "s3"),
            ["100 of 100 samples that were tried, of 300 in all", "class '3'", _LEVEL],
            bad,
            samples=(folder / "s3", 0),
        ),
        Case("NaN in a model's weights", weights, ["broken-score", "not finite", re.escape(chosen)]),
    ]


def _in_measures(folder: Path, run: Path) -> list[Case]:
    points, good = folder / "points", folder / "s1"
    points.mkdir(exist_ok=True)
    (points / "stage.json").write_text(json.dumps({"stage": "sample", "finished": True, "outputs": []}))
    rows = [{"file": None, "x": [math.nan if n == 7 else 0.1 * n, 1.0], "class": n % 2, "seed": n} for n in range(40)]
    (points / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))
    calibrate = ("calibrate", "--classifier", run / "classifier-ce", "--score", run / "score")
    level = ["classifier", r"noise level 0\.0"]
    diagnose = ("diagnose", "--score", run / "score", "--classifier", run / "classifier-ce", "--out", folder / "m4")
    return [
        Case("samples that are NaN", _evaluate(folder / "m1", points, "moons"), ["points", "1 of 40 samples"]),
        Case("features that are NaN", _evaluate(folder / "m2", good, "digits"), ["features of"], plants.bad_vectors),
        Case("a classifier that is NaN, calibrated", calibrate, level, functools.partial(plants.bad_classifier, 0.1)),
        Case(
            "a score that is NaN, diagnosed", diagnose, [_LEVEL, _CLASS], functools.partial(plants.bad_classifier, 0.1)
        ),
    ]


def _evaluate(out: Path, samples: Path, data: str) -> tuple[object, ...]:
    return ("evaluate", samples, "--data", data, "--out", out)


def _exploding(folder: Path, run: Path, sampler: str) -> Rows:
    """A guidance scale of a million: every sample that is written is finite, and a person is told."""
    place, total = folder / "scale" / sampler, 6
    models = ("--score", run / "score", "--classifier", run / "classifier-ce", "--scale", "1e6")
    how = ("--class", "3,4,5", "--per-class", 2, "--sampler", sampler, "--out", place)
    ended = Command("sample", *models, *how).wait(_PATIENCE)
    said = f"{ended.out}\n{ended.err}"
    told = re.search(rf"(\d+) of {total} samples cannot be used.*class", said)
    warned = re.search(r"(\d+) images, of class.*, have pixels more than 10 times.*scale", said)
    bad = int(told[1]) if told else 0
    written = len(list(place.glob("[0-9]*.png")))
    found = {
        "detected": _detected(ended, 2 if bad else 0) and bool(told or warned),
        "named": bool((told or warned) and "1000000.0" in said),
        "images of bad samples": max(0, written - (total - bad)),
        "samples that are not finite": bad,
        "samples that are finite, and far beyond their range": int(warned[1]) if warned else 0,
    }
    variant = f"guidance scale 1e6, {sampler}"
    return [
        {"what": what, "variant": variant, "value": int(value), "unit": _unit(what)} for what, value in found.items()
    ]

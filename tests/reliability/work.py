"""The work that goes wrong here: one small command of each kind, and what its folder holds in the end."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from condgen.errors import UserError
from reliability.command import Command

__all__ = ["JOBS", "contents", "fresh", "make_models"]

_TRAINING = {"log_every": 10, "save_every": 20}
_SMALL = {"kind": "mlp", "width": 32, "depth": 1, "embedding": 8}
_TIMES = ("seconds", "images_per_second", "drawing_seconds", "environment")  # of a row; they are never the same twice


def _training(part: str, steps: int, **more: object) -> list[str]:
    settings = {f"{part}.network": _SMALL, **{f"{part}.training.{key}": value for key, value in _TRAINING.items()}}
    chosen = [f"--set={key}={json.dumps(value)}" for key, value in (settings | more).items()]
    return ["--data=digits", f"--steps={steps}", "--batch=32", *chosen]


def _score(models: Path) -> list[str]:
    return ["train-score", *_training("score", 200)]


def _classifier(models: Path) -> list[str]:
    return ["train-classifier", "--loss=dlsm", f"--score={models / 'score'}", *_training("classifier", 120)]


def _generator(models: Path) -> list[str]:
    small = {"generator.objective.network": _SMALL, "generator.preview_every": 40}
    return ["train-generator", "--loss=sid", *_training("generator", 80, **small)]


def _samples(models: Path) -> list[str]:
    guided = [f"--score={models / 'score'}", f"--classifier={models / 'classifier'}"]
    return ["sample", *guided, "--total=80", "--batch=8", "--steps=6"]


def _evaluation(models: Path) -> list[str]:
    return ["evaluate", str(models / "samples"), "--data=digits"]


def _recipe(models: Path) -> list[str]:
    """All of it in one command, with calibration, score errors, and a report."""
    training = {"steps": 40, "batch": 32, **_TRAINING}
    network = {"network": _SMALL, "training": training}
    recipe = {
        "name": "small",
        "threads": 1,
        "data": {"kind": "digits"},
        "schedule": {"kind": "edm", "sigma_min": 0.005, "sigma_max": 40},
        "score": network,
        "classifiers": {"dlsm": {**network, "objective": {"loss": "dlsm"}}},
        "generators": {"sid": {**network, "objective": {"loss": "sid", "network": _SMALL}}},
        "calibrate": {},
        "sample": {
            "per_class": 8,
            "batch": 20,
            "methods": {"dlsm": {"classifier": "dlsm", "scale": "calibrated"}, "one-step": {"generator": "sid"}},
        },
        "diagnose": {"levels": [0.5, 2], "queries": 50, "methods": {"dlsm": {"classifier": "dlsm"}}},
        "evaluate": {},
    }
    path = models.parent / "small.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(recipe))  # which is YAML
    return ["run", str(path)]


JOBS: Mapping[str, Callable[[Path], list[str]]] = {
    "score": _score,
    "classifier": _classifier,
    "generator": _generator,
    "samples": _samples,
    "evaluation": _evaluation,
    "recipe": _recipe,
}
"""Arguments of a command of each kind, but for --out, given the folder of `make_models`."""


def make_models(folder: Path, kinds: Sequence[str]) -> Iterator[str]:
    """A folder of each kind that the given ones may build on, made by commands that nothing disturbs."""
    last = max(list(JOBS).index(kind) for kind in kinds)
    for kind in list(JOBS)[:last]:
        yield f"{kind}, undisturbed"
        ended = Command(*JOBS[kind](folder), "--out", folder / kind).wait()
        if ended.code != 0:
            raise UserError(f"the command that makes {folder / kind} failed: {ended.err.strip()}")


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """The hash of each file by its path, times left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(_lasting(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _lasting(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(path.read_text()))).encode()
    if path.suffix == ".jsonl":
        return json.dumps([_timeless(json.loads(line)) for line in path.read_text().splitlines()]).encode()
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in _TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value

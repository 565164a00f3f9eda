"""Commands of condgen in processes of their own, which are watched, limited and killed.

A server process imports everything once; each command is a fork of it, in a state that no other command has touched.
"""

import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import psutil

_FORKS = multiprocessing.get_context("forkserver")
_VERBS = [f"condgen.cli.{module}" for module in ("train", "sample", "measure", "run", "share", "studio")]
_FORKS.set_forkserver_preload(
    ["condgen.__main__", "condgen.report", *_VERBS, "sklearn.datasets", "torch._dynamo", __name__]
)
SMALL = {"kind": "mlp", "width": 32, "depth": 1, "embedding": 8}
_TIMES = {"seconds", "images_per_second", "drawing_seconds", "environment"}  # never the same twice


class Ended(NamedTuple):
    code: int  # minus the signal's number where it was killed
    out: str
    err: str
    seconds: float
    peak: int  # bytes, as far as it was seen

    def check(self) -> "Ended":
        assert self.code == 0, self.err
        return self

    @property
    def error(self) -> str:
        """The one line that it ended with, having refused to work; an assertion fails where it ended otherwise."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert (self.code, len(lines)) == (2, 1), self
        assert "Traceback" not in self.err, self.err
        return lines[0]


class Command:
    """A command at work on one thread; `prepare` (picklable) is called in its process before anything else."""

    def __init__(self, *arguments: object, prepare=None) -> None:
        self._said = tempfile.TemporaryDirectory(prefix="condgen-")
        target = (list(map(str, arguments)), self._said.name, prepare, os.getcwd())
        self.process = _FORKS.Process(target=_begin, args=target)
        self.process.start()
        self.pid = self.process.pid
        while self.process.is_alive() and not (Path(self._said.name) / "begun").exists():
            time.sleep(0.001)  # until signals mean to it what they mean to a command
        self._started = time.perf_counter()

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def work_for(self, seconds: float) -> None:
        """Returns after so many seconds from its start, or when it has ended."""
        self.process.join(max(0.0, self._started + seconds - time.perf_counter()))

    def wait(self, seconds: float = 300.0) -> Ended:
        peak = 0
        while self.process.is_alive():
            with contextlib.suppress(psutil.Error):
                peak = max(peak, psutil.Process(self.pid).memory_info().rss)
            if time.perf_counter() - self._started > seconds:
                self.send(signal.SIGKILL)
            self.process.join(0.01)
        took = time.perf_counter() - self._started
        out, err = ((Path(self._said.name) / name).read_text(errors="replace") for name in ("out", "err"))
        self._said.cleanup()
        return Ended(self.process.exitcode, out, err, took, peak)


def run(*arguments: object, prepare=None) -> Ended:
    return Command(*arguments, prepare=prepare).wait()


def _begin(arguments, said, prepare, folder) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(said) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    os.chdir(folder)
    warnings.simplefilter("default")
    sys.argv = ["condgen", "--threads", "1", *arguments]
    main = importlib.import_module("condgen.__main__").main
    (Path(said) / "begun").touch()
    if prepare is not None:
        prepare()
    main()


# Small work of every kind


def _training(part: str, steps: int, **more: object) -> list[str]:
    settings = {f"{part}.network": SMALL, f"{part}.training.log_every": 10, f"{part}.training.save_every": 20} | more
    chosen = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    return ["--data=digits", f"--steps={steps}", "--batch=32", *chosen]


def train_score(steps: int = 40) -> list[str]:
    return ["train-score", *_training("score", steps)]


def jobs(models: Path) -> dict[str, list[str]]:
    """A command of each kind, but for --out, each building on what those before it leave in `models`."""
    training = {"steps": 40, "batch": 32, "log_every": 10, "save_every": 20}
    network = {"network": SMALL, "training": training}
    recipe = {
        "name": "small",
        "threads": 1,
        "data": {"kind": "digits"},
        "schedule": {"kind": "edm", "sigma_min": 0.005, "sigma_max": 40},
        "score": network,
        "classifiers": {"dlsm": {**network, "objective": {"loss": "dlsm"}}},
        "generators": {"sid": {**network, "objective": {"loss": "sid", "network": SMALL}}},
        "calibrate": {},
        "sample": {
            "per_class": 8,
            "batch": 20,
            "methods": {"dlsm": {"classifier": "dlsm", "scale": "calibrated"}, "one-step": {"generator": "sid"}},
        },
        "diagnose": {"levels": [0.5, 2], "queries": 50, "methods": {"dlsm": {"classifier": "dlsm"}}},
    }
    (models / "small.yaml").write_text(json.dumps(recipe))  # which is YAML
    generator = {"generator.objective.network": SMALL, "generator.preview_every": 40}
    guided = [f"--score={models / 'score'}", f"--classifier={models / 'classifier'}"]
    return {
        "score": train_score(200),
        "classifier": ["train-classifier", "--loss=dlsm", f"--score={models / 'score'}", *_training("classifier", 120)],
        "generator": ["train-generator", "--loss=sid", *_training("generator", 80, **generator)],
        "samples": ["sample", *guided, "--total=80", "--batch=8", "--steps=6"],
        "evaluation": ["evaluate", str(models / "samples"), "--data=digits"],
        "recipe": ["run", str(models / "small.yaml")],
    }


def contents(folder: Path) -> dict[str, str]:
    """The hash of each file by its path, times in JSON left out."""
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


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in _TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value

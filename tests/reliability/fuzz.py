"""Fuzzing of what reads files of others, guided by coverage, for as long as you like.

`condgen bench reliability files` makes hostile files that it knows how to make; here atheris (libFuzzer) looks for the
bytes that reach new code:

    uv run --with atheris python tests/fuzz.py recipes -max_total_time=600
    uv run --with atheris python tests/fuzz.py recipes runs/fuzz/recipes/crash-...  # once more

Whatever is not a `UserError` is a finding, as are five seconds and two gigabytes. What is found, and the files that
reached new code, are kept in `runs/fuzz/`.
"""

import hashlib
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import atheris

with atheris.instrument_imports(include=["condgen", "yaml", "PIL"]):
    from condgen.errors import UserError
    from condgen.files import read_picture
    from condgen.report import read_run
    from condgen.runs.sample_folder import read_samples
    from condgen.training.checkpoint import STATE_FILE
    from reliability.files.kinds import KINDS
    from reliability.files.valid import make_valid

import torch

LIMITS = ("-timeout=5", "-rss_limit_mb=2048", "-max_len=20000", "-report_slow_units=5")


class Target(NamedTuple):
    """What is fuzzed.

    Attributes:
        valid: files to begin with, by a pattern.
        file: where it stands in a case's folder `in`.
        read: reads it; of the chance of a case, and its folder.
    """

    valid: str
    file: str
    read: Callable[[Random, Path], object]


def read_pixels(chance, case):
    try:
        read_picture(case / "in" / "0.png").load()
    except OSError as error:  # which those who ask for a picture turn into one line
        raise UserError(str(error)) from error


TARGETS = {
    "recipes": Target("run-*/recipe.yaml", "recipe.yaml", KINDS["recipes"].read),
    "models": Target("models/*/model.safetensors", "model/model.safetensors", KINDS["models"].read),
    "states": Target(f"state/{STATE_FILE}", STATE_FILE, KINDS["states"].read),
    "manifests": Target("samples-points/manifest.jsonl", "manifest.jsonl", lambda _, case: read_samples(case / "in")),
    "logs": Target("run-*/*/log.jsonl", "log.jsonl", lambda _, case: read_run(case / "in")),
    "metrics": Target("run-*/metrics.json", "metrics.json", lambda _, case: read_run(case / "in")),
    "pictures": Target("samples-pictures/*.png", "0.png", read_pixels),
}


def main(name, options):
    target, folder = TARGETS[name], Path("runs", "fuzz", name)
    for part in ("valid", "case"):
        shutil.rmtree(folder / part, ignore_errors=True)
    make_valid(folder / "valid")
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(sorted((folder / "valid").glob(target.valid))):
        shutil.copy(seed, corpus / f"{number}{seed.suffix}")
    case = folder / "case"
    file = case / "in" / target.file
    file.parent.mkdir(parents=True)
    (case / "out").mkdir()

    def read(content):
        file.write_bytes(content)
        try:
            target.read(Random(hashlib.sha256(content).digest()), case)
        except UserError as error:
            if len(str(error).splitlines()) != 1:
                raise AssertionError("an error that is not one line") from error

    again = any(not option.startswith("-") for option in options)
    places = () if again else (f"-artifact_prefix={folder}/", str(corpus))
    atheris.Setup([sys.argv[0], *LIMITS, *options, *places], read)
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"what is to be fuzzed? One of {', '.join(TARGETS)}")
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    main(sys.argv[1], sys.argv[2:])

"""What many processes gain on this machine, and that they compute what one does.

    uv run tests/benchmarks/scaling.py --full --json assets/scaling.json    (6 minutes; quick: one round, 90 s)

Every variant trains the same small score model on digits and draws the same samples from one model, started as a user
would: `torchrun --nproc-per-node N -m condgen ...`. One process with as many threads stands next to them.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from bench import Figure, Full, JsonFile, finish, run

from condgen.checkpoint import MODEL_FILE, load_tensors
from condgen.runs import read_json, read_rows
from condgen.runs.layout import LOG_FILE, STAGE_FILE


def launch(processes, threads, *arguments) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "condgen"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if not torch.cuda.is_available():
        environment["ACCELERATE_USE_CPU"] = "true"
    subprocess.run([sys.executable, *launcher, *map(str, arguments)], env=environment, check=True, capture_output=True)


def greatest_difference(one: Path, other: Path) -> float:
    """Of a weight, in units of the greatest weight."""
    (first, _), (second, _) = (load_tensors(place / MODEL_FILE) for place in (one, other))
    gap = max(float((first[name] - second[name]).abs().max()) for name in first)
    return gap / max(float(tensor.abs().max()) for tensor in first.values())


def equal_files(one: Path, other: Path) -> float:
    files = sorted(one.rglob("*.png"))
    return sum(path.read_bytes() == (other / path.relative_to(one)).read_bytes() for path in files) / len(files)


def main(json: JsonFile = None, full: Full = False, processes: int = 2, steps: int = 100, samples: int = 2000) -> None:
    figures, variants = [], {"1 process": (1, 1), f"{processes} processes": (processes, 1)}
    variants[f"1 process, {processes} threads"] = 1, processes
    size = f"digits, {steps} steps of batch 256, {samples} samples in batches of 250"
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "0-1 process" / "score"
        for turn in range(3 if full else 1):
            for variant, (count, threads) in variants.items():
                here = Path(folder) / f"{turn}-{variant}"
                train = ("train-score", "--data", "digits", "--steps", steps, "--set", "score.training.log_every=10")
                launch(count, threads, *train, "--out", here / "score")
                draw = ("sample", "--score", model, "--total", samples, "--batch", 250)
                launch(count, threads, *draw, "--out", here / "samples")
                rates = [row["images_per_second"] for row in read_rows(here / "score" / LOG_FILE)]
                trained = statistics.median(rates[min(2, len(rates) - 1) :])  # the first ones warm up
                figures.append(Figure("training", variant, size, "images/s", trained))
                drawn = read_json(here / "samples" / STAGE_FILE)["images_per_second"]
                figures.append(Figure("sampling", variant, size, "images/s", drawn))
                gap, same = (
                    greatest_difference(model, here / "score"),
                    equal_files(model.parent / "samples", here / "samples"),
                )
                figures.append(Figure("greatest difference of a weight", variant, size, "of the greatest", gap))
                figures.append(Figure("equal pictures", variant, size, "of all", same))
    finish(figures, json)


if __name__ == "__main__":
    run(main)

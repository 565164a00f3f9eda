"""What many processes gain on this machine, and that they compute what one does.

Every variant trains the same small score model on digits, and draws the same samples from one and the same model. The
bench starts the processes by itself, as a user would: `torchrun --nproc-per-node N -m condgen ...`. On a CPU, one
process with as many threads as all have together stands beside them.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from condgen.checkpoint import MODEL_FILE, load_tensors
from condgen.errors import UserError
from condgen.runs import read_json, read_rows
from condgen.runs.layout import LOG_FILE, MANIFEST, STAGE_FILE

__all__ = ["Job", "Variant", "scaling_rows", "variants"]

_LOGGED = 10  # steps, of which the first few are left out: they warm up
_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Variant(NamedTuple):
    """How the work is done: by so many processes, with so many threads each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.threads} thread{'s' * (self.threads > 1)}"


class Job(NamedTuple):
    """What is done: steps of training with so many images, and samples in batches of so many."""

    steps: int = 100
    batch: int = 256
    samples: int = 2000
    at_once: int = 250


def variants(most: int, cores: int, *, cpu: bool) -> list[Variant]:
    """One process, two, and so on up to the most in powers of two.

    Args:
        most: processes.
        cores: of this machine.
        cpu: whether the processors do the work: then every process has one thread, and one has many for comparison.
    """
    counts = sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})
    if not cpu:
        return [Variant(count, max(1, cores // count)) for count in counts]
    return [*(Variant(count, 1) for count in counts), *([Variant(1, most)] if most > 1 else [])]


def scaling_rows(
    folder: Path, chosen: Sequence[Variant], job: Job, rounds: int, *, cpu: bool
) -> Generator[str, None, list[dict[str, Any]]]:
    """Runs every variant once a round, and says what it does next.

    Args:
        folder: new or empty; what the commands write stays there.
        chosen: the variants; the first is what others are compared with.
        job: the work.
        rounds: the variants take turns in each, and medians count.
        cpu: stay off accelerators.

    Returns:
        A row a figure: what, variant, value, unit.

    Raises:
        UserError: a command failed.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds files: name a new folder with --out, since what is finished takes no time")
    found: dict[Variant, dict[str, list[float]]] = {variant: {} for variant in chosen}
    model = folder / "0-0" / "score"
    for turn in range(rounds):
        for place, variant in enumerate(chosen):
            yield f"round {turn + 1} of {rounds}: {variant}"
            here = folder / f"{turn}-{place}"
            begun = time.perf_counter()
            steps = [
                "--steps",
                str(job.steps),
                "--batch",
                str(job.batch),
                "--set",
                f"score.training.log_every={_LOGGED}",
            ]
            _run(variant, ["train-score", "--data", "digits", *steps, "--out", str(here / "score")], cpu=cpu)
            trained = time.perf_counter()
            of = ["--score", str(model), "--total", str(job.samples), "--batch", str(job.at_once)]
            _run(variant, ["sample", *of, "--out", str(here / "samples")], cpu=cpu)
            rates = [row["images_per_second"] for row in read_rows(here / "score" / LOG_FILE)]
            for what, value in (
                ("training", statistics.median(rates[min(2, len(rates) - 1) :])),
                ("training, the whole command", trained - begun),
                ("sampling", float(read_json(here / "samples" / STAGE_FILE)["images_per_second"])),
                ("sampling, the whole command", time.perf_counter() - trained),
            ):
                found[variant].setdefault(what, []).append(value)
    rows = []
    for place, variant in enumerate(chosen):
        own, first = (
            {what: statistics.median(values) for what, values in found[one].items()} for one in (variant, chosen[0])
        )
        for what, value in own.items():
            rate = "command" not in what
            rows.append(_row(what, variant, value, "images/s" if rate else "s"))
            if rate:
                rows.append(_row(f"{what}, speed-up", variant, value / first[what], ""))
        here = folder / f"0-{place}"
        difference = _difference(model, here / "score")
        rows.append(_row("greatest difference of a weight", variant, difference, "of the greatest weight"))
        same = _equal_files(folder / "0-0" / "samples", here / "samples")
        rows.append(_row("pictures equal byte for byte", variant, same, "of all"))
    return rows


def _row(what: str, variant: Variant, value: float, unit: str) -> dict[str, Any]:
    return {"what": what, "variant": str(variant), **variant._asdict(), "value": value, "unit": unit}


def _run(variant: Variant, arguments: Sequence[str], *, cpu: bool) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(variant.processes)]
    command = [sys.executable, *launcher, "-m", "condgen", "--threads", str(variant.threads), *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in _LAUNCHERS}
    environment |= {"OMP_NUM_THREADS": str(variant.threads)} | ({"ACCELERATE_USE_CPU": "true"} if cpu else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        said = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), done.stderr[-300:])
        raise UserError(f"condgen {arguments[0]} failed with {variant}: {said.removeprefix('error: ')}")


def _difference(one: Path, other: Path) -> float:
    """The greatest difference of a weight, in units of the greatest weight."""
    (first, _), (second, _) = (load_tensors(place / MODEL_FILE) for place in (one, other))
    greatest = max(float(tensor.abs().max()) for tensor in first.values())
    return max(float(torch.dist(first[name], second[name], p=float("inf"))) for name in first) / greatest


def _equal_files(one: Path, other: Path) -> float:
    """The share of pictures that are the same files; none where the manifests are of different samples."""
    rows = read_rows(one / MANIFEST)
    if rows != read_rows(other / MANIFEST):
        return 0.0
    equal: list[bool] = [(one / row["file"]).read_bytes() == (other / row["file"]).read_bytes() for row in rows]
    return sum(equal) / len(equal)

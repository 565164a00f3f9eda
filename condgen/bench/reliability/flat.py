"""Long work, watched from outside: does its memory grow, can its log always be read, how much disk does it hold?"""

import statistics
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

import psutil

from condgen.bench.parts import Rows, Work
from condgen.bench.reliability.command import Command
from condgen.bench.reliability.work import fresh
from condgen.errors import UserError
from condgen.run import MANIFEST, read_rows
from condgen.run.folder import LOG_FILE

__all__ = ["Sight", "flat_rows", "growth"]

_EVERY = 0.1  # seconds between two looks
_SETTLED, _LATE = 0.2, 0.9  # of the work: before the first, buffers are still being made; the last part is compared


class Sight(NamedTuple):
    """What one look at a command has seen.

    Attributes:
        done: steps or samples by then.
        memory: that it holds, in bytes.
        disk: bytes of its folder, without what grows by nature (the log, samples).
        states: files of training state and models, unfinished ones included.
    """

    done: int
    memory: int
    disk: int
    states: int


def growth(sights: list[Sight], total: int) -> float:
    """How much more memory late work holds than settled work, as a share: medians of the looks at either."""
    settled = [sight.memory for sight in sights if _SETTLED * total <= sight.done < 0.5 * total]
    if len(sights) < 2:
        raise UserError("flat: the work was over before it could be watched: ask for more of it")
    return _late(sights, total) / statistics.median(settled or [sights[0].memory]) - 1


def _late(sights: list[Sight], total: int) -> float:
    """The memory of late work, in bytes; that of the last look, where none was late."""
    return statistics.median([sight.memory for sight in sights if sight.done >= _LATE * total] or [sights[-1].memory])


def flat_rows(folder: Path, steps: int, samples: int) -> Work:
    """Trains and samples for long.

    Args:
        folder: is emptied.
        steps: of training.
        samples: drawn with the model.

    Returns:
        A row a figure: what, variant, value, unit.
    """
    model, drawn = fresh(folder) / "score", folder / "samples"
    training = [
        "train-score",
        "--data=digits",
        f"--steps={steps}",
        "--batch=256",
        "--set=score.training.save_every=500",
    ]
    sampling = ["sample", f"--score={model}", f"--total={samples}", "--batch=500", "--steps=4"]
    rows: Rows = []
    for name, arguments, place, log, total, done in (
        (f"{steps:,} steps", training, model, LOG_FILE, steps, _steps),
        (f"{samples:,} samples", sampling, drawn, MANIFEST, samples, len),
    ):
        sights, unreadable = yield from _watched(name, [*arguments, f"--out={place}"], place, log, done)
        found = {
            "growth of memory": (100 * growth(sights, total), "%"),
            "memory": (_late(sights, total) / 1e6, "MB"),
            "greatest memory": (max(sight.memory for sight in sights) / 1e6, "MB"),
            "looks at the log": (len(sights), ""),
            "looks that found it unreadable": (unreadable, ""),
            "greatest disk, log and samples aside": (max(sight.disk for sight in sights) / 1e6, "MB"),
            "most files of models and states at once": (max(sight.states for sight in sights), "files"),
        }
        rows += [{"what": what, "variant": name, "value": value, "unit": unit} for what, (value, unit) in found.items()]
    return rows


def _steps(rows: list[dict[str, object]]) -> int:
    return max((int(str(row["step"])) for row in rows), default=0)


def _watched(
    name: str, arguments: list[str], place: Path, log: str, done: Callable[[list[dict[str, object]]], int]
) -> Generator[str, None, tuple[list[Sight], int]]:
    command, sights, unreadable = Command(*arguments), list[Sight](), 0
    process = psutil.Process(command.pid)
    while command.is_at_work:
        try:
            memory = process.memory_info().rss
            sights.append(Sight(done(read_rows(place / log)), memory, *_disk(place)))
            yield f"{name}: {sights[-1].done:,}, {memory / 1e6:,.0f} MB"
        except UserError:
            unreadable += 1
        except (psutil.Error, FileNotFoundError):  # it has just ended, or just replaced a file
            pass
        time.sleep(_EVERY)
    ended = command.wait()
    if ended.code != 0:
        raise UserError(f"flat: the command failed that was to be watched: {ended.err.strip()}")
    return sights, unreadable


def _disk(place: Path) -> tuple[int, int]:
    """Bytes of what a folder holds beside its log and samples, and how many models and states."""
    held = [path for path in place.rglob("*") if path.suffix not in (".jsonl", ".png") and path.is_file()]
    states = [path for path in held if ".safetensors" in path.name]
    return sum(path.stat().st_size for path in held), len(states)

"""Long work, watched from outside: does its memory grow, can its log always be read, how much disk does it hold?

The work stands still while it is looked at: however long its log takes to read, no part of it goes by unseen.

What comes after the work, such as drawing a picture of it, is no part of its growth. Whether that takes more after more
work is told by the greatest memory, beside that of a tenth of the work.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from benchmarks.parts import Rows, Work

from condgen.errors import UserError
from condgen.runs import read_rows
from condgen.runs.layout import LOG_FILE, MANIFEST
from reliability.command import Command
from reliability.work import fresh

__all__ = ["Sight", "flat_rows", "growth"]

_EVERY = 0.05  # seconds that it works between two looks
_SETTLED, _LATE = 0.2, 0.9  # of the work: before the first, buffers are still being made; the last part is compared
_SHORT = 10  # a part of the work, one in so many, is done for comparison
_BATCHES = 200  # of samples, so that there is enough to see


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
    if not settled:
        raise UserError("flat: the work was over before it could be watched: ask for more of it")
    return _late(sights, total) / statistics.median(settled) - 1


def _late(sights: list[Sight], total: int) -> float:
    """The memory of late work, in bytes."""
    late = [sight.memory for sight in sights if _LATE * total <= sight.done < total]
    if not late:
        raise UserError("flat: the end of the work was not seen: ask for more of it")
    return statistics.median(late)


def flat_rows(folder: Path, steps: int, samples: int) -> Work:
    """Trains and samples for long.

    Args:
        folder: is emptied.
        steps: of training.
        samples: drawn with the model.

    Returns:
        A row a figure: what, variant, value, unit.
    """
    model = fresh(folder) / "score"
    training = ["train-score", "--data=digits", "--batch=256", "--set=score.training.save_every=500"]
    sampling = ["sample", f"--score={model}", f"--batch={max(1, samples // _BATCHES)}", "--steps=4"]
    rows: Rows = []
    for name, arguments, place, log, total, done in (
        (f"{steps:,} steps", [*training, "--steps"], model, LOG_FILE, steps, _steps),
        (f"{samples:,} samples", [*sampling, "--total"], folder / "samples", MANIFEST, samples, len),
    ):
        short = place.with_name(f"short-{place.name}")
        fewer = [*arguments, str(total // _SHORT), f"--out={short}"]
        _, _, less = yield from _watched(f"a tenth of {name}", fewer, short, log, done)
        sights, unreadable, most = yield from _watched(
            name, [*arguments, str(total), f"--out={place}"], place, log, done
        )
        found = {
            "growth of memory": (100 * growth(sights, total), "%"),
            "memory": (_late(sights, total) / 1e6, "MB"),
            "greatest memory": (most / 1e6, "MB"),
            "greatest memory beside that of a tenth": (100 * (most / less - 1), "%"),
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
) -> Generator[str, None, tuple[list[Sight], int, int]]:
    """What is seen of a command: looks, how many found its log unreadable, and the most memory it held, in bytes."""
    command, sights, unreadable = Command(*arguments), list[Sight](), 0
    process = psutil.Process(command.pid)
    while command.is_at_work:
        try:
            with _still(process):
                sights.append(Sight(done(read_rows(place / log)), process.memory_info().rss, *_disk(place)))
            yield f"{name}: {sights[-1].done:,}, {sights[-1].memory / 1e6:,.0f} MB"
        except UserError:
            unreadable += 1
        except (psutil.Error, FileNotFoundError):  # it has just ended, or just replaced a file
            pass
        time.sleep(_EVERY)
    ended = command.wait()
    if ended.code != 0:
        raise UserError(f"flat: the command failed that was to be watched: {ended.err.strip()}")
    return sights, unreadable, ended.peak


@contextlib.contextmanager
def _still(process: psutil.Process) -> Iterator[None]:
    """Holds a process where it is."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def _disk(place: Path) -> tuple[int, int]:
    """Bytes of what a folder holds beside its log and samples, and how many models and states."""
    held = [path for path in place.rglob("*") if path.suffix not in (".jsonl", ".png") and path.is_file()]
    states = [path for path in held if ".safetensors" in path.name]
    return sum(path.stat().st_size for path in held), len(states)

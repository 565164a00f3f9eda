"""Work that yields what it does next, and JSON results saved."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

from condgen.cli.progress import console
from condgen.runs import write_json

__all__ = ["save", "with_status"]

Outcome = TypeVar("Outcome")


def with_status(work: Generator[str, None, Outcome]) -> Outcome:
    """Runs work that says what it does next, and returns what it ends in."""
    with console.status("") as status:
        while True:
            try:
                status.update(next(work))
            except StopIteration as stop:
                outcome: Outcome = stop.value
                return outcome


def save(path: Path | None, summary: dict[str, Any]) -> None:
    """Writes a result, where a file is named."""
    if path is not None:
        write_json(path, summary)
        console.print(f"rows: {path}", markup=False)

"""Benches of many parts, each run when asked for, that share one file of rows."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from condgen.errors import UserError

__all__ = ["Rows", "Work", "choose", "combine"]

Rows: TypeAlias = list[dict[str, Any]]
"""Tidy ones: a figure each, with what it is, and of what."""

Work: TypeAlias = Generator[str, None, Rows]
"""A part at work: it says what it does next, and ends in rows."""

_DIGITS = 5  # of a value that is written down


def choose(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Parts by their names, each once.

    Raises:
        UserError: there is no such part.
    """
    chosen = list(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise UserError(f"there is no part {unknown[0]!r}: choose among {', '.join(known)}")
    return chosen


def combine(
    before: Mapping[str, Any] | None, part: str, conditions: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A file of rows in which those of one part are new.

    Args:
        before: the file as it was, or None.
        part: whose rows these are.
        conditions: under which they were made.
        rows: tidy ones.

    Returns:
        `{"what": {part: conditions}, "rows": [...]}`, in which every row names its part, and values have 5 digits.
    """
    what = dict(before["what"]) if before else {}
    kept = [row for row in before["rows"] if row["part"] != part] if before else []
    return {"what": {**what, part: dict(conditions)}, "rows": [*kept, *({"part": part, **_short(row)} for row in rows)]}


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(f"{v:.{_DIGITS}g}") if isinstance(v, float) else v for key, v in row.items() if v is not None}

"""How good and how fast the samplers are, in parts that share one file of rows."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["combine"]

_DIGITS = 5  # of a value that is written down


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

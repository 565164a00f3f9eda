"""Tables as Markdown, and for a terminal."""

import re
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from condgen.errors import shown
from condgen.report.tables import Table

__all__ = ["escape_markdown", "to_markdown", "to_rich"]

_WIDEST_HEAD = 22  # of a row, before it is folded
_GAP = 3  # between columns


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&$])", r"\\\1", shown(" ".join(text.split())))


def to_markdown(table: Table) -> str:
    """A pipe table; cells that are clearly best are bold and starred."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def dressed(row: int, column: int) -> str:
        text = escape_markdown(table.rows[row][column])
        return f"**{text}** \\*" if (row, column) in table.best else text

    body = [line(dressed(row, column) for column in range(len(cells))) for row, cells in enumerate(table.rows)]
    return "\n".join(
        [
            line(map(escape_markdown, table.header)),
            line("---" if index == 0 or index in table.words else "--:" for index in range(len(table.header))),
            *body,
        ]
    )


def to_rich(table: Table, *, turned: bool = True, width: int = 80) -> RenderableType:
    """The table for a terminal; best cells are starred.

    Args:
        table: what to show.
        turned: on its side, since figures are many and methods few; methods that find no room beside each other stand
            in further tables below.
        width: of the terminal, in characters.
    """
    title = Text(table.title, style="bold")
    if not turned:
        out = _empty(title, Text(table.caption) if table.caption else None, collapse_padding=True)
        for head in table.header:
            out.add_column(Text(head), justify="right")
        for place in range(len(table.rows)):
            out.add_row(*(Text(table.marked(place, column)) for column in range(len(table.header))))
        return out
    parts = [_turned(table, part, title if first == 0 else None) for first, part in enumerate(_parts(table, width))]
    return Group(*parts, *([Text(table.caption, style="italic dim")] if table.caption else []))


def _empty(title: Text | None, caption: Text | None, *, collapse_padding: bool = False) -> RichTable:
    return RichTable(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=collapse_padding,
        pad_edge=not collapse_padding,
    )


def _parts(table: Table, width: int) -> list[list[int]]:
    """The rows, which become columns, in groups that find room beside each other."""
    head = min(_WIDEST_HEAD, max(map(len, table.header)))
    wide = [
        _GAP + max(len(cells[0]), *(len(table.marked(row, column)) for column in range(1, len(cells))))
        for row, cells in enumerate(table.rows)
    ]
    room = width - head - 2 * _GAP
    parts: list[list[int]] = [[]]
    for row, own in enumerate(wide):
        if parts[-1] and sum(wide[other] for other in parts[-1]) + own > room:
            parts.append([])
        parts[-1].append(row)
    size = -(-len(wide) // len(parts))
    even = [list(range(start, min(start + size, len(wide)))) for start in range(0, len(wide), size)]
    return even if all(sum(wide[row] for row in part) <= room for part in even) else parts


def _turned(table: Table, rows: Sequence[int], title: Text | None) -> RichTable:
    out = _empty(title, None)
    out.add_column(Text(table.header[0]), min_width=min(_WIDEST_HEAD, max(map(len, table.header))))
    for row in rows:
        out.add_column(Text(table.rows[row][0]), justify="right", overflow="fold")
    for column, head in enumerate(table.header[1:], start=1):
        dressed = [Text(table.marked(row, column), style="bold" if (row, column) in table.best else "") for row in rows]
        out.add_row(Text(head), *dressed)
    return out

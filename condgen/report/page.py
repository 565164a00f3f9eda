"""A report as blocks of a few kinds, as HTML that fetches nothing, as Markdown and, tables alone, for a terminal."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from pydantic import TypeAdapter
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text as RichText

from condgen import __version__
from condgen.errors import one_line
from condgen.files import write_atomically
from condgen.report.estimates import format_estimate, format_number
from condgen.report.figures import Panel, legend_of, to_svg
from condgen.rows import Estimate
from condgen.runs.layout import REPORT, REPORT_DATA, REPORT_TEXT


@dataclass(frozen=True)
class Picture:
    """An image as a data address, its size on the page in CSS pixels, and labels spread evenly below it."""

    address: str
    alt: str
    width: int
    height: int
    labels: tuple[str, ...] = ()


Cell: TypeAlias = str | float | Estimate | Picture | None


def as_text(cell: Cell) -> str:
    """Numbers to three significant digits, a dash for what is unknown, and of a picture its labels."""
    if isinstance(cell, Picture):
        return ", ".join(cell.labels)
    if isinstance(cell, Estimate):
        return format_estimate(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return cell if isinstance(cell, str) else format_number(cell)


@dataclass(frozen=True)
class Table:
    title: str  # one line
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]  # the first of each row is the row's head
    caption: str = ""  # the conditions of the numbers
    best: frozenset[tuple[int, int]] = frozenset()  # (row, column) of the cells to star as clearly best
    folded: bool = False  # whether HTML shows the title alone until it is opened

    @property
    def texts(self) -> list[list[str]]:
        return [list(map(as_text, cells)) for cells in self.rows]

    @property
    def words(self) -> set[int]:
        return {column for row in self.rows for column, cell in enumerate(row) if isinstance(cell, str | Picture)}


@dataclass(frozen=True)
class Code:
    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """Panels side by side, a caption, and the numbers behind them in folded tables."""

    title: str
    panels: Sequence[Panel]
    caption: str
    tables: Sequence[Table] = ()


Block: TypeAlias = str | Table | Code | Figure  # plain text is a paragraph


def write_page(
    place: Path, name: str, findings: Sequence[str], sections: Mapping[str, Iterable[Block]], data: Mapping[str, object]
) -> Path:
    head = {"name": name, "lead": next(iter(findings), ""), "findings": findings[1:]}
    numbers = itertools.count()
    page = {
        **head,
        "sections": {title: found for title, blocks in sections.items() if (found := tuple(blocks))},
        "version": __version__,
        "text": as_text,
        "legend_of": legend_of,
        "to_svg": lambda panel: to_svg(panel, f"panel-{next(numbers)}"),
        "to_markdown": to_markdown,
    }
    html = open_template("condgen.report", "report.html.j2").render(page)
    markdown = open_template("condgen.report", "report.md.j2").render(page)
    content = {"condgen": __version__, **head, **data}
    rows = TypeAdapter(Any).dump_json(content, indent=1, by_alias=True, exclude_unset=True)
    write_atomically(place / REPORT_DATA, rows + b"\n")
    write_atomically(place / REPORT_TEXT, markdown.encode(errors="replace"))
    write_atomically(place / REPORT, html.encode(errors="replace"))
    return place / REPORT


def open_template(package: str, name: str) -> Template:
    """A template of HTML or Markdown in a package; what it shows is escaped, unless it is marked as safe."""
    is_html = name.endswith(".html.j2")
    environment = Environment(
        loader=PackageLoader(package, "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=is_html,
        finalize=None if is_html else _in_markdown,
    )
    return environment.get_template(name)


def _in_markdown(value: object) -> str:
    if isinstance(value, Markup):
        return value
    return escape_markdown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&$])", r"\\\1", one_line(text))


def to_markdown(table: Table) -> Markup:
    """A pipe table with its title and caption; cells that are clearly best are bold and starred."""
    lines = [[escape_markdown(text) for text in texts] for texts in (table.header, *table.texts)]
    for row, column in table.best:
        lines[1 + row][column] = f"**{lines[1 + row][column]}** \\*"
    parts = [f"**{escape_markdown(table.title)}**"]
    if any(text for texts in table.texts for text in texts[1:]):  # of pictures alone, nothing
        lines.insert(1, ["---" if column in table.words else "--:" for column in range(len(table.header))])
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return Markup("\n\n".join([*parts, *([escape_markdown(table.caption)] if table.caption else [])]))


def to_rich(table: Table, width: int = 80) -> RenderableType:
    """The table for a terminal, its columns in several parts where they are wider than so many characters."""
    rows = table.texts
    for line, place in table.best:
        rows[line][place] += " *"
    head, *columns = zip(table.header, *rows, strict=True)
    parts = [[head]]
    for column in columns:
        needed = sum(2 + max(map(len, one)) for one in (*parts[-1], column))
        if len(parts[-1]) > 1 and needed > width - 2:
            parts.append([head])
        parts[-1].append(column)
    shown: list[RenderableType] = [RichText(table.title, style="bold")]
    for part in parts:
        heads, *lines = zip(*part, strict=True)
        shown.append(out := RichTable(box=SIMPLE_HEAD, collapse_padding=True))
        for place, text in enumerate(heads):
            out.add_column(RichText(text), justify="right" if place else "left", overflow="fold")
        for texts in lines:
            out.add_row(*(RichText(text, style="bold" if text.endswith(" *") else "") for text in texts))
    return Group(*shown, *([RichText(table.caption, style="italic dim")] if table.caption else []))

"""A report as blocks of a few kinds, written as HTML, as Markdown and, tables alone, for a terminal.

The HTML is one file that fetches nothing: a content security policy in its head forbids it. Names that users chose are
escaped in every rendering.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from pydantic import TypeAdapter
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text as RichText

from condgen import __version__
from condgen.errors import shown
from condgen.files import write_atomically
from condgen.report.figures import Panel, Style, to_svg
from condgen.runs.layout import REPORT, REPORT_DATA, REPORT_TEXT


@dataclass(frozen=True)
class Picture:
    """An image as a data address, its size on the page in CSS pixels, and labels spread evenly below it."""

    address: str
    alt: str
    width: int
    height: int
    labels: tuple[str, ...] = ()


Cell: TypeAlias = str | Picture | None


@dataclass(frozen=True)
class Table:
    kind: ClassVar[str] = "table"
    title: str  # one line
    header: tuple[str, ...]  # the heads of the columns
    rows: tuple[tuple[Cell, ...], ...]  # the cells; the first of each row is the row's head
    caption: str = ""  # the conditions of the numbers
    best: frozenset[tuple[int, int]] = frozenset()  # (row, column) of the cells to star as clearly best
    folded: bool = False  # whether HTML shows the title alone until it is opened

    @property
    def has_pictures(self) -> bool:
        return any(isinstance(cell, Picture) for row in self.rows for cell in row)

    @property
    def words(self) -> set[int]:
        """The columns that hold words, or pictures, and not numbers."""
        cells = [(column, cell) for row in self.rows for column, cell in enumerate(row)]
        return {0} | {column for column, cell in cells if isinstance(cell, Picture) or (cell or "")[:1].isalpha()}


@dataclass(frozen=True)
class Prose:
    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is."""

    kind: ClassVar[str] = "code"
    title: str
    text: str
    folded: bool = False

    @property
    def fence(self) -> Markup:
        """What encloses it in Markdown: more backquotes than it holds."""
        return Markup("`" * max(3, 1 + max(map(len, re.findall("`+", self.text)), default=0)))


@dataclass(frozen=True)
class Figure:
    """Panels side by side with their legend, a caption, and the numbers behind them in folded tables."""

    kind: ClassVar[str] = "figure"
    title: str
    panels: tuple[Panel, ...]
    caption: str
    legend: Mapping[str, Style] | None = None
    tables: tuple[Table, ...] = ()


Block: TypeAlias = Table | Prose | Code | Figure


def facts_table(title: str, mapping: Mapping[str, Any], *, folded: bool = True) -> list[Block]:
    """Names and values from JSON, without those that are null; nothing where none is left."""
    rows = tuple((name.replace("_", " "), _words(value)) for name, value in mapping.items() if value is not None)
    return [Table(title, ("setting", "value"), rows, folded=folded)] if rows else []


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(
            f"{key.replace('_gib', ' (GiB)').replace('_', ' ')}: {_words(inner)}" for key, inner in value.items()
        )
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else json.dumps(value)


def write_page(
    folder: Path,
    name: str,
    findings: Sequence[str],
    sections: Mapping[str, Iterable[Block]],
    data: Mapping[str, object],
) -> Path:
    """Writes `report.html`, `report.md` and `report.json`, each whole or not at all.

    Returns:
        The path of the HTML.
    """
    lead, further = next(iter(findings), ""), findings[1:]
    filled = {title: found for title, blocks in sections.items() if (found := tuple(blocks))}
    page: dict[str, Any] = {"name": name, "lead": lead, "findings": further, "sections": filled}
    numbers = itertools.count()
    html = _template("condgen.report", "report.html.j2", autoescape=True).render(
        **page, version=__version__, to_svg=lambda panel: Markup(to_svg(panel, f"panel-{next(numbers)}"))
    )
    markdown = markdown_template("condgen.report", "report.md.j2").render(
        **page, version=__version__, to_markdown=to_markdown
    )
    head = {"name": name, "condgen": __version__, "lead": lead, "findings": further}
    content = TypeAdapter(Any).dump_json(head | dict(data), indent=1, by_alias=True, exclude_unset=True)
    write_atomically(folder / REPORT_DATA, content + b"\n")
    write_atomically(folder / REPORT_TEXT, markdown.encode(errors="replace"))
    write_atomically(folder / REPORT, html.encode(errors="replace"))
    return folder / REPORT


def _template(package: str, name: str, **how: Any) -> Template:  # noqa: ANN401 - jinja2's options
    environment = Environment(
        loader=PackageLoader(package, "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **how
    )
    return environment.get_template(name)


def markdown_template(package: str, name: str) -> Template:
    """A template of Markdown in a package; what it shows is escaped, unless it is marked as safe."""

    def escaped(value: object) -> str:
        if isinstance(value, Markup):
            return str(value)
        return escape_markdown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))

    return _template(package, name, autoescape=False, finalize=escaped)


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&$])", r"\\\1", shown(" ".join(text.split())))


def to_markdown(table: Table) -> str:
    """A pipe table with its title and caption; cells that are clearly best are bold and starred."""
    lines = [f"**{escape_markdown(table.title)}**"]
    labelled = [cell.labels for row in table.rows for cell in row if isinstance(cell, Picture)]
    if not table.has_pictures or any(labelled):
        rules = ["---" if index in table.words else "--:" for index in range(len(table.header))]
        rows = [
            [f"**{text}** \\*" if (row, column) in table.best else text for column, text in enumerate(cells)]
            for row, cells in enumerate([map(escape_markdown, map(_text, cells)) for cells in table.rows])
        ]
        lines.append("\n".join(f"| {' | '.join(row)} |" for row in [map(escape_markdown, table.header), rules, *rows]))
    return "\n\n".join([*lines, *([escape_markdown(table.caption)] if table.caption else [])])


def _text(cell: Cell) -> str:
    return ", ".join(cell.labels) if isinstance(cell, Picture) else cell or ""


def to_rich(table: Table, width: int = 80) -> RenderableType:
    """The table for a terminal, its columns in several parts where they are wider than so many characters."""
    rows = [
        [_text(cell) + (" *" if (row, column) in table.best else "") for column, cell in enumerate(cells)]
        for row, cells in enumerate(table.rows)
    ]
    head, *columns = zip(table.header, *rows, strict=True)
    parts: list[list[tuple[str, ...]]] = []
    room = 0
    for column in columns:
        needed = 2 + max(map(len, column))
        if needed > room:
            parts.append([head])
            room = width - 4 - max(map(len, head))
        parts[-1].append(column)
        room -= needed
    caption = [RichText(table.caption, style="italic dim")] if table.caption else []
    return Group(RichText(table.title, style="bold"), *map(_rich, parts), *caption)


def _rich(columns: Sequence[Sequence[str]]) -> RichTable:
    out = RichTable(box=SIMPLE_HEAD, collapse_padding=True)
    for place, column in enumerate(columns):
        out.add_column(RichText(column[0]), justify="right" if place else "left", overflow="fold")
    for line in list(zip(*columns, strict=True))[1:]:
        out.add_row(*(RichText(text, style="bold" if text.endswith(" *") else "") for text in line))
    return out

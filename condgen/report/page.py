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

from jinja2 import Environment, PackageLoader, StrictUndefined
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

__all__ = [
    "Block",
    "Cell",
    "Code",
    "Figure",
    "Picture",
    "Prose",
    "Table",
    "escape_markdown",
    "facts_table",
    "to_markdown",
    "to_rich",
    "write_page",
]


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
    """Text or pictures in rows and columns.

    Attributes:
        title: one line.
        header: the heads of the columns.
        rows: the cells; the first of each row is the row's head.
        caption: the conditions of the numbers.
        best: (row, column) of the cells to star as clearly best.
        words: the columns, beside the first, that hold words and not numbers.
        folded: whether HTML shows the title alone until it is opened.
    """

    kind: ClassVar[str] = "table"
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    best: frozenset[tuple[int, int]] = frozenset()
    words: frozenset[int] = frozenset()
    folded: bool = False

    @property
    def has_pictures(self) -> bool:
        """Whether any cell is a picture."""
        return any(isinstance(cell, Picture) for row in self.rows for cell in row)


@dataclass(frozen=True)
class Prose:
    """A paragraph, or a warning."""

    kind: ClassVar[str] = "prose"
    text: str
    caution: bool = False


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is."""

    kind: ClassVar[str] = "code"
    title: str
    text: str
    folded: bool = False


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
    return [Table(title, ("setting", "value"), rows, words=frozenset({1}), folded=folded)] if rows else []


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
    lead: str,
    findings: Sequence[str],
    sections: Mapping[str, Iterable[Block]],
    data: Mapping[str, object],
) -> Path:
    """Writes `report.html`, `report.md` and `report.json`, each whole or not at all.

    Args:
        folder: where to.
        name: the title.
        lead: what to use.
        findings: sentences below it.
        sections: by title; those without blocks are left out.
        data: the rows behind them, for JSON.

    Returns:
        The path of the HTML.
    """
    filled = {title: found for title, blocks in sections.items() if (found := tuple(blocks))}
    page: dict[str, Any] = {"name": name, "lead": lead, "findings": findings, "sections": filled}
    head = {"name": name, "condgen": __version__, "advice": lead, "findings": findings}
    content = TypeAdapter(Any).dump_json(head | dict(data), indent=1, by_alias=True, exclude_unset=True)
    write_atomically(folder / REPORT_DATA, content + b"\n")
    write_atomically(folder / REPORT_TEXT, _to_markdown(**page).encode(errors="replace"))
    write_atomically(folder / REPORT, _to_html(**page).encode(errors="replace"))
    return folder / REPORT


def _to_html(**page: Any) -> str:  # noqa: ANN401 - the parts of a page
    environment = Environment(
        loader=PackageLoader("condgen.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = itertools.count()
    template = environment.get_template("template.html.j2")
    return template.render(
        **page, version=__version__, to_svg=lambda panel: Markup(to_svg(panel, f"panel-{next(numbers)}"))
    )


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&$])", r"\\\1", shown(" ".join(text.split())))


def to_markdown(table: Table) -> str:
    """A pipe table with its title and caption; cells that are clearly best are bold and starred."""
    lines = [f"**{escape_markdown(table.title)}**"]
    labelled = [cell.labels for row in table.rows for cell in row if isinstance(cell, Picture)]
    if not table.has_pictures or any(labelled):
        rules = ["---" if index == 0 or index in table.words else "--:" for index in range(len(table.header))]
        rows = [
            [f"**{text}** \\*" if (row, column) in table.best else text for column, text in enumerate(cells)]
            for row, cells in enumerate([map(escape_markdown, map(_text, cells)) for cells in table.rows])
        ]
        lines.append("\n".join(f"| {' | '.join(row)} |" for row in [map(escape_markdown, table.header), rules, *rows]))
    return "\n\n".join([*lines, *([escape_markdown(table.caption)] if table.caption else [])])


def _text(cell: Cell) -> str:
    return ", ".join(cell.labels) if isinstance(cell, Picture) else cell or ""


def _to_markdown(name: str, lead: str, findings: Sequence[str], sections: Mapping[str, Sequence[Block]]) -> str:
    parts = [f"# {escape_markdown(name)}", f"**{escape_markdown(lead)}**" if lead else ""]
    parts.append("\n".join(f"- {escape_markdown(sentence)}" for sentence in findings))
    for title, blocks in sections.items():
        parts += [f"## {title}", *map(_block_to_markdown, blocks)]
    parts.append(f"Made by condgen {__version__}. The pictures are in `{REPORT}`.")
    return "\n\n".join(filter(None, parts)) + "\n"


def _block_to_markdown(block: Block) -> str:
    match block:
        case Table():
            return to_markdown(block)
        case Prose():
            return f"> **Caution.** {escape_markdown(block.text)}" if block.caution else escape_markdown(block.text)
        case Code():
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
            return f"{block.title}:\n\n{fence}text\n{block.text}\n{fence}"
        case Figure():
            seen = "\n".join(f"- {escape_markdown(panel.alt)}" for panel in block.panels)
            text = [f"### {escape_markdown(block.title)}", seen, escape_markdown(block.caption)]
            return "\n\n".join([*text, *map(to_markdown, block.tables)])


def to_rich(table: Table, width: int = 80) -> RenderableType:
    """The table for a terminal: turned on its side where it is too wide, and in parts where that is too wide as well.

    Args:
        table: of text.
        width: of the terminal, in characters.
    """
    rows = [
        [_text(cell) + (" *" if (row, column) in table.best else "") for column, cell in enumerate(cells)]
        for row, cells in enumerate(table.rows)
    ]
    lines = [list(table.header), *rows]
    parts = [lines]
    if sum(2 + max(map(len, column)) for column in zip(*lines, strict=True)) > width:
        room = width - 2 - min(max(map(len, table.header)), width // 3)
        most = max(1, room // (2 + max((len(text) for row in rows for text in row), default=1)))
        each = -(-len(rows) // -(-len(rows) // most))
        parts = [
            list(map(list, zip(table.header, *rows[start : start + each], strict=True)))
            for start in range(0, len(rows), each)
        ]
    caption = [RichText(table.caption, style="italic dim")] if table.caption else []
    return Group(RichText(table.title, style="bold"), *map(_rich, parts), *caption)


def _rich(lines: Sequence[Iterable[str]]) -> RichTable:
    out = RichTable(box=SIMPLE_HEAD, collapse_padding=True)
    for place, head in enumerate(lines[0]):
        out.add_column(RichText(head), justify="right" if place else "left", overflow="fold")
    for line in lines[1:]:
        out.add_row(*(RichText(text, style="bold" if text.endswith(" *") else "") for text in line))
    return out

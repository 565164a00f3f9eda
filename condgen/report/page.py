"""What a report says, before it is dressed as HTML or Markdown: sections of a few kinds of block."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from condgen.report.drawing import Plot
from condgen.report.tables import Table

__all__ = [
    "Block",
    "Caution",
    "Code",
    "Facts",
    "Film",
    "Matches",
    "Neighbour",
    "Page",
    "Panels",
    "Prose",
    "Section",
    "Strip",
    "Strips",
    "TableBlock",
]


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Caution:
    """A paragraph that nobody should miss."""

    kind: ClassVar[str] = "caution"
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> "Facts":
        """The facts of a mapping as JSON gives it; what is null is left out."""
        known = {name: value for name, value in mapping.items() if value is not None}
        return cls(tuple((_label(str(name)), _words(value)) for name, value in known.items()))


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_words(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else json.dumps(value)


def _label(name: str) -> str:
    return name.replace("_gib", " (GiB)").replace("_", " ")


@dataclass(frozen=True)
class TableBlock:
    """A table, open or folded away under its title."""

    kind: ClassVar[str] = "table"
    table: Table
    folded: bool = False


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is."""

    kind: ClassVar[str] = "code"
    label: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class Panels:
    """Small plots side by side, what they mean, and the numbers that they show.

    Attributes:
        title: of the group.
        plots: the panels.
        caption: under them.
        legend: sign and name of every method or class.
        tables: the numbers, folded away.
        scale: the colour scale that the panels share.
    """

    kind: ClassVar[str] = "panels"
    title: str
    plots: tuple[Plot, ...]
    caption: str
    legend: tuple[tuple[Plot, str], ...] = ()
    tables: tuple[Table, ...] = ()
    scale: Plot | None = None


@dataclass(frozen=True)
class Strip:
    """A line of images as a data address, with its size on the page in CSS pixels."""

    address: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Strips:
    """Images of every class (rows) by every method (columns)."""

    kind: ClassVar[str] = "strips"
    title: str
    methods: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Strip | None, ...]], ...]
    caption: str
    folded: bool = False


@dataclass(frozen=True)
class Film:
    """Moments of samples from left to right: a line a method, a strip a part.

    Attributes:
        title: of the film.
        parts: what the strips of a line show.
        heads: of the moments of each part.
        rows: name of the line, and a strip a part.
        caption: under it.
        folded: away under its title.
    """

    kind: ClassVar[str] = "film"
    title: str
    parts: tuple[str, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Strip, ...]], ...]
    caption: str
    folded: bool = False


@dataclass(frozen=True)
class Neighbour:
    """A picture with its distance, and its class where that is another."""

    picture: Strip
    distance: str
    other: str = ""


@dataclass(frozen=True)
class Matches:
    """Pictures, each beside those most like it."""

    kind: ClassVar[str] = "matches"
    title: str
    rows: tuple[tuple[str, Strip, tuple[Neighbour, ...]], ...]
    folded: bool = False


Block: TypeAlias = Prose | Caution | Facts | TableBlock | Code | Panels | Strips | Film | Matches


@dataclass(frozen=True)
class Section:
    """A chapter of the page; `key` is its anchor."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """The whole report; `lead` is what a reader in a hurry should know."""

    name: str
    findings: tuple[str, ...]
    sections: tuple[Section, ...]
    version: str
    lead: str = ""

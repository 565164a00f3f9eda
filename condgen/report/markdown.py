"""A report as Markdown: everything that is text, with the pictures described."""

from condgen.report.dresses import escape_markdown, to_markdown
from condgen.report.page import Block, Caution, Code, Facts, Film, Matches, Page, Panels, Prose, Strips
from condgen.report.tables import Table

__all__ = ["page_to_markdown"]


def page_to_markdown(page: Page) -> str:
    """The page as GitHub's Markdown; its pictures are in the HTML alone."""
    parts = [f"# {escape_markdown(page.name)}"]
    if page.lead:
        parts.append(f"**{escape_markdown(page.lead)}**")
    if page.findings:
        parts.append("\n".join(f"- {escape_markdown(sentence)}" for sentence in page.findings))
    for section in page.sections:
        parts.append(f"## {section.title}")
        parts += [_block(block) for block in section.blocks]
    parts.append(f"Made by condgen {page.version}. The pictures are in `report.html`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    match block:
        case Prose():
            return escape_markdown(block.text)
        case Caution():
            return f"> **Caution.** {escape_markdown(block.text)}"
        case Facts():
            return "\n".join(f"- {escape_markdown(name)}: {escape_markdown(value)}" for name, value in block.pairs)
        case Code():
            fence = "`" * max(3, _longest_run(block.text) + 1)
            return f"{block.label}:\n\n{fence}text\n{block.text}\n{fence}"
        case Panels():
            seen = "\n".join(f"- {escape_markdown(plot.alt)}" for plot in block.plots)
            head = f"### {escape_markdown(block.title)}"
            return "\n\n".join([head, seen, escape_markdown(block.caption), *map(_table, block.tables)])
        case Strips() | Film():
            return f"### {escape_markdown(block.title)}\n\n{escape_markdown(block.caption)}"
        case Matches():
            return _table(_distances(block))
        case _:
            return _table(block.table)


def _distances(block: Matches) -> Table:
    said = [
        [f"{one.distance} ({one.other})" if one.other else one.distance for one in near] for _, _, near in block.rows
    ]
    most = max(map(len, said), default=0)
    cells = [(row[0], *near, *[""] * (most - len(near))) for row, near in zip(block.rows, said, strict=True)]
    return Table(block.title, ("sample", *(f"distance {i}" for i in range(1, most + 1))), tuple(cells))


def _table(table: Table) -> str:
    caption = f"\n\n{escape_markdown(table.caption)}" if table.caption else ""
    return f"**{escape_markdown(table.title)}**\n\n{to_markdown(table)}{caption}"


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    longest = run = 0
    for sign in text:
        run = run + 1 if sign == "`" else 0
        longest = max(longest, run)
    return longest

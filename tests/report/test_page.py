"""One table in three renderings, and a page whose content cannot become markup."""

import io
import json

import pytest
from rich.console import Console

from condgen.report.page import Code, Picture, Table, to_markdown, to_rich, write_page
from condgen.rows import Estimate

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "a|b`c`\n| d |\n# e",
    "\x1b[2J\x07",
)
TABLE = Table(
    "Title",
    ("method", "FD ↓"),
    (("ce", Estimate(2, 1, 3)), ("dlsm", Estimate(1, 0.9, 1.1))),
    "n = 9.",
    frozenset({(1, 1)}),
)


def terminal(table, width):
    out = io.StringIO()
    Console(file=out, width=width).print(to_rich(table, width))
    return out.getvalue()


def test_every_rendering_has_the_cells_and_the_star(tmp_path):
    assert "| dlsm | **1.00 ± 0.10** \\* |" in to_markdown(TABLE)
    assert "| ce | 2.0 ± 1.0 |" in to_markdown(TABLE)
    lines = [line.split() for line in terminal(TABLE, 80).splitlines()]
    assert ["dlsm", "1.00", "±", "0.10", "*"] in lines
    html = write_page(tmp_path, "p", (), {"S": [TABLE], "Empty": []}, {}).read_text()
    assert html.count('<td class="best"><strong>1.00 ± 0.10') == 1
    assert html.count("n = 9.") == 1
    assert "Empty" not in html


def test_pictures_are_shown_in_html_and_their_labels_in_markdown(tmp_path):
    picture = Picture("data:image/png;base64,AA==", "a sample", 8, 8, ("0.5", "1"))
    table = Table("Pictures", ("class", "near"), (("cat", picture), ("dog", None)))
    assert "| cat | 0.5, 1 |" in to_markdown(table)
    html = write_page(tmp_path, "p", (), {"S": [table]}, {}).read_text()
    assert '<img src="data:image/png;base64,AA==" alt="a sample" width="8" height="8">' in html


@pytest.mark.parametrize("width", [60, 80, 120, 300])
def test_a_terminal_shows_every_cell_within_its_width(width):
    rows = tuple((f"method-number-{i}", f"{1000 + i}", f"{2000 + i}") for i in range(9))
    text = terminal(Table("Wide", ("method", "one", "two"), rows), width)
    for row in rows:
        assert all(cell in text for cell in row)
    assert max(map(len, text.splitlines())) <= width


def test_names_are_shown_as_they_are_and_never_as_markup(tmp_path):
    rows = tuple((name, name) for name in HOSTILE)
    blocks = (Table("t", HOSTILE[:2], rows), HOSTILE[0], Code("c", "```\n" * 2))
    rows = {"rows": [{"name": HOSTILE[0], "value": float("nan")}]}
    html = write_page(tmp_path, HOSTILE[0], HOSTILE[1:2] + HOSTILE, {"S": blocks}, rows).read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{7*7}}" in html
    markdown = (tmp_path / "report.md").read_text()
    assert "\x1b" not in markdown
    assert "<script" not in markdown.replace("\\<", "")
    table = [line.replace("\\|", "") for line in markdown.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in table] == [3] * (2 + len(HOSTILE))
    assert "    ```\n    ```" in markdown
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["rows"] == [{"name": HOSTILE[0], "value": None}]

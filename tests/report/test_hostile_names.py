"""Names of classes and methods that try to be markup: the page, the Markdown and the JSON stay as they were."""

import importlib.util
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from condgen.report import build_report

_SPEC = importlib.util.spec_from_file_location("runs_of_names", Path(__file__).with_name("conftest.py"))
runs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(runs)

PLAIN = ("ant", "bee", "cat", "dog", "eel", "fox")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "a|b`c`\n| d |\n# e",
    "\x1b[2J\x07",
    "[x](javascript:alert(1))",
)


class Elements(HTMLParser):
    """Every element with the names of its attributes, in order."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, sorted(name for name, _ in attributes)))


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The same run twice: with plain names and with hostile ones."""
    built = []
    for names in (PLAIN, HOSTILE):
        folder = runs.make_digits(tmp_path_factory.mktemp("names") / "run", names)
        runs.add_trajectories(folder, names)
        runs.add_neighbours(folder, names)
        build_report(folder)
        built.append(folder)
    return built


def test_no_element_and_no_attribute_comes_from_a_name(reports):
    plain, hostile = (Elements() for _ in reports)
    for parser, folder in zip((plain, hostile), reports, strict=True):
        parser.feed((folder / "report.html").read_text())
    assert plain.found == hostile.found
    assert not {"script", "iframe", "object"} & {tag for tag, _ in hostile.found}
    assert not [names for _, names in hostile.found if any(name.startswith("on") for name in names)]
    assert "49" not in (reports[1] / "report.html").read_text().split("&lt;script&gt;")[1][:200]


def test_tables_of_markdown_have_as_many_cells(reports):
    plain, hostile = ((folder / "report.md").read_text() for folder in reports)
    assert [line.replace("\\|", "").count("|") for line in plain.split("\n")] == [
        line.replace("\\|", "").count("|") for line in hostile.split("\n")
    ]
    assert "\x1b" not in hostile
    assert "<script" not in hostile.replace("\\<", "")


def test_json_gives_names_as_they_are(reports):
    facts = json.loads((reports[1] / "report.json").read_text())
    assert [row["name"] for row in facts["rows"]["neighbours"]] == [HOSTILE[0]] * 6

"""What others wrote is read within bounds, and shown without effect."""

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condgen.cli.progress import _Quoting
from condgen.errors import UserError, shown
from condgen.foreign import blamed_on, each_line, is_file, parse_json, read_bytes, read_text

TEXT = st.text(st.characters(codec=None), max_size=60)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
)


@given(TEXT)
def test_a_line_that_people_see_is_one_and_has_no_power(text):
    line = str(UserError(text))
    assert len(line.splitlines()) <= 1
    line.encode()
    assert not set(line) & set(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x202E]))
    assert len(shown(text)) == len(text)


def test_what_a_terminal_obeys_is_seen_on_the_console():
    file = io.StringIO()
    console = _Quoting(file=file, highlight=False, width=60)
    console.print("a \x1b[2J b \x07 \u202e c", markup=False)
    assert file.getvalue() == "a ␛[2J b  \ufffd c\n"  # rich leaves the bell out


@given(TREES)
def test_json_of_any_sort_is_read_as_it_was_written(tree):
    assert parse_json(json.dumps(tree)) == tree


@pytest.mark.parametrize(
    "text",
    ["", "[" * 100_000, "[" * 61 + "]" * 61, '{"a":' * 5000, "9" * 5000, "9" * 19, "-" + "9" * 400, b"\xff", "nul"],
)
def test_json_that_is_none_or_has_no_bounds_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_halves_of_characters_become_question_marks():
    assert parse_json('{"\\ud800": ["\\udcff", "\\ud83d\\ude00"]}') == {"\ufffd": ["\ufffd", "😀"]}


def test_only_regular_files_of_bounded_size_are_read(tmp_path):
    path = tmp_path / "x"
    path.write_text("é")
    assert read_text(path) == "é"
    assert is_file(path)
    with pytest.raises(ValueError, match="holds more than 1 bytes"):
        read_bytes(path, 1)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, tmp_path / "gone", tmp_path / ("x" * 300)):
        assert not is_file(other)
        with pytest.raises(OSError, match=r"."):
            read_bytes(other)
    assert not is_file(tmp_path / "\0")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), KeyError("x"), TypeError("x"), RecursionError("x"), OSError("x")]
)
def test_what_meets_a_wrong_value_is_blamed_on_its_file(error):
    told = r"log\.jsonl holds what condgen does not write \(.*Error: '?x'?\)"
    with pytest.raises(UserError, match=told), blamed_on("log.jsonl", OSError):
        raise error


def test_an_error_that_says_what_to_do_and_one_of_another_kind_pass():
    for error in (UserError("choose another"), OSError("full")):
        with pytest.raises(type(error), match=str(error)), blamed_on("log.jsonl"):
            raise error


def test_lines_come_one_at_a_time_and_a_line_that_was_cut_short_does_not(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"one\ntwo \xc3\xa9\n\nhal")
    assert list(each_line(path)) == ["one", "two é", ""]
    assert list(each_line(path, 15)) == ["one", "two é", ""]
    with pytest.raises(ValueError, match="more than 14 bytes"):
        list(each_line(path, 14))
    path.write_bytes(b"one\n\xff\n")
    with pytest.raises(ValueError, match="utf-8"):
        list(each_line(path))

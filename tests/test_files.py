"""Files are read within bounds, and written whole or not at all."""

import json
import os

import pytest
from hypothesis import given, strategies as st
from PIL import Image

from condgen.errors import UserError, shown
from condgen.files import (
    blamed_on,
    each_line,
    parse_json,
    read_bytes,
    read_picture,
    read_text,
    remove_unfinished,
    write_atomically,
    write_png,
)


@given(st.text(st.characters(codec=None), max_size=60))
def test_an_error_is_one_line_in_which_a_terminal_obeys_nothing(text):
    line = str(UserError(text))
    assert len(line.splitlines()) <= 1
    line.encode()
    assert not set(line) & set(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x202E]))
    assert len(shown(text)) == len(text)


def test_an_error_of_any_length_shows_its_two_ends():
    line = str(UserError("start " + "x" * 10_000 + " end"))
    assert (line[:5], line[-3:]) == ("start", "end")
    assert len(line) < 2100


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "nul", b"\xff"])
def test_json_that_is_none_is_an_error_of_its_value(text):
    with pytest.raises(ValueError):  # noqa: PT011 - of any text
        parse_json(text)
    assert parse_json(json.dumps({"a": [1, None]})) == {"a": [1, None]}


def test_values_of_other_makers_are_blamed_on_their_file():
    for wrong in (lambda: {}["a"], lambda: 1 / 0, lambda: int("x"), lambda: None.x):
        with pytest.raises(UserError, match=r"log.jsonl holds what condgen does not write"), blamed_on("log.jsonl"):
            wrong()


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "none"):
        for read in (read_bytes, read_picture, lambda path: list(each_line(path))):
            with pytest.raises(OSError):  # noqa: PT011 - whichever it is
                read(tmp_path / name)


def test_no_more_is_read_than_may_be(tmp_path):
    (tmp_path / "text").write_text("été\nlast")
    assert read_text(tmp_path / "text") == "été\nlast"
    assert list(each_line(tmp_path / "text")) == ["été"]
    for read in (read_text, lambda path, most: list(each_line(path, most))):
        with pytest.raises(ValueError, match="more than 9 bytes"):
            read(tmp_path / "text", 9)


def test_a_picture_that_is_none_or_of_too_many_pixels_is_an_error_of_its_file(tmp_path, monkeypatch):
    for content in (b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%EOF\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR"):
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(OSError):  # noqa: PT011 - of any decoder
            read_picture(tmp_path / "x.png")
    write_png(tmp_path / "x.png", Image.new("L", (20, 20), 7))
    assert read_picture(tmp_path / "x.png").getpixel((3, 3)) == 7
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 300)
    with pytest.raises(OSError, match="exceeds limit"):
        read_picture(tmp_path / "x.png")


def test_a_failed_write_keeps_the_old_file_and_says_how_much_was_needed(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("condgen.files.os.fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*file \(3 bytes needed\): No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_only_what_nobody_writes_any_more_is_removed(tmp_path):
    (tmp_path / "deep").mkdir()
    gone, alive = tmp_path / "deep" / f".x.{2**22 + 1}.tmp", tmp_path / f".x.{os.getppid()}.tmp"
    for path in (gone, alive, tmp_path / ".x.tmp", tmp_path / "x"):
        path.touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted([alive.name, ".x.tmp", "x"])

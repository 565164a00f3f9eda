"""Pictures and points that a run names: none from elsewhere, and none that would fill the memory."""

import json
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from condgen.errors import UserError
from condgen.report import build_report, draw_trajectories
from condgen.report.inputs import read_run
from condgen.report.pictures import read_images
from condgen.runs.sample_folder import load_picture


def name_in_manifest(folder, changes, method="ce"):
    """Changes the first line of a manifest."""
    path = folder / "samples" / method / "manifest.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(first) | changes) + "\n" + "".join(others))


def bomb(path, side):
    """A PNG of few bytes that claims to be a square of so many pixels a side."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


@pytest.mark.parametrize("how", ["absolute", "above", "below", "link", ".."])
def test_a_manifest_reaches_no_picture_outside_of_its_folder(how, digits_run, tmp_path):
    folder = digits_run()
    place, private = folder / "samples" / "ce", tmp_path / "private.png"
    Image.fromarray(np.full((8, 8), 77, dtype=np.uint8)).save(private)
    (place / "link.png").symlink_to(private)
    (place / "below").mkdir()
    file = {"absolute": str(private), "above": "../../../private.png", "below": "below/x.png", "link": "link.png"}
    name_in_manifest(folder, {"file": file.get(how, how)})
    with pytest.raises(UserError, match=re.escape(str(place))) as caught:
        build_report(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("side", [10_000, 60_000])  # for which Pillow warns, and which it refuses
def test_a_picture_that_claims_to_be_huge_is_refused(side, digits_run, and_ways, tmp_path):
    bomb(tmp_path / "bomb.png", side)
    with pytest.raises(OSError, match="pixels"):
        load_picture(tmp_path / "bomb.png")
    folder = digits_run()
    bomb(folder / "samples" / "ce" / "00000.png", side)
    with pytest.raises(UserError, match=r"00000\.png.*not a readable image"):
        build_report(folder)
    digits_run()
    and_ways(folder, [str(i) for i in range(10)])
    bomb(folder / "trajectories" / "ce" / "0-x_t.png", side)
    with pytest.raises(UserError, match=r"0-x_t\.png.*not a readable image"):
        build_report(folder)


@pytest.mark.parametrize("label", [5_000_000_000, -1, 10**18])
def test_a_class_that_cannot_be_is_named(label, moons_run, and_ways):
    folder = moons_run()
    and_ways(folder, ["upper", "lower"], points=True)
    path = folder / "trajectories" / "trajectories.json"
    rows = json.loads(path.read_text())["rows"]
    path.write_text(json.dumps({"rows": [rows[0] | {"class": label}, *rows[1:]]}))
    with pytest.raises(UserError, match=r"trajectories\.json, row 0: class"):
        read_run(folder)
    with pytest.raises(UserError, match=r"trajectories\.json, row 0: class"):
        draw_trajectories(folder / "trajectories")
    name_in_manifest(folder, {"class": label})
    with pytest.raises(UserError, match=rf"manifest\.jsonl, line 1: there is no class {label}"):
        read_run(folder)


@pytest.mark.parametrize("point", [[1, "east"], [1], [1, 2, 3], [1e200, 0]])
def test_a_point_that_is_none_is_named(point, moons_run):
    folder = moons_run()
    name_in_manifest(folder, {"x": point})
    with pytest.raises(UserError, match=r"manifest\.jsonl, line 1: x is not a point"):
        read_run(folder)


def test_a_seed_that_is_none_is_not_shown(moons_run):
    folder = moons_run()
    name_in_manifest(folder, {"seed": [1, 2]})
    assert read_run(folder).samples["ce"][0].seed is None


def test_a_picture_with_transparent_colours_is_read(digits_run):
    folder = digits_run()
    sample = read_run(folder).samples["ce"][0]
    Image.new("P", (8, 8), 1).save(sample.file, transparency=b"\xff\x80")  # Pillow warns of it on the way to RGB
    assert read_images([sample])[0].mode == "RGB"


def test_classes_far_apart_are_all_shown(moons_run):
    folder = moons_run()
    name_in_manifest(folder, {"class": 999_999, "name": "far"})
    assert "1 of far" in build_report(folder).read_text()

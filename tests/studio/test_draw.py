"""What a page shows is what the commands write: picture for picture, line for line."""

import base64
import io
import json
import shlex
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from condgen.cli import main
from condgen.errors import UserError
from condgen.runs import read_rows
from condgen.studio import draw
from condgen.studio.draw import FRAMES

FREE = {"score": "told", "guide": "unlabelled", "scale": 1.7}
METHODS = ("unguided", "ce", "calibrated", "own-steps", "one-step")


def unzipped(drawn):
    with zipfile.ZipFile(io.BytesIO(drawn.to_zip())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("method", METHODS)
def test_the_samples_of_a_run_come_again_bit_for_bit(digits_of_few_steps, drawn, method):
    folder = digits_of_few_steps / "samples" / method
    n = 20 if method == "unguided" else 2  # of which a page asks as many in all, and of the others of each class
    files = unzipped(drawn(method, n=n))
    assert set(files) == {path.name for path in folder.glob("*.png")} - {"grid.png"} | {"manifest.jsonl"}
    for name, content in files.items():
        assert content == (folder / name).read_bytes(), name


@pytest.mark.parametrize(
    ("method", "label"),
    [
        ("ce", 3),
        ("one-step", 3),
        ("unguided", None),
        (FREE | {"sampler": "edm", "options": {"gamma": 0.1}, "nfe": 9}, 4),
        ({"guide": "snapshot-3", "scale": 1.7, "sampler": "unipc", "options": {"variant": "bh1"}, "steps": 4}, None),
        ({"classifier": "ce", "scale": 2.5, "interval": (0.1, 3), "sampler": "ddim", "nfe": 4}, 5),
        ({"score": "snapshot-3", "sampler": "adaptive-ode", "options": {"relative": 0.1}}, 1),
    ],
)
def test_the_command_that_is_shown_draws_the_same(drawn, tmp_path, monkeypatch, method, label):
    shown = drawn(method, label, n=3, seed=40)
    words = shlex.split(shown.facts["command"])
    words[words.index("--out") + 1] = str(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["condgen", "--threads", "1", *words[1:]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    files = unzipped(shown)
    manifest = files.pop("manifest.jsonl").decode()
    assert files
    for name, content in files.items():
        assert content == (tmp_path / "out" / name).read_bytes(), name
    rows = [json.loads(line) for line in manifest.splitlines()]
    told = ("file", "class", "name", "seed", "sampler", "evaluations")
    for row, other in zip(rows, read_rows(tmp_path / "out" / "manifest.jsonl"), strict=True):
        assert [row[key] for key in told] == [other[key] for key in told]


@pytest.mark.parametrize("method", ["ce", "calibrated", "own-steps"])
def test_a_trajectory_falls_from_the_greatest_noise_to_the_sample(offer, drawn, method):
    shown = drawn(method)
    way = shown.facts["trajectory"]
    assert way["samples"] == list(range(20))
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(way["sheet"]))))
    assert sheet.shape == (20 * 8, 2 * FRAMES * 8)
    for place, levels in enumerate(way["noise"]):
        assert levels[0] == pytest.approx(20)
        assert levels == sorted(levels, reverse=True)
        assert 2 <= len(levels) <= FRAMES
        last = 2 * (len(levels) - 1) + 1  # the denoised picture of the last frame
        tile = sheet[place * 8 : place * 8 + 8, last * 8 : last * 8 + 8]
        assert np.array_equal(tile, np.asarray(Image.open(io.BytesIO(shown.pictures[place]))))


def test_the_cost_counts_what_a_guide_is_asked(drawn):
    facts = drawn("one-step", 3, n=5).facts
    assert facts["trajectory"] is None
    assert facts["cost"] | {"seconds": 0} == {"samples": 5, "evaluations": 1, "network": 1, "seconds": 0}
    cost = drawn({"score": "told", "guide": "unlabelled", "scale": 2, "nfe": 6}, 3).facts["cost"]
    assert (cost["evaluations"], cost["network"]) == (6, 12)


def test_it_tells_how_far_it_is_and_can_be_stopped(drawn):
    told = []

    def tell(done, expected):
        told.append((done, expected))
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        drawn("ce", 3, tell=tell)
    assert told == [(done, 5) for done in range(4)]
    drawn("ce", 3)  # and nothing of the stopped one is left behind: no hook that would stop this one
    assert len(told) == 4


@pytest.mark.parametrize(
    ("method", "label", "n", "words"),
    [
        ("ce", 10, 1, "there is no class 10"),
        ("ce", None, 26, "at most 250"),
        ("ce", 3, 251, "at most 250"),
        ("unguided", None, 251, "at most 250"),
        ({"classifier": "nobody"}, 3, 1, "nobody"),
        ({"score": "nobody"}, 3, 1, "nobody"),
        ({"generator": "nobody"}, 3, 1, "nobody"),
        ({"guide": "../../etc"}, 3, 1, "../../etc"),
        ({"nfe": 5000}, 3, 1, "nfe: at most"),
        ({"sampler": "restart", "options": {"repeats": 9000}}, 3, 1, "evaluations a sample"),
        ({"classifier": "ce", "scale": 1e30}, 3, 1, "cannot be used"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_line(drawn, method, label, n, words):
    with pytest.raises(UserError, match=words) as caught:
        drawn(method, label, n)
    assert "\n" not in str(caught.value)


def test_of_large_pictures_few_trajectories_are_kept_of_every_class(monkeypatch, drawn):
    monkeypatch.setattr(draw, "_PIXELS", 10 * 2 * FRAMES * 64)
    assert drawn("ce").facts["trajectory"]["samples"] == list(range(0, 20, 2))

"""Samples as a tar, read by the library that it is for."""

import json

import numpy as np
import pytest
import torch
from libraries import library

from condgen.data.labelled import to_uint8
from condgen.errors import UserError
from condgen.export.pack import pack
from condgen.runs.sample_folder import write_samples

NAMES = {0: "ant", 2: "b.e|e"}  # of class 1 there is no sample


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of others' code


def _folder(folder, x, labels, **record):
    folder.mkdir(parents=True)
    rows = [
        {"class": label, "name": NAMES[label], "seed": i, "sampler": "ddim", "scale": "calibrated"}
        for i, label in enumerate(labels)
    ]
    write_samples(folder, range(len(x)), x, rows)
    (folder / "stage.json").write_text(json.dumps({"finished": True, "outputs": []} | record))
    return folder


def _images(n, channels=1):
    return torch.rand(n, channels, 4, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1


LABELS = [0, 0, 2, 2, 2, 0, 2]


def test_webdataset_reads_the_tar(tmp_path):
    webdataset = library("webdataset")
    x = _images(7, 3)
    pack(_folder(tmp_path / "s", x, LABELS), tmp_path / "s.tar")
    read = list(webdataset.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False, empty_check=False).decode("pil"))
    assert [sample["__key__"] for sample in read] == [f"{number:08d}" for number in range(7)]
    assert [sample["cls"] for sample in read] == LABELS
    assert [sample["json"]["name"] for sample in read] == [NAMES[label] for label in LABELS]
    assert [sample["json"]["seed"] for sample in read] == list(range(7))
    pixels = np.stack([np.asarray(sample["png"]) for sample in read])
    assert np.array_equal(pixels, np.moveaxis(to_uint8(x).numpy(), 1, -1))


def test_the_same_samples_make_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        pack(_folder(tmp_path / name, _images(7), LABELS), tmp_path / f"{name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()


def test_what_cannot_be_packed_leaves_no_file(tmp_path):
    gone = _folder(tmp_path / "gone", _images(4), LABELS[:4])
    (gone / "00003.png").unlink()
    stray = _folder(tmp_path / "stray", _images(2), [0, 2])
    (stray / "00001.png").unlink()
    (stray / "00001.png").symlink_to(gone / "00000.png")
    half = _folder(tmp_path / "half", _images(2), [0, 2], finished=False)
    for folder, message in ((gone, "00003.png holds what"), (stray, "outside the folder"), (half, "is not finished")):
        with pytest.raises(UserError, match=message):
            pack(folder, tmp_path / "out" / "s.tar")
        assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
    fine = _folder(tmp_path / "fine", _images(2), [0, 2])
    (tmp_path / "s.tar").write_bytes(b"mine")
    with pytest.raises(UserError, match="exists already"):
        pack(fine, tmp_path / "s.tar")
    assert (tmp_path / "s.tar").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": -1}, "class"),
        ({"class": True}, "class"),
        ({"seed": "three"}, "seed"),
        ({"file": None, "x": [1.0, 2.0]}, "holds no pictures"),
    ],
)
def test_a_manifest_that_is_damaged_is_refused_before_anything_is_written(change, message, tmp_path):
    folder = _folder(tmp_path / "s", _images(3), [0, 2, 0])
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows[1] |= change
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=message):
        pack(folder, tmp_path / "out" / "s.tar")
    assert not (tmp_path / "out").exists()

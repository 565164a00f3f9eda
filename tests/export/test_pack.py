"""Samples as tar and Parquet, read by the libraries that they are for."""

import json
import sys
import tarfile
import warnings

import numpy as np
import pytest
import torch

from condgen.data import to_uint8
from condgen.errors import UserError
from condgen.export import pack
from condgen.recipes import Shard
from condgen.runs import shard_folder
from condgen.runs.sample_folder import write_samples

NAMES = {0: "ant", 2: "b.e|e"}  # of class 1 there is no sample


def _library(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's dependencies
        return pytest.importorskip(name, reason=f"{name} is not installed")


pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning"
)  # of other people's code


def _folder(folder, x, labels, first=0, **record):
    folder.mkdir(parents=True)
    rows = [
        {"class": label, "name": NAMES[label], "seed": first + i, "sampler": "ddim", "scale": "calibrated"}
        for i, label in enumerate(labels)
    ]
    write_samples(folder, range(first, first + len(x)), x, rows)
    (folder / "stage.json").write_text(json.dumps({"finished": True, "outputs": []} | record))
    return folder


def _images(n, channels=1, seed=0):
    return torch.rand(n, channels, 4, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1


LABELS = [0, 0, 2, 2, 2, 0, 2]


def test_datasets_knows_pictures_and_classes_of_parquet(tmp_path):
    datasets = _library("datasets")
    x = _images(7)
    (file,) = pack(_folder(tmp_path / "s", x, LABELS), tmp_path / "s.parquet", "parquet", 100)
    read = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(read.features["image"], datasets.Image)
    assert read.features["label"].names == ["ant", "class 1", "b.e|e"]
    assert read["label"] == LABELS
    assert (list(read["seed"]), set(read["sampler"])) == (list(range(7)), {"ddim"})
    assert json.loads(read[3]["settings"]) == {"scale": "calibrated"}
    pixels = np.stack([np.asarray(row["image"]) for row in read])
    assert np.array_equal(pixels, to_uint8(x).numpy()[:, 0])


def test_webdataset_reads_the_tar(tmp_path):
    webdataset = _library("webdataset")
    x = _images(7, 3)
    (file,) = pack(_folder(tmp_path / "s", x, LABELS), tmp_path / "s.tar", "webdataset", 100)
    read = list(webdataset.WebDataset(str(file), shardshuffle=False, empty_check=False).decode("pil"))
    assert [sample["__key__"] for sample in read] == [f"{number:08d}" for number in range(7)]
    assert [sample["cls"] for sample in read] == LABELS
    assert [sample["json"]["name"] for sample in read] == [NAMES[label] for label in LABELS]
    assert [sample["json"]["seed"] for sample in read] == list(range(7))
    pixels = np.stack([np.asarray(sample["png"]) for sample in read])
    assert np.array_equal(pixels, np.moveaxis(to_uint8(x).numpy(), 1, -1))


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_sets_in_shards_are_one_set_and_make_the_same_bytes(form, tmp_path):
    if form == "parquet":
        _library("pyarrow")
    x = _images(7)
    whole = _folder(tmp_path / "whole", x, LABELS)
    parts = tmp_path / "parts"
    _folder(shard_folder(parts, Shard(number=1, of=2)), x[:3], LABELS[:3], whole="key")
    _folder(shard_folder(parts, Shard(number=2, of=2)), x[3:], LABELS[3:], first=3, whole="key")
    files = [pack(place, tmp_path / place.name / "out.bin", form, 3) for place in (whole, parts)]
    assert [path.name for path in files[1]] == [f"out-{i:05d}-of-00003.bin" for i in range(3)]
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True)] == [True] * 3
    if form == "webdataset":
        counts = [len(tarfile.open(path).getnames()) for path in files[1]]  # noqa: SIM115
        assert counts == [9, 9, 3]
    (parts / "shard-2-of-2" / "stage.json").write_text("{}")
    with pytest.raises(UserError, match="lacks shard 2 of 2, or it is not finished"):
        pack(parts, tmp_path / "more.bin", form, 3)


def test_points_are_columns_of_parquet_and_no_tar(tmp_path):
    datasets = _library("datasets")
    x = torch.tensor([[0.5, -1.25], [3.0, 2.0]])
    folder = _folder(tmp_path / "s", x, [0, 2])
    (file,) = pack(folder, tmp_path / "s.parquet", "parquet", 100)
    read = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert [[row["x0"], row["x1"]] for row in read] == x.tolist()
    with pytest.raises(UserError, match="which have no pictures for a tar"):
        pack(folder, tmp_path / "s.tar", "webdataset", 100)


def test_a_missing_installation_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    folder = _folder(tmp_path / "s", _images(2), [0, 2])
    with pytest.raises(UserError, match=r"pip install 'condgen\[parquet\]'"):
        pack(folder, tmp_path / "s.parquet", "parquet", 100)


def test_what_cannot_be_packed_leaves_no_file(tmp_path):
    gone = _folder(tmp_path / "gone", _images(4), LABELS[:4])
    (gone / "00003.png").unlink()
    stray = _folder(tmp_path / "stray", _images(2), [0, 2])
    (stray / "00001.png").unlink()
    (stray / "00001.png").symlink_to(gone / "00000.png")
    half = _folder(tmp_path / "half", _images(2), [0, 2], finished=False)
    for folder, message in ((gone, "00003.png is missing"), (stray, "outside the folder"), (half, "is not finished")):
        with pytest.raises(UserError, match=message):
            pack(folder, tmp_path / "out" / "s.tar", "webdataset", 2)
        assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
    fine = _folder(tmp_path / "fine", _images(2), [0, 2])
    (tmp_path / "s.tar").write_bytes(b"mine")
    with pytest.raises(UserError, match="exists already"):
        pack(fine, tmp_path / "s.tar", "webdataset", 100)
    assert (tmp_path / "s.tar").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": 5_000_000_000}, "row 1: class"),
        ({"class": -1}, "row 1: class"),
        ({"class": True}, "row 1: class"),
        ({"name": 3}, "row 1: name"),
        ({"seed": "three"}, "row 1: seed"),
        ({"seed": 2**70}, "row 1: seed"),
        ({"file": None, "x": "ab"}, "row 1: x"),
        ({"file": None, "x": [1.0, 2.0]}, "mixes pictures and points"),
        ({"file": None}, "mixes pictures and points"),
    ],
)
def test_a_manifest_that_is_astray_is_said_before_anything_is_written(change, message, tmp_path):
    folder = _folder(tmp_path / "s", _images(3), [0, 2, 0])
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows[1] |= change
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=message):
        pack(folder, tmp_path / "out" / "s.bin", "webdataset", 100)
    assert not (tmp_path / "out").exists()


def test_points_of_one_set_have_one_size(tmp_path):
    folder = _folder(tmp_path / "s", torch.zeros(2, 2), [0, 2])
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows[1]["x"] = [1.0]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="points of several sizes"):
        pack(folder, tmp_path / "s.parquet", "parquet", 100)

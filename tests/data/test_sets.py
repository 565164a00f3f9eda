"""The sets that a recipe may name, against the libraries and papers that they come from."""

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_moons

from condgen.data.labelled import LabelledSet, validation_rows
from condgen.data.sets import Digits, Folder, ImportedData, Moons, Torchvision, load, parse_data
from condgen.errors import UserError
from condgen.rng import keyed_generator


def test_names_and_paths_are_told_apart(tmp_path, monkeypatch):
    assert parse_data("digits") == Digits()
    assert parse_data("cifar100") == Torchvision(kind="cifar100")
    assert parse_data("./digits") == Folder(root=Path("digits"))
    assert parse_data("no/such/folder") == Folder(root=Path("no/such/folder"))
    (tmp_path / "flowers").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_data("flowers") == Folder(root=Path("flowers"))
    with pytest.raises(UserError, match="'cifar': did you mean 'cifar10"):
        parse_data("cifar")
    with pytest.raises(UserError, match="known are digits, moons, cifar10"):
        parse_data("")


def test_digits_are_those_of_scikit_learn_each_in_one_split():
    train, test = load(Digits(), "train"), load(Digits(), "test")
    assert (len(train), len(test), train.shape) == (1295, 360, (1, 8, 8))
    assert (train.names, train.source, train.split, test.split) == (tuple("0123456789"), "digits", "train", "test")
    validation = load(Digits(), "validation")
    both = torch.cat([train.x, validation.x, test.x]).flatten(1).numpy()
    labels = torch.cat([train.y, validation.y, test.y]).numpy()
    back = np.round(both.astype(float) * 16 / 255)  # 0..16 as published
    ours = sorted(map(tuple, np.c_[back, labels].astype(int).tolist()))
    theirs = sorted(map(tuple, np.c_[load_digits().data, load_digits().target].astype(int).tolist()))
    assert ours == theirs
    assert both.max() == 255


def test_digits_are_split_in_proportion_and_by_seed():
    test, learnt = load(Digits(), "test"), Digits().read("train")
    share = test.y.bincount() / (learnt.y.bincount() + test.y.bincount())
    assert ((share - 0.2).abs() < 0.01).all()
    assert load(Digits(), "test").fingerprint() == test.fingerprint()
    assert load(Digits(split_seed=1), "test").fingerprint() != test.fingerprint()
    assert len(load(Digits(test_fraction=0.5), "test")) == 899


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9])
def test_validation_is_a_share_of_every_class_that_training_does_not_see(fraction):
    settings = Digits(validation_fraction=fraction)
    whole = settings.read("train")
    train, validation, _ = settings.load_all()
    for split, found in (("train", train), ("validation", validation)):
        assert found.split == split
        assert found.fingerprint() == load(settings, split).fingerprint()  # every time the same
    expected = (whole.y.bincount() * fraction).round().clamp(min=1)
    assert torch.equal(validation.y.bincount().float(), expected)
    parts = torch.cat([torch.cat([part.x.flatten(1), part.y[:, None]], 1) for part in (train, validation)])
    assert sorted(parts.tolist()) == sorted(torch.cat([whole.x.flatten(1), whole.y[:, None]], 1).tolist())
    other = load(Digits(validation_fraction=fraction, split_seed=1), "validation")
    assert other.fingerprint() != validation.fingerprint()


def test_every_class_keeps_a_sample_for_training_and_gives_one_where_it_has_two():
    y = torch.tensor([0, 1, 1, 2, 2, 2, *[3] * 30])
    for fraction in (0.01, 0.1, 0.5, 0.99):
        given = y[validation_rows(y, fraction, keyed_generator(0))].bincount(minlength=4).tolist()
        assert given[:2] == [0, 1]
        assert 1 <= given[2] <= 2
        assert given[3] == min(29, max(1, round(30 * fraction)))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_splits_of_moons_are_different_points_of_one_distribution(noise):
    parts = Moons(n=400, noise=noise).load_all()
    for one, other in itertools.combinations(parts, 2):
        assert torch.cdist(one.x, other.x).min() > (0.05 if noise == 0 else 0)
        for label in (0, 1):
            assert torch.allclose(one.x[one.y == label].mean(0), other.x[other.y == label].mean(0), atol=2.5)


def test_moons_are_the_set_of_the_paper():
    train = load(Moons(), "train")
    x, y = make_moons(10_000, noise=0.0, random_state=1)
    assert np.allclose(train.x.numpy(), (x - x.mean(0)) * 20, atol=1e-5)
    assert np.array_equal(train.y.numpy(), y)
    assert train.x.double().mean(0).abs().max() < 1e-5
    assert train.x[train.y == 0, 1].mean() > train.x[train.y == 1, 1].mean()  # class 0 is the upper one
    assert train.names == ("upper", "lower")


def test_the_moons_test_split_is_a_new_draw_in_the_frame_of_the_train_split():
    test = load(Moons(n=400, noise=0.1, scale=3.0, seed=5), "test")
    centre = make_moons(400, noise=0.1, random_state=5)[0].mean(0)
    assert np.allclose(test.x.numpy(), (make_moons(400, noise=0.1, random_state=6)[0] - centre) * 3, atol=1e-5)


def test_a_missing_archive_is_answered_with_every_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDGEN_DATA", str(tmp_path))
    with pytest.raises(UserError) as error:
        load(parse_data("cifar10"), "train")
    for part in (str(tmp_path), "data.root", "CONDGEN_DATA", "data.download: true", "--set data.download=true"):
        assert part in str(error.value)
    monkeypatch.delenv("CONDGEN_DATA")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"is not in .*/data,"):
        load(parse_data("cifar10"), "train")


@pytest.mark.parametrize(
    ("kind", "folder", "files"),
    [
        ("cifar10", "cifar-10-batches-py", [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]),
        ("cifar100", "cifar-100-python", ["train", "test", "meta"]),
    ],
)
def test_a_pickle_in_the_place_of_an_archive_is_not_opened(tmp_path, kind, folder, files):
    class Planted:
        def __reduce__(self):
            return (tmp_path / "canary").touch, ()

    (tmp_path / folder).mkdir()
    for file in files:
        (tmp_path / folder / file).write_bytes(pickle.dumps(Planted()))
    with pytest.raises(UserError, match="its files are damaged"):
        load(Torchvision(kind=kind, root=tmp_path), "train")
    assert not (tmp_path / "canary").exists()


LABELS = [3, 0, 9, 1]


class Archive:
    """What a data set of torchvision holds: images of its own layout, and labels by its own name."""

    def __init__(self, root, download, *, train=None, split=None):
        self.split = split or ("train" if train else "test")
        self.data = torch.arange(4 * 3 * 8 * 8).remainder(256).to(torch.uint8).reshape(4, *self.layout)
        setattr(self, self.labels_are, LABELS)


@pytest.mark.parametrize(
    ("kind", "name", "layout", "labels_are", "channels"),
    [
        ("cifar10", "CIFAR10", (8, 8, 3), "targets", 3),
        ("fashion-mnist", "FashionMNIST", (16, 12), "targets", 1),
        ("svhn", "SVHN", (3, 8, 8), "labels", 3),
        ("stl10", "STL10", (3, 8, 8), "labels", 3),
    ],
)
def test_sets_of_torchvision_are_images_by_channel(kind, name, layout, labels_are, channels, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=f"{kind} is not in "):
        load(Torchvision(kind=kind, root=tmp_path), "train")
    archive = type(name, (Archive,), {"layout": layout, "labels_are": labels_are})
    monkeypatch.setattr(f"torchvision.datasets.{name}", archive)
    for split in ("train", "test"):
        data = load(Torchvision(kind=kind, root=tmp_path), split)
        found = archive(tmp_path, False, split=split).data
        expected = found.permute(0, 3, 1, 2) if layout[-1] == 3 else found.reshape(4, channels, *layout[-2:])
        assert torch.equal(data.x, expected)
        assert (data.y.tolist(), data.n_classes, data.source, data.split) == (LABELS, 10, kind, split)


@pytest.mark.cifar
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_is_the_published_set(classes):
    test = load(parse_data(f"cifar{classes}"), "test")
    assert (len(test), test.shape, test.n_classes) == (10_000, (3, 32, 32), classes)
    assert (test.y.bincount() == 10_000 // classes).all()
    if classes == 10:
        assert (test.names[0], test.names[9]) == ("airplane", "truck")
        # The mean colour of the test images, as widely tabulated for normalisation.
        means = test.floats().mean((0, 2, 3)) / 2 + 0.5
        assert torch.allclose(means, torch.tensor([0.4942, 0.4851, 0.4504]), atol=1e-4)


SOURCE = """
import numpy as np

def points(split, n=4):
    x = np.arange(2 * n, dtype=np.float32).reshape(n, 2) + (split == "test")
    return x, np.arange(n) % 2, ["a", 1]

def unlabelled(split):
    return np.zeros((3, 2))

def of_doubles(split):
    return np.zeros((2, 2)), [0, 1], ["a", "b"]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_data.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)


def test_data_of_ones_own_are_what_its_function_returns(own):
    train, validation, test = ImportedData(target="my_data:points", options={"n": 6}).load_all()
    assert isinstance(train, LabelledSet)
    assert (train.shape, len(train), len(validation), train.names) == ((2,), 4, 2, ("a", "1"))
    assert torch.equal(test.x, torch.cat([train.x, validation.x]).sort(0).values + 1)
    for name in ("unlabelled", "of_doubles"):
        with pytest.raises(UserError, match=f"my_data:{name} does not return samples, labels and names"):
            load(ImportedData(target=f"my_data:{name}"), "train")

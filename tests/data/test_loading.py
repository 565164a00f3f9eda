"""The built-in sets, against the libraries and papers that they come from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_moons

from condgen.data import Cifar10, Cifar100, Digits, Moons, load
from condgen.errors import UserError


def test_digits_are_those_of_scikit_learn_each_in_one_split():
    train, test = load(Digits(), "train"), load(Digits(), "test")
    assert (len(train), len(test), train.shape) == (1437, 360, (1, 8, 8))
    assert (train.names, train.source, train.split, test.split) == (tuple("0123456789"), "digits", "train", "test")
    both = torch.cat([train.x, test.x]).flatten(1).numpy()
    labels = torch.cat([train.y, test.y]).numpy()
    back = np.round(both.astype(float) * 16 / 255)  # 0..16 as published
    ours = sorted(map(tuple, np.c_[back, labels].astype(int).tolist()))
    theirs = sorted(map(tuple, np.c_[load_digits().data, load_digits().target].astype(int).tolist()))
    assert ours == theirs
    assert both.max() == 255


def test_digits_are_split_in_proportion_and_by_seed():
    test = load(Digits(), "test")
    share = test.y.bincount() / (load(Digits(), "train").y.bincount() + test.y.bincount())
    assert ((share - 0.2).abs() < 0.01).all()
    assert load(Digits(), "test").fingerprint() == test.fingerprint()
    assert load(Digits(split_seed=1), "test").fingerprint() != test.fingerprint()
    assert len(load(Digits(test_fraction=0.5), "test")) == 899


def test_moons_are_the_set_of_the_paper():
    train = load(Moons(), "train")
    x, y = make_moons(10_000, noise=0.0, random_state=1)
    assert np.allclose(train.x.numpy(), (x - x.mean(0)) * 20, atol=1e-5)
    assert np.array_equal(train.y.numpy(), y)
    assert train.x.double().mean(0).abs().max() < 1e-5
    assert train.x[train.y == 0, 1].mean() > train.x[train.y == 1, 1].mean()  # class 0 is the upper one
    assert train.names == ("upper", "lower")


def test_the_moons_test_split_is_a_new_draw_in_the_frame_of_the_train_split():
    settings = Moons(n=400, noise=0.1, scale=3.0, seed=5)
    test = load(settings, "test")
    centre = make_moons(400, noise=0.1, random_state=5)[0].mean(0)
    assert np.allclose(test.x.numpy(), (make_moons(400, noise=0.1, random_state=6)[0] - centre) * 3, atol=1e-5)


@pytest.mark.parametrize(("settings", "folder"), [(Cifar10(), "cifar-10-batches-py"), (Cifar100(), "cifar-100-python")])
def test_missing_cifar_is_answered_with_both_ways_to_get_it(settings, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CONDGEN_DATA", str(tmp_path))
    with pytest.raises(UserError) as error:
        load(settings, "train")
    for part in (str(tmp_path), folder, "data.root", "CONDGEN_DATA", "data.download: true", "--download"):
        assert part in str(error.value)
    monkeypatch.delenv("CONDGEN_DATA")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is not in data:"):
        load(settings, "train")
    with pytest.raises(UserError, match="is not in elsewhere:"):
        load(settings.model_copy(update={"root": Path("elsewhere")}), "train")


def test_a_corrupt_archive_is_named_in_one_line(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"not a pickle")
    with pytest.raises(UserError, match=r"cifar-10-batches-py are incomplete or corrupt; remove") as error:
        load(Cifar10(root=tmp_path), "train")
    assert "\n" not in str(error.value)


def test_a_download_that_fails_is_named_in_one_line(tmp_path, monkeypatch):
    def unreachable(self):
        raise OSError("no route\nto host")

    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", unreachable)
    with pytest.raises(UserError, match=r"could not be downloaded to .*: no route to host; try again"):
        load(Cifar10(root=tmp_path, download=True), "train")


@pytest.mark.cifar
@pytest.mark.parametrize(("settings", "classes"), [(Cifar10(), 10), (Cifar100(), 100)])
def test_cifar_is_the_published_set(settings, classes):
    test = load(settings, "test")
    assert (len(test), test.shape, test.n_classes) == (10_000, (3, 32, 32), classes)
    assert (test.y.bincount() == 10_000 // classes).all()
    if classes == 10:
        assert (test.names[0], test.names[9]) == ("airplane", "truck")
        # The mean colour of the test images, as widely tabulated for normalisation.
        means = torch.cat([chunk.mean((2, 3)) for chunk in test.chunks()]).mean(0) / 2 + 0.5
        assert torch.allclose(means, torch.tensor([0.4942, 0.4851, 0.4504]), atol=1e-4)

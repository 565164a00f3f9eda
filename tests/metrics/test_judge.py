"""The judge knows the classes of real samples, and is the same every time."""

import pytest
import torch
from sklearn.svm import SVC

from condgen.data import Digits, LabelledSet, Moons, load
from condgen.metrics import Judge
from condgen.rng import keyed_generator


@pytest.fixture(scope="module")
def digits():
    return load(Digits(), "train"), load(Digits(), "test")


def test_the_judge_of_digits_is_the_stated_machine(digits):
    train, test = digits
    judge = Judge.fit(train, test)
    machine = SVC(kernel="rbf", C=10, gamma="scale").fit(train.floats().flatten(1).double().numpy(), train.y.numpy())
    expected = torch.from_numpy(machine.predict(test.floats().flatten(1).double().numpy()))
    assert judge.name == "SVC on pixels"
    assert torch.equal(judge.predict(test.floats()), expected)
    assert judge.held_out_accuracy == pytest.approx((expected == test.y).double().mean().item())
    assert judge.held_out_accuracy > 0.98


def test_shuffled_labels_leave_only_chance(digits):
    train, test = digits
    shuffled = train.y[torch.randperm(len(train), generator=keyed_generator(0))]
    judge = Judge.fit(LabelledSet(train.x, shuffled, train.names, "shuffled", "train"), test)
    assert judge.held_out_accuracy < 0.25


def test_a_large_set_is_drawn_from_and_the_name_says_so(monkeypatch):
    monkeypatch.setattr("condgen.metrics.judge.Judge.most", 60)
    train, test = load(Moons(n=500, noise=0.05), "train"), load(Moons(n=500, noise=0.05), "test")
    first, second = Judge.fit(train, test), Judge.fit(train, test)
    assert first.name == "SVC on coordinates, 60 training samples"
    assert first.machine.shape_fit_ == (60, 2)
    assert first.held_out_accuracy > 0.9
    assert torch.equal(first.predict(test.floats()), second.predict(test.floats()))

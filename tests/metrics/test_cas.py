"""The network that learns from samples: it learns, repeats itself, and moves images without tearing them."""

import pytest
import torch
from finish import finish

from condgen.data.sets import Digits, load
from condgen.metrics import cas
from condgen.rng import keyed_generator


@pytest.fixture
def digits(monkeypatch):
    monkeypatch.setattr(cas, "_DEPTH", 8)
    monkeypatch.setattr(cas, "_BATCH", 64)
    train = load(Digits(), "train")
    return train.floats()[:400], train.y[:400], load(Digits(), "test")


def accuracy(*arguments, **settings):
    return finish(cas.network_accuracy(*arguments, **settings))


def test_real_digits_teach_and_shuffled_labels_do_not(digits):
    x, y, test = digits
    taught, seen = accuracy(x, y, test, 40, 0, "digits")
    assert taught > 0.8
    assert [(step.done, step.total) for step in seen] == [(10 * i, 40) for i in range(4)]
    shuffled = y[torch.randperm(400, generator=keyed_generator(0))]
    assert accuracy(x, shuffled, test, 20, 0, "digits")[0] < 0.35


def test_it_repeats_itself_and_leaves_the_global_stream_alone(digits):
    x, y, test = digits
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    found = accuracy(x[:20], y[:20], test, 12, 0, "digits")[0]
    assert torch.equal(torch.rand(()), expected)
    assert accuracy(x[:20], y[:20], test, 12, 0, "digits")[0] == found


def test_moves_are_of_whole_images_and_at_most_an_eighth():
    x = torch.arange(64.0).reshape(1, 1, 8, 8).expand(200, -1, -1, -1)
    centres = cas._moved(x, keyed_generator(0), flip=False)[:, 0, 3:5, 3:5] - x[:, 0, 3:5, 3:5]
    assert (centres == centres[:, :1, :1]).all()  # rigid
    assert sorted(centres[:, 0, 0].unique().tolist()) == [8 * a + b for a in (-1, 0, 1) for b in (-1, 0, 1)]
    flipped = cas._moved(x, keyed_generator(0), flip=True)
    left_to_right = flipped[:, 0, 4, 4] - flipped[:, 0, 4, 3]
    assert set(left_to_right.tolist()) == {1.0, -1.0}
    assert 60 < int((left_to_right < 0).sum()) < 140

"""What holds for every labelled set, whatever its source."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from condgen.data.labelled import LabelledSet, class_index, stratified_order, to_uint8
from condgen.errors import UserError
from condgen.rng import keyed_generator


def images(n=6, names=("cat", "Dog", "2")):
    x = torch.randint(256, (n, 3, 4, 5), dtype=torch.uint8, generator=keyed_generator(0))
    return LabelledSet(x, torch.arange(n) % len(names), names, "pets", "train")


def points(n=6):
    x = torch.randn(n, 2, generator=keyed_generator(1))
    return LabelledSet(x, torch.arange(n) % 2, ("a", "b"), "plane", "test")


def test_floats_of_images_span_minus_one_to_one_and_to_uint8_inverts_them():
    x = torch.arange(256, dtype=torch.uint8).reshape(2, 2, 8, 8)
    data = LabelledSet(x, torch.tensor([0, 1]), ("a", "b"), "all bytes", "train")
    assert data.floats().dtype == torch.float32
    assert (data.floats().min(), data.floats().max()) == (-1, 1)
    assert torch.equal(to_uint8(data.floats()), x)
    assert torch.equal(data.floats(torch.tensor([1])), data.floats()[1:])
    assert (data.shape, data.n_classes, data.is_images, points().is_images) == ((2, 8, 8), 2, True, False)


def test_to_uint8_clamps_rounds_and_refuses_what_is_not_finite():
    assert to_uint8(torch.tensor([-7.0, 7.0, 0.999 / 127.5 - 1])).tolist() == [0, 255, 1]
    for broken in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            to_uint8(torch.tensor([0.0, broken]))


@pytest.mark.parametrize("data", [images(), points()], ids=["images", "points"])
def test_standard_deviation_is_that_of_the_centred_floats(data, monkeypatch):
    monkeypatch.setattr("condgen.data.labelled._CHUNK", 130)
    x = data.floats().double().numpy()
    assert data.standard_deviation() == pytest.approx(np.sqrt(((x - x.mean(0)) ** 2).mean()), rel=1e-7)


def test_the_fingerprint_sees_samples_labels_and_names_and_nothing_else():
    base = images()
    assert base.fingerprint() == images().fingerprint()
    assert len(base.fingerprint()) == 16
    changed = base.x.clone()
    changed[3, 2, 1, 0] ^= 1
    others = [
        LabelledSet(changed, base.y, base.names, "pets", "train"),
        LabelledSet(base.x, base.y.flip(0), base.names, "pets", "train"),
        LabelledSet(base.x, base.y, ("cat", "dog", "2"), "pets", "train"),
        LabelledSet(base.x.reshape(6, 3, 5, 4), base.y, base.names, "pets", "train"),
    ]
    assert len({data.fingerprint() for data in [base, *others]}) == 5
    assert LabelledSet(base.x, base.y, base.names, "renamed", "test").fingerprint() == base.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": torch.tensor([0, 1])}, r"plane \(test\): 6 samples have labels of shape \(2,\)"),
        ({"y": torch.tensor([0, 1, 2, 0, 1, 0])}, "label 2 is outside 0 to 1"),
        ({"y": torch.tensor([0, 1, -1, 0, 1, 0])}, "label -1 is outside 0 to 1"),
        ({"y": torch.zeros(6, dtype=torch.int64)}, "at least 2 classes are needed, and its 6 samples have 1"),
        ({"x": torch.full((6, 2), torch.nan)}, "6 of 6 points are NaN or infinite"),
    ],
)
def test_a_set_that_does_not_hold_together_is_refused(change, message):
    fields = {"x": points().x, "y": points().y, "names": ("a", "b"), "source": "plane", "split": "test"}
    with pytest.raises(UserError, match=message):
        LabelledSet(**(fields | change))


def test_other_dtypes_are_programming_errors():
    with pytest.raises(ValueError, match=r"uint8 .* or float32"):
        LabelledSet(points().x.double(), points().y, ("a", "b"), "plane", "train")


def test_class_index_prefers_the_name_then_any_case_then_the_number():
    assert [class_index(("cat", "Dog", "2"), text) for text in ("cat", "DOG", "2", "0", "1")] == [0, 1, 2, 0, 1]
    assert [class_index(("1", "2", "3"), text) for text in ("1", "3", "0")] == [0, 2, 0]


def test_an_unknown_class_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"no class 'dgo': did you mean 'Dog'\? the classes are cat, Dog, 2, or"):
        class_index(("cat", "Dog", "2"), "dgo")
    with pytest.raises(UserError, match=r"no class '3': the classes are"):
        class_index(("cat", "Dog", "2"), "3")
    with pytest.raises(UserError, match=r"class 19, \.\.\., or the numbers 0 to 29"):
        class_index([f"class {i}" for i in range(30)], "zebra")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 1000), st.data())
def test_every_prefix_of_the_stratified_order_is_in_proportion(sizes, seed, data):
    y = torch.cat([torch.full((m,), label) for label, m in enumerate(sizes)])
    order = stratified_order(y, keyed_generator(seed))
    assert order.sort().values.tolist() == list(range(len(y)))
    prefix = y[order[: data.draw(st.integers(0, len(y)))]]
    # Of each class there are floor(m p) or ceil(m p) for one and the same place p in [0, 1].
    low = max((int((prefix == label).sum()) - 1) / m for label, m in enumerate(sizes))
    assert low <= min((int((prefix == label).sum()) + 1) / m for label, m in enumerate(sizes))


def test_the_stratified_order_is_random_inside_a_class_and_repeatable():
    y = torch.zeros(100, dtype=torch.int64)
    first, second = (stratified_order(y, keyed_generator(seed)) for seed in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(100))
    assert torch.equal(first, stratified_order(y, keyed_generator(0)))


def test_some_samples_are_in_proportion_to_the_classes():
    whole = images(30)
    some = whole.at_most(12, keyed_generator(3))
    assert torch.bincount(some.y).tolist() == [4, 4, 4]
    rows = {(row.tobytes(), int(label)) for row, label in zip(whole.x.numpy(), whole.y, strict=True)}
    assert all((row.tobytes(), int(label)) in rows for row, label in zip(some.x.numpy(), some.y, strict=True))
    assert whole.at_most(30, keyed_generator(3)) is whole
    assert whole.at_most(None, keyed_generator(3)) is whole


def test_so_many_samples_of_every_class_are_chosen_at_random_and_stay_in_order(tiny_images):
    few = tiny_images.per_class(4, torch.Generator().manual_seed(0))
    assert few.y.bincount().tolist() == [4, 4, 4]
    places = [int((tiny_images.x == image).flatten(1).all(1).nonzero()) for image in few.x]
    assert places == sorted(places)
    assert torch.equal(tiny_images.y[places], few.y)
    assert not torch.equal(few.x, tiny_images.per_class(4, torch.Generator().manual_seed(1)).x)
    assert len(tiny_images.per_class(1000, torch.Generator())) == 60
    assert tiny_images.per_class(None, torch.Generator()) is tiny_images

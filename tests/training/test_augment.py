"""What augmentation may do to images, and to whose."""

import pytest
import torch

from condgen.data import LabelledSet
from condgen.generator import GeneratorConfig
from condgen.losses import Critic, ScoreMismatching
from condgen.networks import MLPSettings
from condgen.training import Augmentation, Batch, TrainingSettings
from condgen.training.augment import augment, draw_augmentation
from condgen.training.generator_tasks import MismatchingTask

NET = MLPSettings(width=16, depth=1, embedding=8)
SIZE = 600


def images():
    x = torch.randint(256, (SIZE, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return LabelledSet(x, torch.arange(SIZE) % 2, ("a", "b"), "noise", "train")


DATA = images()


def batch(step=0, seed=0):
    """The same draws at every call."""
    return Batch(DATA, TrainingSettings(steps=9, batch=SIZE), seed, step)


def changed(settings, x, here=None):
    """Images as a batch's draws have them."""
    return augment(x, draw_augmentation(settings, here or batch()))


X = batch().x
MOVES = ("shift", "turn", "zoom", "brightness")


def only(move, greatest, probability=0.8):
    return Augmentation(probability=probability, **(dict.fromkeys(MOVES, 0.0) | {move: greatest}))


def test_probability_zero_is_the_identity_and_draws_nothing():
    here = batch()
    assert changed(Augmentation(), X, here) is X
    assert torch.equal(here.uniform(), batch().uniform())


@pytest.mark.parametrize("side", [8, 13])  # resampling at rest is exact at powers of two alone
def test_images_to_which_nothing_happens_keep_every_bit(side):
    """Five transformations, each by its own chance: none of them with probability (1 - p)^5."""
    x = torch.rand(SIZE, 1, side, side, generator=torch.Generator().manual_seed(1))
    found = changed(Augmentation(probability=0.2), x)
    same = (found == x).flatten(1).all(1).double().mean()
    assert float(same) == pytest.approx(0.8**5, abs=0.06)  # three standard errors


@pytest.mark.parametrize(("move", "greatest"), [("shift", 0.3), ("turn", 90.0), ("zoom", 1.0), ("brightness", 0.5)])
def test_each_transformation_happens_with_its_probability(move, greatest):
    found = changed(only(move, greatest, 0.3), X)
    moved = float((found != X).flatten(1).any(1).double().mean())
    expected = 1 - 0.7**2 if move == "shift" else 0.3  # a shift has two axes
    assert moved == pytest.approx(expected, abs=0.06)


def test_brightness_alone_adds_one_number_within_its_limit():
    added = (changed(only("brightness", 0.2), X) - X).flatten(1)
    torch.testing.assert_close(added, added.mean(1, keepdim=True).expand_as(added), rtol=0, atol=1e-6)
    assert 0.15 < float(added.abs().max()) <= 0.2 + 1e-6
    assert float(added.mean()) == pytest.approx(0, abs=0.02)


def test_geometry_keeps_the_range_of_pixels_and_a_plain_image_plain():
    settings = Augmentation(probability=0.8, shift=0.3, turn=90.0, zoom=1.0, brightness=0.0)
    moved = changed(settings, X)
    assert float(moved.abs().max()) <= 1 + 1e-6  # reflection at the edge, and no overshoot
    plain = torch.full_like(X, 0.3)
    torch.testing.assert_close(changed(settings, plain), plain)


def test_a_shift_moves_a_ramp_by_no_more_than_its_limit():
    ramp = torch.linspace(0, 7, 8).expand(SIZE, 1, 8, 8).contiguous()
    moved = changed(only("shift", 0.25), ramp)
    by = (moved - ramp)[:, 0, :, 3:5].flatten(1)  # in the middle, where nothing is reflected
    torch.testing.assert_close(by, by.mean(1, keepdim=True).expand_as(by), rtol=0, atol=1e-5)
    assert 1.8 < float(by.abs().max()) <= 0.25 * 8 + 1e-5


def test_a_zoom_of_one_doubles_the_size():
    square = torch.zeros(1, 1, 16, 16)
    square[..., 6:10, 6:10] = 1
    larger = augment(square, torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0]]))
    assert float(larger.sum()) == pytest.approx(4 * float(square.sum()), rel=0.1)


def test_it_is_differentiable_in_the_image():
    settings, draws = Augmentation(probability=0.7), torch.Generator().manual_seed(1)
    x = X.double().requires_grad_()
    direction, weight = torch.randn(2, *X.shape, generator=draws, dtype=torch.float64)
    out = changed(settings, x)
    (gradient,) = torch.autograd.grad((weight * out).sum(), x)
    with torch.no_grad():  # every transformation is affine in the image, so that a difference is exact
        difference = changed(settings, x + direction) - out
    torch.testing.assert_close((gradient * direction).sum(), (weight * difference).sum())
    assert not torch.equal(gradient, weight)  # it is no identity


def test_points_stay_as_they_are():
    points = LabelledSet(torch.randn(SIZE, 2), torch.arange(SIZE) % 2, ("a", "b"), "points", "train")
    here = Batch(points, TrainingSettings(steps=9, batch=SIZE, flip=True), 0, 0)
    assert changed(Augmentation(probability=0.8), here.x, here) is here.x
    assert torch.equal(here.x, Batch(points, TrainingSettings(steps=9, batch=SIZE), 0, 0).x)


def test_generated_and_real_images_are_augmented_each_in_its_own_way():
    torch.manual_seed(0)
    model = GeneratorConfig(network=NET, shape=DATA.shape, names=DATA.names, latent=4).build()
    critic = Critic(NET, DATA.shape, 2, (0.1,))
    learner = MismatchingTask(
        model, critic, ScoreMismatching(network=NET, critic_steps=1), augmentation=Augmentation(probability=0.5)
    )
    shown = []

    def apply(part, losses, *rows):
        if part == "critic":
            shown.extend(rows)
        return {name: value.mean() for name, value in losses(*rows).items()}

    learner.update(batch(), apply)
    x, _, _, moves, moves_real = shown[:5]
    assert torch.equal(x, X)  # nothing is done to them before they are cut into parts
    for draws in (moves, moves_real):
        assert draws.shape == (SIZE, 5)
        assert 0.4 < float((draws != 0).double().mean()) < 0.6
    assert not torch.equal(moves, moves_real)

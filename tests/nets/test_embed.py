import math

import pytest
import torch

from condgen.nets.embed import ClassEmbedding, Conditioning, FiLM, NoiseEmbedding, initialise_

LEVELS = torch.arange(-1.6, 1.1001, 0.05, dtype=torch.float64)


def features(noise):
    return NoiseEmbedding(8).double().features(noise)


def test_features_have_unit_mean_square():
    torch.testing.assert_close(features(LEVELS).square().mean(dim=1), torch.ones_like(LEVELS))


def test_neighbouring_levels_differ_and_no_two_levels_look_alike():
    relative = torch.cdist(features(LEVELS), features(LEVELS)) / math.sqrt(32)
    assert relative[0, 1] > 0.3
    assert (relative + torch.eye(len(LEVELS))).min() >= relative[0, 1] - 1e-9  # the nearest are the neighbours


def test_features_do_not_alias_between_neighbours():
    """From one level to the next the distance only grows: no frequency turns by more than half a circle."""
    c = torch.linspace(0, 0.05, 21, dtype=torch.float64)
    distance = (features(c) - features(c[:1])).norm(dim=1)
    assert (distance.diff() > 0).all()


def test_the_embedding_tells_levels_apart():
    torch.manual_seed(0)
    embedded = NoiseEmbedding(64).double()(LEVELS)
    assert embedded.shape == (len(LEVELS), 64)
    assert embedded.diff(dim=0).norm(dim=1).min() > 0.1


def test_fixed_frequencies_are_not_saved():
    assert all("frequencies" not in name for name in NoiseEmbedding(8).state_dict())


def test_class_embedding_looks_rows_up():
    embedding = ClassEmbedding(3, 4, null=True)
    y = torch.tensor([2, 0, 3])
    assert torch.equal(embedding(y), embedding.table.weight[y])
    assert torch.equal(embedding(None), embedding.table.weight[3])


def test_class_embedding_without_null_label_insists_on_labels():
    embedding = ClassEmbedding(3, 4)
    assert embedding.table.weight.shape == (3, 4)
    with pytest.raises(ValueError, match="no null label"):
        embedding(None)


def test_conditioning_adds_noise_and_class():
    conditioning = Conditioning(8, n_classes=3)
    noise, y = torch.tensor([0.1, -0.4]), torch.tensor([1, 2])
    expected = torch.nn.functional.silu(conditioning.noise(noise) + conditioning.label.table.weight[y])
    torch.testing.assert_close(conditioning(noise, y), expected)


@pytest.mark.parametrize("size", [(), (5,), (4, 3)])
def test_film_scales_and_shifts_channels(size):
    film = FiLM(2, 3)
    e = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    h = torch.randn(2, 3, *size)
    with torch.no_grad():
        film.linear.weight.copy_(torch.arange(12.0).reshape(6, 2))
    for i in range(2):
        for c in range(3):
            scale, shift = 1 + film.linear.weight[c] @ e[i], film.linear.weight[3 + c] @ e[i]
            torch.testing.assert_close(film(h, e)[i, c], scale * h[i, c] + shift)


def test_film_starts_near_the_identity():
    torch.manual_seed(0)
    h = torch.randn(64, 32)
    change = FiLM(16, 32)(h, torch.randn(64, 16).sigmoid()) - h
    assert 0.05 < change.std() < 1


@pytest.mark.parametrize("layer", [torch.nn.Linear(400, 300), torch.nn.Conv2d(50, 200, 3)])
@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_initial_weights_keep_the_variance_up_to_the_gain(layer, gain):
    torch.manual_seed(0)
    assert initialise_(layer, gain) is layer
    fan_in = layer.weight[0].numel()
    assert layer.weight.std().item() == pytest.approx(gain / math.sqrt(fan_in), rel=0.02)
    assert not layer.bias.any()

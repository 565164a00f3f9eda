import math

import pytest
import torch
from scipy import stats

from condgen import MLPSettings, UNetSettings
from condgen.networks.embedding import FiLM, NoiseEmbedding, initialise_, random_frequencies, start_from

LEVELS = torch.arange(-1.6, 1.1001, 0.05, dtype=torch.float64)


def features(noise):
    return NoiseEmbedding(8).double().features(noise)


def test_features_have_unit_mean_square():
    torch.testing.assert_close(features(LEVELS).square().mean(dim=1), torch.ones_like(LEVELS))


def test_neighbouring_levels_differ_and_no_two_levels_look_alike():
    relative = torch.cdist(features(LEVELS), features(LEVELS)) / math.sqrt(32)
    assert relative[0, 1] > 0.3
    assert (relative + torch.eye(len(LEVELS))).min() >= relative[0, 1] - 1e-9  # the nearest are the neighbours


def test_random_frequencies_are_normal_saved_and_in_turns_per_unit_of_log_noise():
    torch.manual_seed(0)
    embedding = NoiseEmbedding(8, random_frequencies(16.0, 4000))
    assert "frequencies" in embedding.state_dict()
    turns = embedding.frequencies / (8 * math.pi)  # one unit of noise is four of its logarithm
    assert turns.std().item() == pytest.approx(16, rel=0.03)
    assert turns.mean().abs() < 1
    assert stats.kstest(turns.numpy() / 16, "norm").pvalue > 0.01
    torch.testing.assert_close(embedding.features(torch.zeros(2)).square().mean(1), torch.ones(2))
    phase = 2 * math.pi * turns[:5] * 0.3
    found = embedding.features(torch.tensor([0.3 / 4]))[0]
    torch.testing.assert_close(found[:5], math.sqrt(2) * phase.cos(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found[4000:4005], math.sqrt(2) * phase.sin(), rtol=0, atol=1e-4)


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


@pytest.mark.parametrize("layer", [torch.nn.Linear(400, 300), torch.nn.Conv2d(50, 200, 3)])
@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_initial_weights_keep_the_variance_up_to_the_gain(layer, gain):
    torch.manual_seed(0)
    assert initialise_(layer, gain) is layer
    fan_in = layer.weight[0].numel()
    assert layer.weight.std().item() == pytest.approx(gain / math.sqrt(fan_in), rel=0.02)
    assert not layer.bias.any()


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (MLPSettings(width=16, depth=2, embedding=8), (6,)),
        (UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(4,), fourier_scale=4.0), (1, 8, 8)),
    ],
    ids=["mlp", "unet"],
)
def test_a_network_started_from_one_without_labels_keeps_its_own_rows_and_is_else_that_one(settings, shape):
    torch.manual_seed(0)
    plain, told = settings.build_denoiser(shape, None), settings.build_denoiser(shape, 3)
    x, noise = torch.randn(4, *shape), torch.linspace(-1, 1, 4)
    y = torch.tensor([0, 1, 2, 3])  # the last is "no label"
    rows = told.conditioning.label.table.weight.detach().clone()
    start_from(told, plain.state_dict())
    assert torch.equal(told.conditioning.label.table.weight, rows)
    assert not torch.allclose(told(x, noise, y), told(x, noise, y.flip(0)))  # classes differ from the first step on
    with torch.no_grad():
        told.conditioning.label.table.weight.zero_()
    for labels in (y, y.flip(0), None):
        assert torch.equal(told(x, noise, labels), plain(x, noise))
    told(x, noise, y).square().sum().backward()
    (table,) = (p for name, p in told.named_parameters() if "table" in name)
    assert bool((table.grad.abs().sum(1) > 0).all())  # labels can be learnt from here
    with torch.no_grad():
        moved = [p.add_(1) for name, p in told.named_parameters() if "table" not in name]
    pairs = zip(moved, plain.parameters(), strict=True)
    assert all(not torch.equal(one, other) for one, other in pairs)  # weights are copied, not shared


@pytest.mark.parametrize("changes", [{"width": 24}, {"depth": 1}, {"embedding": 4}], ids=repr)
def test_weights_of_another_architecture_are_refused(changes):
    settings = {"width": 16, "depth": 2, "embedding": 8}
    pupil = MLPSettings(**settings).build_denoiser((6,), 3)
    other = MLPSettings(**(settings | changes)).build_denoiser((6,), None)
    with pytest.raises(RuntimeError, match="state_dict"):
        start_from(pupil, other.state_dict())

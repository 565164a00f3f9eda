import numpy as np
import pytest
import torch
from torch import nn

from condgen.networks.discriminator import ConvDiscriminatorSettings, MLPDiscriminatorSettings

MLP = MLPDiscriminatorSettings(width=16, depth=2)
CONV = ConvDiscriminatorSettings(channels=(8, 8, 12), halvings=2)
CASES = {"points": (MLP, (2,)), "tiny": (MLP, (2, 4, 4)), "conv": (CONV, (2, 8, 8))}
each = pytest.mark.parametrize(("settings", "shape"), CASES.values(), ids=CASES.keys())
NOISE = torch.linspace(-1.6, 1.1, 8)


def discriminator(settings, shape, told_noise=False, seed=0):
    torch.manual_seed(seed)
    return settings.build_discriminator(shape, told_noise=told_noise)


def data(shape, size=8):
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(1))


@each
@pytest.mark.parametrize("told", [False, True])
def test_every_weight_has_spectral_norm_one_also_after_steps(settings, shape, told):
    net, x = discriminator(settings, shape, told), data(shape)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        (net(x, NOISE) - torch.linspace(-1, 1, 8)).square().mean().backward()
        optimizer.step()
    for _ in range(20):  # the power iteration catches up with the last step
        net(x, NOISE)
    layers = {name: m for name, m in net.eval().named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    norms = {name: float(torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2)) for name, m in layers.items()}
    assert len(norms) == sum(p.ndim > 1 for p in net.parameters())
    assert norms == pytest.approx(dict.fromkeys(norms, 1.0), abs=0.02)


def test_the_perceptron_is_a_numpy_evaluation_with_weights_over_their_largest_singular_value():
    net, x = discriminator(MLP, (2,), told_noise=True), data((2,))
    for _ in range(200):
        net(x, NOISE)

    def layer(module, h):
        w = module.parametrizations.weight.original.detach().double().numpy()
        return h @ (w / np.linalg.svd(w, compute_uv=False)[0]).T + module.bias.detach().double().numpy()

    h = layer(net.enter, x.double().numpy())
    for block in net.blocks:
        h = h + layer(block.leave, np.maximum(layer(block.enter, np.maximum(h, 0)), 0))
    h = np.maximum(h, 0)
    first, _, last = net.noise.layers
    e = layer(first, net.noise.features(NOISE).double().numpy())
    expected = layer(net.leave, h)[:, 0] + (layer(last, e / (1 + np.exp(-e))) * h).sum(1)
    np.testing.assert_allclose(net.eval()(x, NOISE).detach().numpy(), expected, rtol=1e-3, atol=1e-3)


def test_the_convolutional_head_sees_the_sum_over_the_pixels():
    net, seen = discriminator(CONV, (2, 8, 8)).eval(), []
    net.blocks.register_forward_hook(lambda _, inputs, out: seen.append(out))
    net.leave.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(data((2, 8, 8)))
    maps, features = seen
    assert maps.shape == (8, 12, 2, 2)
    torch.testing.assert_close(features, maps.clamp_min(0).sum((2, 3)))


def test_the_first_block_sees_dark_pixels_and_the_others_what_a_rectifier_leaves():
    net, x, seen = discriminator(CONV, (2, 8, 8)).eval(), data((2, 8, 8)), []
    for block in net.blocks:
        block.enter.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(x)
    assert torch.equal(seen[0], x)
    assert all(float(h.detach().min()) == 0 < float(h.detach().max()) for h in seen[1:])


@each
def test_noise_matters_to_those_that_are_told_it_alone(settings, shape):
    x = data(shape)
    told, blind = discriminator(settings, shape, True).eval(), discriminator(settings, shape).eval()
    assert float((told(x, NOISE + 0.3) - told(x, NOISE)).detach().abs().max()) > 1e-3
    assert torch.equal(blind(x, NOISE + 0.3), blind(x, NOISE))
    assert torch.equal(blind(x), blind(x, NOISE))
    with pytest.raises(ValueError, match="takes the noise level"):
        told(x)

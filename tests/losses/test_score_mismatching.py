import pytest
import torch
from models import NET

from condgen.losses.score_mismatching import Critic, ScoreMismatching, critic_loss, mismatching_loss


def critic(levels=(0.3,), scale=1.0, shape=(6,)):
    torch.manual_seed(0)
    return Critic(ScoreMismatching(network=NET, levels=levels), shape, 3, scale)


class Linear(torch.nn.Module):
    """S(x~) = k x~ for a critic whose optimum is known."""

    def __init__(self, k):
        super().__init__()
        self.k = torch.nn.Parameter(torch.tensor(k, dtype=torch.float64))

    def forward(self, x, noise, y):
        return self.k * x


def linear_critic(k, sigma, d):
    result = critic((sigma,), shape=(d,)).double()
    result.net = Linear(k)
    return result


def times(net, u):
    """Those that uniform numbers pick."""
    return net.density.quantile(net.schedule, u)


def normals(*shape, n=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(n)]


def test_a_critic_that_knows_nothing_has_losses_of_one_per_dimension():
    blind = linear_critic(0.0, 0.3, 50)
    real, fake, *noise = normals(4000, 50, n=5)
    y, t = torch.zeros(4000, dtype=torch.long), times(blind, torch.rand(4000))
    _, on_real, on_fake = critic_loss(blind, real, fake, y, (t, t), tuple(noise)).values()
    for loss in (on_real, on_fake, mismatching_loss(blind, fake, y, t, noise[0])):
        assert float(loss.detach().mean()) == pytest.approx(1, abs=0.02)


def test_generator_energy_of_a_linear_critic_by_stein():
    """For S = k x~ the denoising error on x is k^2 |x|^2 + d (k sigma - 1)^2."""
    k, sigma, d = 0.7, 0.4, 8
    (x,) = normals(1, d)
    (noise,) = normals(400_000, d, seed=1)
    y = torch.zeros(400_000, dtype=torch.long)
    net = linear_critic(k, sigma, d)
    energy = mismatching_loss(net, x.expand(400_000, d), y, times(net, torch.rand(400_000)), noise)
    exact = (k**2 * float(x.square().sum()) + d * (k * sigma - 1) ** 2) / d
    assert float(energy.detach().mean()) == pytest.approx(exact, rel=0.01)


def test_linear_optimum_for_gaussians():
    """For data std s and fake std g the best linear critic is k = sigma / (s^2 + g^2 + 2 sigma^2)."""
    s, g, sigma = 1.0, 0.5, 0.3
    a, b, *noise = normals(400_000, 1, n=5)
    net = linear_critic(0.0, sigma, 1)
    t, y = times(net, torch.rand(400_000)), torch.zeros(400_000, dtype=torch.long)
    with torch.no_grad():
        net.net.k.fill_(sigma / (s**2 + g**2 + 2 * sigma**2))
    _, on_real, on_fake = critic_loss(net, s * a, g * b, y, (t, t), tuple(noise)).values()
    (gradient,) = torch.autograd.grad((on_real + on_fake).mean(), net.net.k)
    assert abs(float(gradient)) < 0.02


def test_scale_stands_for_the_unit_of_the_data():
    one, ten = critic(), critic(scale=10.0)
    x, n, u = torch.randn(4, 6), torch.randn(4, 6), torch.tensor([0.0, 0.3, 0.6, 0.99])
    y = torch.zeros(4, dtype=torch.long)
    a, b = mismatching_loss(one, x, y, times(one, u), n), mismatching_loss(ten, 10 * x, y, times(ten, u), n)
    torch.testing.assert_close(a, b)

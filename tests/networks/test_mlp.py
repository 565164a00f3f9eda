import torch

from condgen.networks.mlp import MLP, MLPSettings

SETTINGS = MLPSettings(width=64, depth=2, embedding=8)


def test_the_length_of_a_point_is_seen_through_the_normalisation():
    """Without a bias of the first layer, layer normalisation would make the output the same along a ray."""
    torch.manual_seed(0)
    net = MLP(SETTINGS, (2,), None)
    x = torch.tensor([[0.6, -0.8]])
    out = net(torch.cat((0.5 * x, x, 2 * x)), torch.zeros(3))
    assert out.diff(dim=0).norm(dim=1).min() > 0.2 * out.norm(dim=1).mean()


def test_the_input_gradient_is_continuous_at_the_origin():
    torch.manual_seed(0)
    net = MLP(SETTINGS, (2,), None, 2)
    x = (1e-3 * torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).requires_grad_()
    (g,) = torch.autograd.grad(net(x, torch.zeros(2))[:, 0].sum(), x)
    assert (g[0] - g[1]).norm() < 0.05 * g[0].norm()

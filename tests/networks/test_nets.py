"""Laws that every network of every role obeys."""

import pytest
import torch
from networks.published import UNETS
from torch.func import functional_call

from condgen import MLPSettings, ResNetSettings, UNetSettings, UserError
from condgen.networks.discriminator import ConvDiscriminatorSettings, MLPDiscriminatorSettings
from condgen.networks.generator import ConvGeneratorSettings
from condgen.networks.timm import TimmSettings

CLASSES, LATENT = 3, 6
POINTS, IMAGES = (2,), (2, 8, 8)
MLP = MLPSettings(width=16, depth=2, embedding=8)
PLAIN = MLPSettings(width=16, depth=2, embedding=8, normalise=False)
SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "dropout": 0.0}
NETWORKS = {
    "denoiser": {
        "mlp-points": (MLP, POINTS),
        "mlp-images": (MLP, IMAGES),
        "mlp-plain": (PLAIN, POINTS),
        "unet": (UNetSettings(**SMALL), IMAGES),
        "unet-blind": (UNetSettings(channels=8, multipliers=(1, 2, 2), blocks=2, attention=()), IMAGES),
        "unet-ddpmpp": (UNETS["edm-ddpmpp"].model_copy(update=SMALL), IMAGES),
        "unet-ncsnpp": (UNETS["score-sde-ncsnpp"].model_copy(update=SMALL), IMAGES),
    },
    "classifier": {
        "mlp-points": (MLP, POINTS),
        "mlp-images": (MLP, IMAGES),
        "mlp-plain": (PLAIN, POINTS),
        "resnet": (ResNetSettings(width=8, blocks=(1, 1)), IMAGES),
        "timm": (TimmSettings(name="test_resnet", embedding=8), (2, 16, 16)),
    },
    "generator": {
        "mlp-points": (MLP, POINTS),
        "mlp-images": (MLP, IMAGES),
        "convgen": (ConvGeneratorSettings(channels=8, multipliers=(2, 1), blocks=2), IMAGES),
    },
    "discriminator": {
        "mlp-points": (MLPDiscriminatorSettings(width=16), POINTS),
        "mlp-images": (MLPDiscriminatorSettings(width=16), IMAGES),
        "convdisc": (ConvDiscriminatorSettings(channels=(8, 8, 12), halvings=1), IMAGES),
    },
}
OPTIONS = {
    "denoiser": {"n_classes": CLASSES},
    "classifier": {"n_classes": CLASSES},
    "generator": {"n_classes": CLASSES, "latent": LATENT},
    "discriminator": {"told_noise": True},
}
ALL = [f"{role} {name}" for role, names in NETWORKS.items() for name in names]


def each(*roles):
    return pytest.mark.parametrize("name", [name for name in ALL if name.split()[0] in (roles or NETWORKS)])


def made(name, size=8, **changes):
    """A network in float64, and inputs that it takes: data or latents, noise, labels."""
    role, kind = name.split()
    settings, shape = NETWORKS[role][kind]
    torch.manual_seed(0)
    net = getattr(settings, f"build_{role}")(shape, **(OPTIONS[role] | changes)).double()
    given = (LATENT,) if role == "generator" else shape
    x = torch.randn(size, *given, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise, y = torch.linspace(-1.6, 1.1, size, dtype=torch.float64), torch.arange(size) % CLASSES
    inputs = {"denoiser": (x, noise, y), "generator": (x, y)}.get(role, (x, noise))
    return net, inputs


def mean_square(net, x, *conditions):
    return (net(x, *conditions) - 1).square().mean()


def score_loss(net, x, noise):
    x = x.detach().requires_grad_()
    chosen = net(x, noise).log_softmax(dim=1).gather(1, (torch.arange(len(x)) % CLASSES)[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, x, create_graph=True)
    return gradient.square().mean() - chosen


@pytest.mark.parametrize(
    ("name", "changes", "loss"),
    [
        *((name, {}, mean_square) for name in ALL),
        *((name, {"n_classes": None}, mean_square) for name in ALL if name.startswith("denoiser")),
        *((name, {"told_noise": False}, mean_square) for name in ALL if name.startswith("discriminator")),
        *((name, {}, score_loss) for name in ALL if name.startswith("classifier")),
    ],
)
def test_every_parameter_learns_at_once(name, changes, loss):
    """In float64 a gradient that is zero in exact arithmetic comes out near 1e-17: far below the bound."""
    net, inputs = made(name, size=64 if "discriminator" in name else 8, **changes)
    loss(net, *inputs).backward()
    assert {key: g for key, p in net.named_parameters() if not (g := p.grad.abs().max().item()) >= 1e-9} == {}
    assert [key for key, p in net.named_parameters() if "bias" not in key and not p.all()] == []
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    torch.optim.Adam(net.parameters(), lr=1e-3).step()
    assert [key for key, p in net.named_parameters() if torch.equal(p, before[key])] == []


@each("classifier")
def test_gradients_of_an_input_gradient_equal_finite_differences(name):
    """The directional derivative of ||grad_x log p(y|x)||^2 in parameters and input together."""
    net, (x, noise) = made(name, size=3)
    point = {"x": x, **{key: p.detach() for key, p in net.named_parameters()}}
    torch.manual_seed(2)
    direction = {key: torch.randn_like(value) for key, value in point.items()}

    def loss(step):
        at = {key: (value + step * direction[key]).requires_grad_() for key, value in point.items()}
        moved = {key: value for key, value in at.items() if key != "x"}
        chosen = functional_call(net, moved, (at["x"], noise)).log_softmax(dim=1).diagonal().sum()
        (gradient,) = torch.autograd.grad(chosen, at["x"], create_graph=True)
        return gradient.square().sum(), at

    value, at = loss(0.0)
    gradients = torch.autograd.grad(value, list(at.values()), materialize_grads=True)
    exact = sum((g * direction[key]).sum().item() for key, g in zip(at, gradients, strict=True))
    h = 1e-5
    measured = (8 * (loss(h)[0] - loss(-h)[0]) - (loss(2 * h)[0] - loss(-2 * h)[0])).item() / (12 * h)
    assert abs(exact) > 1e-9
    assert measured == pytest.approx(exact, rel=1e-5)


@each("classifier")
def test_the_input_gradient_has_no_jumps(name):
    """Along a segment, the second derivative integrates to the change of the first: no kinks are missed."""
    net, (ends, noise) = made(name, size=2)
    share = torch.linspace(0, 1, 81, dtype=torch.float64)
    along = ends[1] - ends[0]
    x = (ends[0] + share.reshape(-1, *(1,) * along.ndim) * along).requires_grad_()
    log_p = net(x, noise[:1].expand(len(x))).log_softmax(dim=1)[:, 0].sum()
    (gradient,) = torch.autograd.grad(log_p, x, create_graph=True)
    first = (gradient * along).flatten(1).sum(dim=1)
    (curvature,) = torch.autograd.grad(first.sum(), x)
    second = (curvature * along).flatten(1).sum(dim=1)
    change = torch.trapezoid(second, share)
    assert (first[-1] - first[0] - change).abs() < 0.01 * torch.trapezoid(second.abs(), share)


@each("denoiser", "classifier", "generator")
@torch.no_grad()
def test_a_sample_does_not_depend_on_its_neighbours(name):
    net, inputs = made(name)
    assert net.training  # where batch statistics would couple the samples
    inputs = [v.float() if v.is_floating_point() else v for v in inputs]
    together = net.float()(*inputs)
    for i in range(len(together)):
        alone = net(*(v[i : i + 1] for v in inputs))[0]
        torch.testing.assert_close(alone, together[i], atol=1e-5, rtol=0)


@each("denoiser", "classifier", "generator")
@torch.no_grad()
def test_every_input_steers_the_output(name):
    net, inputs = made(name)
    net.eval()
    out = net(*inputs)
    for place, value in enumerate(inputs):
        other = value + 0.3 if value.is_floating_point() else (value + 1) % CLASSES
        changed = net(*inputs[:place], other, *inputs[place + 1 :])
        assert float((changed - out).reshape(len(out), -1).square().mean(1).sqrt().min() / out.std()) > 1e-2


@each("denoiser")
def test_no_labels_are_the_null_label(name):
    net, (x, noise, y) = made(name)
    torch.testing.assert_close(net(x, noise, None), net(x, noise, torch.full_like(y, CLASSES)))
    assert not torch.allclose(net(x, noise, None), net(x, noise, y))
    unconditional, _ = made(name, n_classes=None)
    torch.testing.assert_close(unconditional(x, noise, y), unconditional(x, noise))


@each("denoiser")
def test_a_new_denoiser_is_of_moderate_size(name):
    net, inputs = made(name, size=64)
    assert 0.01 < net(*inputs).std().item() < 2


@each("generator")
def test_generators_bound_images_but_not_points(name):
    net, inputs = made(name)
    with torch.no_grad():
        for p in list(net.parameters())[-2:]:
            p.mul_(1e3)
    out = net(*inputs)
    assert (1 < out.abs().max() <= 1.05) if out.ndim == 4 else out.abs().max() > 10


@pytest.mark.parametrize("shape", [(2,), (3, 30, 32), (3, 32, 30)])
@pytest.mark.parametrize("name", ["denoiser unet", "classifier resnet", "generator convgen", "discriminator convdisc"])
def test_shapes_that_do_not_fit_are_refused(name, shape):
    role, kind = name.split()
    settings = type(NETWORKS[role][kind][0])()
    with pytest.raises(UserError, match=r"needs images|divisible"):
        getattr(settings, f"build_{role}")(shape, **OPTIONS[role])


def still(name):
    """A network in float32 that changes nothing in a pass, and inputs that it takes."""
    net, inputs = made(name, size=4)
    return net.float().eval(), [v.float() if v.is_floating_point() else v for v in inputs]


def gradients(net, inputs, *, autocast=False):
    """Of a function of the output, in the parameters."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = net(*inputs)
    weight = torch.linspace(-1, 2, out.numel()).reshape(out.shape)
    net.zero_grad()
    (out.float() * weight).sum().backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])


@each("denoiser", "classifier", "generator")  # the rectifiers of discriminators jump
def test_gradients_under_autocast_are_those_of_float32_but_for_rounding(name):
    net, inputs = still(name)
    exact, rounded = gradients(net, inputs), gradients(net, inputs, autocast=True)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() < 0.1 * exact.norm()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier resnet", "generator convgen", "denoiser unet-ncsnpp"])
def test_a_network_compiles_into_one_graph(name):
    """With gradients traced as well; without generating code, which takes minutes."""
    net, inputs = still(name)
    expected = gradients(net, inputs)
    net.compile(backend="aot_eager", fullgraph=True)
    assert (gradients(net, inputs) - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("name", ["classifier mlp-images", "classifier resnet", "denoiser unet"])
def test_dropout_acts_in_training_only(name):
    role, kind = name.split()
    settings, shape = NETWORKS[role][kind]
    torch.manual_seed(0)
    net = getattr(settings.model_copy(update={"dropout": 0.5}), f"build_{role}")(shape, **OPTIONS[role])
    x, noise = torch.randn(4, *shape), torch.zeros(4)
    assert not torch.equal(net(x, noise), net(x, noise))
    net.eval()
    assert torch.equal(net(x, noise), net(x, noise))

"""Laws that every network of every role obeys."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from condgen.networks import (
    PUBLISHED,
    ConvDiscriminatorSettings,
    ConvGeneratorSettings,
    MLPDiscriminatorSettings,
    MLPSettings,
    ResNetSettings,
    TimmSettings,
    TransformerSettings,
    UNetSettings,
)

CLASSES, LATENT = 3, 6
MLP = MLPSettings(width=16, depth=2, embedding=8)
POINTS, IMAGES = (2,), (2, 8, 8)
TRANSFORMER = TransformerSettings(patch=2, width=16, depth=2, heads=2)
SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "dropout": 0.0}
DENOISERS = {
    "mlp-points": (MLP, POINTS),
    "mlp-images": (MLP, IMAGES),
    "mlp-plain": (MLPSettings(width=16, depth=2, embedding=8, normalise=False), POINTS),
    "transformer": (TRANSFORMER, IMAGES),
    "unet": (UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(4,)), IMAGES),
    "unet-blind": (UNetSettings(channels=8, multipliers=(1, 2, 2), blocks=2, attention=()), IMAGES),
    "unet-ddpmpp": (PUBLISHED["edm-ddpmpp"].model_copy(update=SMALL), IMAGES),
    "unet-ncsnpp": (PUBLISHED["score-sde-ncsnpp"].model_copy(update=SMALL), IMAGES),
}
CLASSIFIERS = {
    "mlp-points": (MLP, POINTS),
    "mlp-images": (MLP, IMAGES),
    "mlp-plain": (MLPSettings(width=16, depth=2, embedding=8, normalise=False), POINTS),
    "resnet": (ResNetSettings(width=8, blocks=(1, 1)), IMAGES),
    "transformer": (TRANSFORMER, IMAGES),
    "timm": (TimmSettings(name="test_resnet", embedding=8), (2, 16, 16)),
}
GENERATORS = {
    "mlp-points": (MLP, POINTS),
    "mlp-images": (MLP, IMAGES),
    "convgen": (ConvGeneratorSettings(channels=8, multipliers=(2, 1), blocks=2), IMAGES),
}
DISCRIMINATORS = {
    "mlp-points": (MLPDiscriminatorSettings(width=16), POINTS),
    "mlp-images": (MLPDiscriminatorSettings(width=16), IMAGES),
    "convdisc": (ConvDiscriminatorSettings(channels=(8, 8, 12), halvings=1), IMAGES),
}


def each(cases):
    return pytest.mark.parametrize(("settings", "shape"), cases.values(), ids=cases.keys())


def batch(shape, size=8):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(size, *shape, generator=generator, dtype=torch.float64)
    return x, torch.linspace(-1.6, 1.1, size, dtype=torch.float64), torch.arange(size) % CLASSES


def denoiser(settings, shape, n_classes=CLASSES):
    torch.manual_seed(0)
    return settings.build_denoiser(shape, n_classes).double()


def classifier(settings, shape):
    torch.manual_seed(0)
    return settings.build_classifier(shape, CLASSES).double()


def generator(settings, shape):
    torch.manual_seed(0)
    return settings.build_generator(shape, CLASSES, LATENT).double()


def cross_entropy(net, x, noise, y):
    return nn.functional.cross_entropy(net(x, noise), y)


def input_gradient_loss(net, x, noise, y):
    x = x.detach().requires_grad_()
    chosen = net(x, noise).log_softmax(dim=1).gather(1, y[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, x, create_graph=True)
    return (gradient**2).mean() + cross_entropy(net, x, noise, y)


def assert_every_parameter_learns(net, loss):
    """In float64 a gradient that is zero in exact arithmetic comes out near 1e-17: far below the bound."""
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert {name: g for name, p in net.named_parameters() if (g := p.grad.abs().max().item()) < 1e-9} == {}
    assert [name for name, p in net.named_parameters() if "bias" not in name and not p.all()] == []
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    torch.optim.Adam(net.parameters(), lr=1e-3).step()
    assert [name for name, p in net.named_parameters() if torch.equal(p, before[name])] == []


@each(DENOISERS)
@pytest.mark.parametrize("n_classes", [None, CLASSES])
def test_every_parameter_of_a_denoiser_learns_at_once(settings, shape, n_classes):
    x, noise, y = batch(shape)
    net = denoiser(settings, shape, n_classes)
    loss = (net(x, noise, y) - x).square().mean()
    assert_every_parameter_learns(net, loss)


@each(CLASSIFIERS)
@pytest.mark.parametrize("loss", [cross_entropy, input_gradient_loss])
def test_every_parameter_of_a_classifier_learns_at_once(settings, shape, loss):
    x, noise, y = batch(shape)
    net = classifier(settings, shape)
    assert_every_parameter_learns(net, loss(net, x, noise, y))


@each(GENERATORS)
def test_every_parameter_of_a_generator_learns_at_once(settings, shape):
    x, _, y = batch(shape)
    z = torch.linspace(-2, 2, len(x) * LATENT, dtype=torch.float64).reshape(-1, LATENT).sin()
    net = generator(settings, shape)
    assert_every_parameter_learns(net, (net(z, y) - x).square().mean())


@each(DISCRIMINATORS)
@pytest.mark.parametrize("told", [False, True])
def test_every_parameter_of_a_discriminator_learns_at_once(settings, shape, told):
    x, noise, _ = batch(shape, size=64)
    torch.manual_seed(0)
    net = settings.build_discriminator(shape, told_noise=told).double()
    assert_every_parameter_learns(net, (net(x, noise) - 1).square().mean())


@each(CLASSIFIERS)
def test_gradients_of_an_input_gradient_equal_finite_differences(settings, shape):
    """The directional derivative of ||grad_x log p(y|x)||^2 in parameters and input together."""
    x, noise, y = batch(shape, size=3)
    net = classifier(settings, shape)
    point = {"x": x, **{name: p.detach() for name, p in net.named_parameters()}}
    torch.manual_seed(2)
    direction = {name: torch.randn_like(value) for name, value in point.items()}

    def loss(step):
        at = {name: (value + step * direction[name]).requires_grad_() for name, value in point.items()}
        moved = {name: value for name, value in at.items() if name != "x"}
        logits = functional_call(net, moved, (at["x"], noise))
        chosen = logits.log_softmax(dim=1).gather(1, y[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, at["x"], create_graph=True)
        return gradient.square().sum(), at

    value, at = loss(0.0)
    gradients = torch.autograd.grad(value, list(at.values()), allow_unused=True)  # log-softmax forgets the last bias
    exact = sum((g * direction[name]).sum().item() for name, g in zip(at, gradients, strict=True) if g is not None)
    h = 1e-5
    measured = (8 * (loss(h)[0] - loss(-h)[0]) - (loss(2 * h)[0] - loss(-2 * h)[0])).item() / (12 * h)
    assert abs(exact) > 1e-9
    assert measured == pytest.approx(exact, rel=1e-5)


@each(CLASSIFIERS)
def test_the_input_gradient_has_no_jumps(settings, shape):
    """Along a segment, the second derivative integrates to the change of the first: no kinks are missed."""
    net = classifier(settings, shape)
    ends, noise, _ = batch(shape, size=2)
    share = torch.linspace(0, 1, 81, dtype=torch.float64)
    along = ends[1] - ends[0]
    x = (ends[0] + share.reshape(-1, *(1,) * len(shape)) * along).requires_grad_()
    log_p = net(x, noise[:1].expand(len(x))).log_softmax(dim=1)[:, 0].sum()
    (gradient,) = torch.autograd.grad(log_p, x, create_graph=True)
    first = (gradient * along).flatten(1).sum(dim=1)
    (curvature,) = torch.autograd.grad(first.sum(), x)
    second = (curvature * along).flatten(1).sum(dim=1)
    change = torch.trapezoid(second, share)
    assert (first[-1] - first[0] - change).abs() < 0.01 * torch.trapezoid(second.abs(), share)


def in_float32(net, *inputs):
    with torch.no_grad():
        return net.float()(*(v.float() if v.is_floating_point() else v for v in inputs))


@each(DENOISERS)
def test_a_denoised_sample_does_not_depend_on_its_neighbours(settings, shape):
    x, noise, y = batch(shape)
    net = denoiser(settings, shape)
    together = in_float32(net, x, noise, y)
    for i in range(len(x)):
        torch.testing.assert_close(
            in_float32(net, x[i : i + 1], noise[i : i + 1], y[i : i + 1])[0], together[i], atol=1e-5, rtol=0
        )


@each(CLASSIFIERS)
def test_logits_do_not_depend_on_neighbours(settings, shape):
    x, noise, _ = batch(shape)
    net = classifier(settings, shape)
    assert net.training  # where batch statistics would couple the samples
    together = in_float32(net, x, noise)
    assert together.shape == (len(x), CLASSES)
    for i in range(len(x)):
        torch.testing.assert_close(in_float32(net, x[i : i + 1], noise[i : i + 1])[0], together[i], atol=1e-5, rtol=0)


@each(GENERATORS)
def test_a_generated_sample_does_not_depend_on_its_neighbours(settings, shape):
    z, _, y = batch((LATENT,))
    net = generator(settings, shape)
    together = in_float32(net, z, y)
    assert together.shape == (len(z), *shape)
    for i in range(len(z)):
        torch.testing.assert_close(in_float32(net, z[i : i + 1], y[i : i + 1])[0], together[i], atol=1e-5, rtol=0)


def difference(a, b):
    """The least over the samples of the root mean square difference, relative to the spread of b."""
    return ((a - b).flatten(1).square().mean(dim=1).sqrt().min() / b.std()).item()


@each(DENOISERS)
def test_noise_and_class_steer_a_denoiser(settings, shape):
    x, noise, y = batch(shape)
    net = denoiser(settings, shape)
    out = net(x, noise, y)
    assert out.shape == x.shape
    assert difference(net(x, noise + 0.3, y), out) > 1e-2
    assert difference(net(x, noise, (y + 1) % CLASSES), out) > 1e-2
    assert difference(net(x, noise, None), out) > 1e-2


@each(DENOISERS)
def test_no_labels_are_the_null_label(settings, shape):
    x, noise, y = batch(shape)
    net = denoiser(settings, shape)
    torch.testing.assert_close(net(x, noise, None), net(x, noise, torch.full_like(y, CLASSES)))
    unconditional = denoiser(settings, shape, n_classes=None)
    torch.testing.assert_close(unconditional(x, noise, y), unconditional(x, noise))


@each(CLASSIFIERS)
def test_noise_steers_a_classifier(settings, shape):
    x, noise, _ = batch(shape)
    net = classifier(settings, shape)
    assert difference(net(x, noise + 0.3), net(x, noise)) > 1e-2


@each(GENERATORS)
def test_latent_and_class_steer_a_generator(settings, shape):
    z, _, y = batch((LATENT,))
    net = generator(settings, shape)
    out = net(z, y)
    assert difference(net(z + 0.5, y), out) > 1e-2
    assert difference(net(z, (y + 1) % CLASSES), out) > 1e-2


@each(DENOISERS)
def test_a_new_denoiser_is_of_moderate_size(settings, shape):
    x, noise, y = batch(shape, size=64)
    assert 0.01 < denoiser(settings, shape)(x, noise, y).std().item() < 2


@each(GENERATORS)
def test_generators_bound_images_but_not_points(settings, shape):
    z, _, y = batch((LATENT,))
    net = generator(settings, shape)
    with torch.no_grad():
        for p in list(net.parameters())[-2:]:
            p.mul_(1e3)
    largest = net(z, y).abs().max().item()
    assert (1 < largest <= 1.05) if len(shape) == 3 else largest > 10


@pytest.mark.parametrize(
    "build",
    [
        *(lambda s=s, shape=shape: s.build_denoiser(shape, CLASSES) for s, shape in DENOISERS.values()),
        *(lambda s=s, shape=shape: s.build_classifier(shape, CLASSES) for s, shape in CLASSIFIERS.values()),
        *(lambda s=s, shape=shape: s.build_generator(shape, CLASSES, LATENT) for s, shape in GENERATORS.values()),
    ],
    ids=[*DENOISERS, *CLASSIFIERS, *GENERATORS],
)
def test_initial_weights_follow_the_seed(build):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in build().parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


EVERY = {
    **{f"denoiser-{k}": ("build_denoiser", s, shape, (CLASSES,), {}) for k, (s, shape) in DENOISERS.items()},
    **{f"classifier-{k}": ("build_classifier", s, shape, (CLASSES,), {}) for k, (s, shape) in CLASSIFIERS.items()},
    **{f"generator-{k}": ("build_generator", s, shape, (CLASSES, LATENT), {}) for k, (s, shape) in GENERATORS.items()},
    **{
        f"discriminator-{k}": ("build_discriminator", s, shape, (), {"told_noise": True})
        for k, (s, shape) in DISCRIMINATORS.items()
    },
}
CONVOLUTIONAL = {
    k: case for k, case in EVERY.items() if len(case[2]) == 3 and not k.endswith(("mlp-images", "transformer"))
}


def made(name):
    """A network of any role that changes nothing in a pass, and inputs that it takes, of four samples in float32."""
    build, settings, shape, more, options = EVERY[name]
    torch.manual_seed(0)
    net = getattr(settings, build)(shape, *more, **options).eval()
    x, noise, y = batch(shape, size=4)
    if build == "build_generator":
        return net, (torch.randn(4, LATENT), y)
    return net, (x.float(), noise.float(), y)[: 3 if build == "build_denoiser" else 2]


@pytest.mark.parametrize("name", EVERY)
def test_a_network_can_be_made_without_memory(name):
    build, settings, shape, more, options = EVERY[name]
    with torch.device("meta"):
        ghost = getattr(settings, build)(shape, *more, **options)
    net, _ = made(name)
    assert {p.device.type for p in ghost.parameters()} == {"meta"}
    assert [(n, p.shape) for n, p in ghost.named_parameters()] == [(n, p.shape) for n, p in net.named_parameters()]


def gradients(net, inputs, *, autocast=False):
    """Of a function of the output, in the parameters."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = net(*inputs)
    weight = torch.linspace(-1, 2, out.numel()).reshape(out.shape)
    net.zero_grad()
    (out.float() * weight).sum().backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("autocast", [False, True])
def test_channels_last_is_kept_by_every_layer_and_changes_nothing(name, autocast):
    net, inputs = made(name)
    expected = gradients(net, inputs)
    net, strayed = net.to(memory_format=torch.channels_last), []

    def check(module, _inputs, output):
        ambiguous = not isinstance(output, torch.Tensor) or output.ndim != 4 or min(output.shape[1:]) == 1
        if not (ambiguous or output.is_contiguous(memory_format=torch.channels_last)):
            strayed.append(module)

    for module in net.modules():
        module.register_forward_hook(check)
    inputs = [v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for v in inputs]
    found = gradients(net, inputs, autocast=autocast)
    assert strayed == []
    assert (found - expected).norm() < (0.1 if autocast else 1e-5) * expected.norm()
    for p in net.parameters():
        if p.ndim == 4 and min(p.shape[1:]) > 1:
            assert p.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", [name for name in EVERY if "discriminator" not in name])  # whose rectifiers jump
def test_gradients_under_autocast_are_those_of_float32_but_for_rounding(name):
    net, inputs = made(name)
    exact, rounded = gradients(net, inputs), gradients(net, inputs, autocast=True)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize(
    "name",
    ["classifier-resnet", "generator-convgen", pytest.param("denoiser-unet-ncsnpp", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("autocast", [False, True])
def test_a_network_compiles_into_one_graph(name, autocast):
    """With gradients traced as well; without generating code, which takes minutes."""
    net, inputs = made(name)
    expected = gradients(net, inputs, autocast=autocast)
    net.compile(backend="aot_eager", fullgraph=True)
    found = gradients(net, inputs, autocast=autocast)
    assert (found - expected).norm() < (0.1 if autocast else 1e-4) * expected.norm()

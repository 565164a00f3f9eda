r"""What the DLSM gradient costs, in cross-entropy steps, and how exact it is, for every way known to compute it.

With g the likelihood score, v the residual held constant and :math:`\partial_v` the derivative along v, the parameter
gradient of :math:`\tfrac12 \lVert g - \tau \rVert^2` is that of :math:`\partial_v \log p(y \mid x_t)`. Hence four ways:

- *double backward*: differentiate g itself, by autograd or by `torch.func.grad`; exact;
- *forward mode*: differentiate the forward-mode derivative along v; exact;
- *central difference*: differentiate :math:`\lVert v\rVert (f(x + h u) - f(x - h u)) / 2h`, u the unit vector along v,
  which needs first derivatives only; wrong by :math:`O(h^2)`.

The yardstick is a cross-entropy step of the same network. The official formulation (Chao et al. 2022: batch
normalisation, rectifiers, the logarithm of a softmax plus 1e-8) has a network of its own, with its own yardstick.
"""

import copy
import math
import warnings
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import take_turns
from condgen.classifier import Classifier, ClassifierConfig
from condgen.losses import compiled_gradient, gradient_of
from condgen.networks import AnyClassifierNet, MLPSettings, ResNetSettings, UNetSettings, use_plain_operations
from condgen.schedules import EDM, expand
from condgen.score import ScoreConfig, ScoreModel
from condgen.training.frozen import PriorSettings, lighten_

__all__ = ["SIZES", "bench_dlsm"]

Gradients: TypeAlias = tuple[Tensor, ...]


class Size(NamedTuple):
    """A network and the batch it is timed on."""

    network: AnyClassifierNet
    shape: tuple[int, int, int]
    batch: int


SIZES: dict[str, Size] = {
    "digits": Size(MLPSettings(width=256, depth=3), (1, 8, 8), 256),
    "cifar": Size(ResNetSettings(width=32), (3, 32, 32), 64),
}
_CLASSES = 10


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    t: Tensor
    target: Tensor  # what g is to match
    ce_weight: float = 1.0

    def to(self, dtype: torch.dtype) -> "_Batch":
        return self._replace(x=self.x.to(dtype), target=self.target.to(dtype))


def _draw(size: Size, device: torch.device) -> _Batch:
    generator = torch.Generator().manual_seed(0)
    t = 0.1 + 5 * torch.rand(size.batch, generator=generator, dtype=torch.float64)
    x = torch.randn(size.batch, *size.shape, generator=generator)
    x *= expand((0.25 + t**2).sqrt(), x)
    y = torch.randint(_CLASSES, (size.batch,), generator=generator)
    target = torch.randn(x.shape, generator=generator) / expand(t, x)
    return _Batch(x.to(device), y.to(device), t.to(device), target.to(device))


def _chosen(log_p: Tensor, y: Tensor) -> Tensor:
    return log_p.gather(1, y[:, None])[:, 0]


def _loss(batch: _Batch, log_p: Tensor, g: Tensor) -> Tensor:
    residual = g - batch.target
    return (0.5 * residual.square().flatten(1).mean(1) - batch.ce_weight * _chosen(log_p, batch.y)).mean()


def _cross_entropy(classifier: nn.Module, batch: _Batch) -> Gradients:
    loss = -_chosen(classifier(batch.x, batch.t), batch.y).mean()
    return torch.autograd.grad(loss, list(classifier.parameters()))


def _double_backward(classifier: Classifier, batch: _Batch, gradient: Any = gradient_of) -> Gradients:
    log_p, g = gradient(classifier, batch.x, batch.t, batch.y)
    return torch.autograd.grad(_loss(batch, log_p, g), list(classifier.parameters()), materialize_grads=True)


def _functional(classifier: Classifier, batch: _Batch) -> Gradients:
    def chosen(x: Tensor) -> tuple[Tensor, Tensor]:
        log_p = classifier(x, batch.t)
        return _chosen(log_p, batch.y).sum(), log_p

    g, log_p = torch.func.grad(chosen, has_aux=True)(batch.x)
    return torch.autograd.grad(_loss(batch, log_p, g), list(classifier.parameters()), materialize_grads=True)


def _direction(classifier: Classifier, batch: _Batch) -> Tensor:
    """v: the derivative of the DLSM loss in g, without a graph, from a first backward pass."""
    with torch.no_grad():
        _, g = gradient_of(classifier, batch.x, batch.t, batch.y)
    return (g - batch.target) / g[0].numel()


def _forward_mode(classifier: Classifier, batch: _Batch) -> Gradients:
    v = _direction(classifier, batch)

    def at(x: Tensor) -> Tensor:
        return _chosen(classifier(x, batch.t), batch.y)

    with warnings.catch_warnings():  # torch prepares its forward-mode formulas with a compiler that it has retired
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        chosen, along = torch.func.jvp(at, (batch.x,), (v,))[:2]
    return torch.autograd.grad((along - batch.ce_weight * chosen).mean(), list(classifier.parameters()))


def _central_difference(classifier: Classifier, batch: _Batch, h: float = 0.05) -> Gradients:
    v = _direction(classifier, batch)
    norm = v.flatten(1).norm(dim=1)
    step = h * (0.25 + batch.t**2).sqrt().to(v.dtype) * v[0].numel() ** 0.5  # h standard deviations of every input
    shift = expand(step / norm, v) * v
    both = classifier(torch.cat((batch.x + shift, batch.x - shift)), batch.t.repeat(2))
    after, before = _chosen(both, batch.y.repeat(2)).chunk(2)
    along = (after - before) * (norm / (2 * step))
    chosen = (after + before) / 2  # log p between the two points, also up to O(h^2)
    return torch.autograd.grad((along - batch.ce_weight * chosen).mean(), list(classifier.parameters()))


# ----------------------------------------------------------------------------------------------------
# The official formulation


class _OfficialBlock(nn.Module):
    """He et al. 2016: convolution, batch normalisation, rectifier, twice."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        same = stride == 1 and channels == width
        project = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.skip = nn.Identity() if same else project

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = F.relu(self.branch(h) + self.skip(h))
        return out


class _OfficialResNet(nn.Module):
    """ResNet-18 with the stem for small images, a noise embedding added after each stage; sees x_t unscaled."""

    def __init__(self, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("frequencies", 16 * torch.randn(32))
        self.embed = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128))
        self.enter = nn.Sequential(nn.Conv2d(shape[0], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stages, self.shifts = nn.ModuleList(), nn.ModuleList()
        channels = width
        for stage in range(4):
            out = width << stage
            self.stages.append(
                nn.Sequential(_OfficialBlock(channels, out, 1 + (stage > 0)), _OfficialBlock(out, out, 1))
            )
            self.shifts.append(nn.Linear(128, out))
            channels = out
        self.leave = nn.Linear(channels, _CLASSES)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        phase = 2 * torch.pi * t.log().to(x.dtype)[:, None] * self.get_buffer("frequencies")
        embedding = F.silu(self.embed(torch.cat((phase.sin(), phase.cos()), 1)))
        h = self.enter(x)
        for stage, shift in zip(self.stages, self.shifts, strict=True):
            h = stage(h) + shift(embedding)[:, :, None, None]
        log_p: Tensor = (self.leave(h.mean((2, 3))).softmax(1) + 1e-8).log()
        return log_p


class _OfficialMLP(nn.Module):
    """The toy experiment's perceptron: one branch for x and one for the raw sigma."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        inputs = shape[0] * shape[1] * shape[2]
        self.on_x = nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64))
        self.on_sigma = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
        self.leave = nn.Linear(80, _CLASSES)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        features = torch.cat((self.on_x(x.flatten(1)), self.on_sigma(t.to(x.dtype)[:, None])), 1)
        log_p: Tensor = (self.leave(features).softmax(1) + 1e-8).log()
        return log_p


def _official_step(network: nn.Module, batch: _Batch) -> Gradients:
    x = batch.x.clone().requires_grad_()
    log_p = network(x, batch.t)
    one_hot = F.one_hot(batch.y, _CLASSES).to(x.dtype)
    (g,) = torch.autograd.grad(log_p, x, one_hot, create_graph=True)
    return torch.autograd.grad(_loss(batch, log_p, g), list(network.parameters()), materialize_grads=True)


# ----------------------------------------------------------------------------------------------------
# The bench


def _error(found: Gradients, exact: Gradients) -> float:
    """Distance over length of the exact gradient, all parameters as one vector."""
    pairs = list(zip(found, exact, strict=True))
    gap = sum(float((f.double() - e.double()).square().sum()) for f, e in pairs)
    return math.sqrt(gap / sum(float(e.double().square().sum()) for _, e in pairs))


def bench_dlsm(
    name: str, device: torch.device, rounds: int = 5, compiled: bool = False
) -> Generator[str, None, list[dict[str, Any]]]:
    """Times a gradient of every kind on the network of a size, taking turns.

    Args:
        name: of the size, one of `SIZES`.
        device: where.
        rounds: over which the median is taken.
        compiled: whether to compile the exact gradient as well, which takes minutes on a CPU.

    Yields:
        The name of the variant that is being timed.

    Returns:
        Rows {"what", "variant", "size", "value", "unit"}: ms per step, the same in cross-entropy steps, and the error
        of the gradient against double backward in float64.
    """
    size = SIZES[name]
    torch.manual_seed(0)
    names = tuple(str(label) for label in range(_CLASSES))
    about: dict[str, Any] = {"schedule": EDM(), "shape": size.shape, "names": names, "sigma_data": 0.5}
    ours = ClassifierConfig(network=size.network, **about).build().to(device)
    plain = copy.deepcopy(ours)
    use_plain_operations(plain)
    official = _OfficialResNet(32, size.shape) if name == "cifar" else _OfficialMLP(size.shape)
    official = official.to(device)
    batch = _draw(size, device)

    steps: dict[str, Callable[[], Gradients]] = {
        "cross-entropy": lambda: _cross_entropy(ours, batch),
        "double backward": lambda: _double_backward(ours, batch),
        "double backward, framework's layers": lambda: _double_backward(plain, batch),
        "torch.func": lambda: _functional(ours, batch),
        "torch.func, framework's layers": lambda: _functional(plain, batch),
        "forward mode": lambda: _forward_mode(plain, batch),
        "central difference, h = 0.05": lambda: _central_difference(ours, batch),
        "cross-entropy, framework's layers": lambda: _cross_entropy(plain, batch),
        "official network, cross-entropy": lambda: _cross_entropy(official, batch),
        "official network, official formulation": lambda: _official_step(official, batch),
    }
    if compiled:
        gradient = compiled_gradient()
        fast = copy.deepcopy(ours)
        fast.compile(dynamic=False)
        steps["cross-entropy, compiled"] = lambda: _cross_entropy(fast, batch)
        steps["double backward, compiled"] = lambda: _double_backward(ours, batch, gradient)
    yardsticks = {
        "official network, cross-entropy": "official network, cross-entropy",
        "official network, official formulation": "official network, cross-entropy",
        "cross-entropy, compiled": "cross-entropy, compiled",
        "double backward, compiled": "cross-entropy, compiled",
    }
    timings = yield from take_turns(steps, rounds, device)

    exact = _double_backward(copy.deepcopy(plain).double(), batch.to(torch.float64))
    rows: list[dict[str, Any]] = []
    where = f"{name}: {size.network.kind}, batch {size.batch}, {'x'.join(map(str, size.shape))}"

    def row(what: str, variant: str, value: float, unit: str) -> None:
        rows.append({"what": what, "variant": variant, "size": where, "value": value, "unit": unit})

    for variant, timing in timings.items():
        row("step", variant, timing, "ms")
        yardstick = timings[yardsticks.get(variant, "cross-entropy")]
        row("relative step", variant, timing / yardstick, "cross-entropy steps of the same network")
        if "official" not in variant and "cross-entropy" not in variant:
            row("gradient error", variant, _error(steps[variant](), exact), "relative, against float64")
    if name == "cifar":
        yield "frozen prior"
        rows += yield from _prior_rows(about, batch, where, rounds, compiled, steps["cross-entropy"], device)
    return rows


def _prior_rows(
    about: dict[str, Any],
    batch: _Batch,
    where: str,
    rounds: int,
    compiled: bool,
    cross_entropy: Callable[[], Gradients],
    device: torch.device,
) -> Generator[str, None, list[dict[str, Any]]]:
    """What one evaluation of a frozen U-Net costs beside them, in each precision."""
    choices = {"float32": PriorSettings(), "bfloat16": PriorSettings(precision="bfloat16")}
    if compiled:
        choices["float32, compiled"] = PriorSettings(compile=True)
        choices["bfloat16, compiled"] = PriorSettings(precision="bfloat16", compile=True)
    torch.manual_seed(0)
    prior = ScoreConfig(network=UNetSettings(channels=64, multipliers=(1, 2, 2)), **about).build().to(device)
    priors = {name: lighten_(copy.deepcopy(prior), choice) for name, choice in choices.items()}

    def evaluate(model: ScoreModel) -> Callable[[], Tensor]:
        def one() -> Tensor:
            with torch.no_grad():
                return model.eps(batch.x, batch.t)

        return one

    steps = {f"prior, {name}": evaluate(model) for name, model in priors.items()}
    timings = yield from take_turns({"cross-entropy": cross_entropy, **steps}, rounds, device)
    yardstick = timings.pop("cross-entropy")
    exact = steps["prior, float32"]().double()
    rows = []
    for variant, timing in timings.items():
        error = float((steps[variant]().double() - exact).norm() / exact.norm())
        for what, value, unit in (
            ("prior evaluation", timing, "ms"),
            ("relative prior evaluation", timing / yardstick, "cross-entropy steps of the classifier"),
            ("prior error", error, "relative, against float32"),
        ):
            rows.append({"what": what, "variant": variant, "size": where, "value": value, "unit": unit})
    return rows

r"""What the DLSM parameter gradient costs, in cross-entropy steps of the same network, and how exact it is.

    uv run tests/benchmarks/dlsm.py --full --json assets/dlsm.json    (4 minutes; quick: the perceptron alone, 20 s)

With g the likelihood score, v the residual held constant and \partial_v the derivative along v, the gradient of
|g - target|^2 / 2 in the parameters is that of \partial_v log p(y | x_t). Hence double backward (exact),
forward mode (differentiates the forward-mode derivative along v; exact) and central difference (first derivatives
only; wrong by O(h^2)).
"""

import copy
import math
import warnings
from typing import NamedTuple

import torch
from bench import Figure, Full, JsonFile, Rounds, device, finish, run, take_turns
from torch import Tensor

from condgen import EDM, MLPSettings, ResNetSettings, UNetSettings
from condgen.classifier import ClassifierConfig
from condgen.losses.base import gradient_of
from condgen.schedules import expand
from condgen.score import ScoreConfig
from condgen.training.settings import PriorSettings, lighten_

CLASSES = 10
SIZES = {
    "digits": (MLPSettings(width=256, depth=3), (1, 8, 8), 256),
    "cifar": (ResNetSettings(width=32), (3, 32, 32), 64),
}


class Batch(NamedTuple):
    x: Tensor
    y: Tensor
    t: Tensor
    target: Tensor  # what g is to match


def draw_batch(shape, n, where) -> Batch:
    generator = torch.Generator().manual_seed(0)
    t = 0.1 + 5 * torch.rand(n, generator=generator, dtype=torch.float64)
    x = torch.randn(n, *shape, generator=generator)
    x *= expand((0.25 + t**2).sqrt(), x)
    y = torch.randint(CLASSES, (n,), generator=generator)
    target = torch.randn(x.shape, generator=generator) / expand(t, x)
    return Batch(x.to(where), y.to(where), t.to(where), target.to(where))


def chosen(log_p, y):
    return log_p.gather(1, y[:, None])[:, 0]


def gradients(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)


def dlsm_and_ce(batch, log_p, g):
    return (0.5 * (g - batch.target).square().flatten(1).mean(1) - chosen(log_p, batch.y)).mean()


def cross_entropy(network, batch):
    return gradients(-chosen(network(batch.x, batch.t), batch.y).mean(), network)


def double_backward(classifier, batch):
    log_p, g = gradient_of(classifier, batch.x, batch.t, batch.y)
    return gradients(dlsm_and_ce(batch, log_p, g), classifier)


def direction(classifier, batch):
    """v: the derivative of the DLSM loss in g, without a graph."""
    with torch.no_grad():
        g = gradient_of(classifier, batch.x, batch.t, batch.y)[1]
    return (g - batch.target) / g[0].numel()


def forward_mode(classifier, batch):
    with warnings.catch_warnings():  # torch prepares its forward-mode formulas with a compiler that it has retired
        warnings.filterwarnings("ignore", message=".*torch.jit.script")
        v = direction(classifier, batch)
        log_p, along = torch.func.jvp(lambda x: chosen(classifier(x, batch.t), batch.y), (batch.x,), (v,))
    return gradients((along - log_p).mean(), classifier)


def central_difference(classifier, batch, h=0.05):
    v = direction(classifier, batch)
    norm = v.flatten(1).norm(dim=1)
    step = h * (0.25 + batch.t**2).sqrt().to(v.dtype) * v[0].numel() ** 0.5  # h standard deviations of every input
    shift = expand(step / norm, v) * v
    both = classifier(torch.cat((batch.x + shift, batch.x - shift)), batch.t.repeat(2))
    after, before = chosen(both, batch.y.repeat(2)).chunk(2)
    return gradients(((after - before) * norm / (2 * step) - (after + before) / 2).mean(), classifier)


def relative_error(found, exact) -> float:
    """Distance over length of the exact gradient, all parameters as one vector."""
    gap = sum(float((f.double() - e).square().sum()) for f, e in zip(found, exact, strict=True))
    return math.sqrt(gap / sum(float(e.square().sum()) for e in exact))


def measure(name, n, rounds, where) -> list[Figure]:
    network, shape, batch_size = SIZES[name]
    torch.manual_seed(0)
    about = {"schedule": EDM(), "shape": shape, "names": tuple(map(str, range(CLASSES))), "sigma_data": 0.5}
    classifier = ClassifierConfig(network=network, **about).build().to(where)
    batch = draw_batch(shape, n or batch_size, where)
    ways = {
        "double backward (what condgen trains by)": double_backward,
        "forward mode": forward_mode,
        "central difference, h = 0.05": central_difference,
    }
    steps = {"cross-entropy": lambda: cross_entropy(classifier, batch)}
    steps |= {way: lambda call=call: call(classifier, batch) for way, call in ways.items()}
    if name == "cifar":
        prior = ScoreConfig(network=UNetSettings(channels=64, multipliers=(1, 2, 2)), **about).build().to(where)
        for precision in ("float32", "bfloat16"):
            model = lighten_(copy.deepcopy(prior), PriorSettings(precision=precision))
            evaluate = torch.no_grad()(lambda model=model: model.eps(batch.x, batch.t))
            steps[f"one evaluation of a U-Net prior, {precision}"] = evaluate
    times = take_turns(steps, rounds, where)
    exact_batch = batch._replace(x=batch.x.double(), target=batch.target.double())
    exact = double_backward(copy.deepcopy(classifier).double(), exact_batch)
    size = f"{name}: {network.kind}, batch {len(batch.y)} of {'x'.join(map(str, shape))}"
    figures = []
    for step, ms in times.items():
        figures.append(Figure("time", step, size, "ms", ms))
        figures.append(Figure("relative", step, size, "cross-entropy steps", ms / times["cross-entropy"]))
        if step in ways:
            figures.append(Figure("gradient error", step, size, "", relative_error(steps[step](), exact)))
    return figures


def main(json: JsonFile = None, full: Full = False, batch: int | None = None, rounds: Rounds = 5) -> None:
    sizes = list(SIZES) if full else ["digits"]
    torch.set_num_threads(1)
    finish([figure for name in sizes for figure in measure(name, batch, rounds, device())], json, rounds=rounds)


if __name__ == "__main__":
    run(main)

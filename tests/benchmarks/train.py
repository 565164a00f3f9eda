"""What a training step costs: images a second, share of what the machine can do, beside two widely used libraries.

Every variant is a whole step as its library takes it: rows of the data, noise, forward and backward pass, clipping,
the optimiser, the average of the weights, and whatever it reads back. All take turns in one run, so that quotients hold
on a noisy machine. Score networks have about as many parameters each, in as many levels of the same relative widths;
what a step computes with them differs, and is told as "work".

*Work* counts multiplications and additions in matrix products, convolutions and attention, forward and backward, as
the operations are called; the same for every precision. The *ceiling* is the faster of a matrix product and a
convolution in the same precision in the same run.
"""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import take_turns
from benchmarks.train_peers import PEERS, Missing, PeerSize, write_pictures
from condgen.classifier import ClassifierConfig
from condgen.data import LabelledSet
from condgen.losses import DLSM, CrossEntropy
from condgen.networks import ResNetSettings, UNetSettings
from condgen.schedules import EDM, LogNormal
from condgen.score import ScoreConfig, ScoreModel
from condgen.training import Precision, PriorSettings, Processes, State, Task, TrainingSettings, lighten_, train
from condgen.training.cost import Operations
from condgen.training.tasks import ClassifierTask, ScoreTask

__all__ = ["TRAIN_SIZES", "TrainSize", "bench_train", "count_work"]


class TrainSize(NamedTuple):
    """Networks of about as many parameters each, and the batch they are trained on.

    Attributes:
        network: our score model's.
        peers: the other libraries' networks.
        classifier: our classifier's.
        batch: images a step.
        side: of the square images.
        product: the side of the matrices whose product is timed.
    """

    network: UNetSettings
    peers: PeerSize
    classifier: ResNetSettings
    batch: int
    side: int
    product: int


TRAIN_SIZES: dict[str, TrainSize] = {
    "tiny": TrainSize(
        network=UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(8,)),
        peers=PeerSize(multipliers=(1, 2), diffusers=8, denoising=8, layers=1),
        classifier=ResNetSettings(width=8, blocks=(1, 1)),
        batch=4,
        side=16,
        product=64,
    ),
    "cpu": TrainSize(
        network=UNetSettings(channels=80, multipliers=(1, 1, 2, 2), blocks=2, attention=(16,)),
        peers=PeerSize(multipliers=(1, 1, 2, 2), diffusers=88, denoising=96, layers=2),
        classifier=ResNetSettings(width=32),
        batch=16,
        side=32,
        product=1024,
    ),
    "gpu": TrainSize(
        network=UNetSettings(channels=112, multipliers=(1, 2, 3), blocks=2, attention=(16,)),
        peers=PeerSize(multipliers=(1, 2, 3), diffusers=120, denoising=144, layers=2),
        classifier=ResNetSettings(width=64),
        batch=256,
        side=32,
        product=8192,
    ),
}

_CLASSES, _SIGMA_DATA, _IMAGES, _PICTURES = 10, 0.5, 2048, 512
_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


class _Variant(NamedTuple):
    step: Callable[[], object]
    precision: Precision
    parameters: int
    counted: str  # the variant, computed in plain float32, whose work this one's is


def count_work(step: Callable[[], object]) -> int:
    """Multiplications and additions in matrix products, convolutions and attention of one call."""
    with Operations() as work:
        step()
    total: int = work.total
    return total


def bench_train(
    name: str, device: torch.device, rounds: int = 5, compiled: bool = False
) -> Generator[str, None, list[dict[str, Any]]]:
    """Times a training step of every kind, taking turns.

    Args:
        name: one of `TRAIN_SIZES`.
        device: where.
        rounds: over which the median is taken.
        compiled: our steps compiled as well, which takes minutes.

    Yields:
        What comes next, and which library cannot be compared with.

    Returns:
        Rows {"what", "variant", "size", "value", "unit"}: "step" in ms, "speed" in images a second, "parameters",
        "work" in TFLOP a step, "rate" in TFLOP/s, "share" of the ceiling of the same precision, "memory" in MB that a
        step takes beyond what rests between steps (on CUDA), "ceiling" of each precision in TFLOP/s; and by precision
        "relative speed", the score model's images a second in those of the faster peer.
    """
    size = TRAIN_SIZES[name]
    with contextlib.ExitStack() as stack:
        pictures = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = _images(size, device)
        write_pictures(pictures, data.x[:_PICTURES].cpu())
        variants = _ours(size, data, compiled)
        for peer, make in PEERS.items():
            for precision in _PRECISIONS:
                try:
                    step, network = stack.enter_context(make(size.peers, pictures, size.batch, device, precision))
                except Missing as missing:
                    yield str(missing)
                    break
                where = f"{peer}, {precision}"
                variants[where] = _Variant(step, precision, _count(network), f"{peer}, float32")
        yield "work"
        work = {variant.counted: 0 for variant in variants.values()}
        for counted in work:
            work[counted] = count_work(variants[counted].step)
        steps = {variant: about.step for variant, about in variants.items()}
        products = {f"ceiling, {precision}": _products(size, precision, device) for precision in _PRECISIONS}
        flat = {f"{key}, {kind}": call for key, both in products.items() for kind, (call, _) in both.items()}
        timings = yield from take_turns(steps | flat, rounds, device)
        ceilings = {
            precision: max(
                amount / timings[f"ceiling, {precision}, {kind}"] / 1e9
                for kind, (_, amount) in products[f"ceiling, {precision}"].items()
            )
            for precision in _PRECISIONS
        }
        memory = {variant: _memory(step, device) for variant, step in steps.items()} if device.type == "cuda" else {}

    rows: list[dict[str, Any]] = []
    shape = f"batch {size.batch} of {data.shape[0]}x{size.side}x{size.side}"

    def row(what: str, variant: str, value: float, unit: str) -> None:
        rows.append({"what": what, "variant": variant, "size": f"{name}: {shape}", "value": value, "unit": unit})

    for variant, about in variants.items():
        ms = timings[variant]
        rate = work[about.counted] / ms / 1e9
        row("step", variant, ms, "ms")
        row("speed", variant, 1e3 * size.batch / ms, "images/s")
        row("parameters", variant, about.parameters, "")
        row("work", variant, work[about.counted] / 1e12, "TFLOP a step")
        row("rate", variant, rate, "TFLOP/s")
        row("share", variant, rate / ceilings[about.precision], "of the ceiling")
        if variant in memory:
            row("memory", variant, memory[variant], "MB beyond what rests")
    for precision, ceiling in ceilings.items():
        row("ceiling", precision, ceiling, "TFLOP/s")
        rivals = [timings[f"{peer}, {precision}"] for peer in PEERS if f"{peer}, {precision}" in timings]
        for variant, about in variants.items():
            if rivals and about.precision == precision and about.counted == _SCORE:
                row("relative speed", variant, min(rivals) / timings[variant], "of the faster peer")
    return rows


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _images(size: TrainSize, device: torch.device) -> LabelledSet:
    """Smooth images: noise would be slow to read from files."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(_IMAGES, 3, 8, 8, generator=generator) * 255
    x = F.interpolate(coarse, (size.side, size.side), mode="bilinear").to(torch.uint8)
    y = torch.arange(_IMAGES) % _CLASSES
    return LabelledSet(x, y, tuple(map(str, range(_CLASSES))), "smooth noise", "train").to(device)


_SCORE, _CE, _DLSM = "score model, float32", "CE classifier, float32", "DLSM classifier, float32"


def _ours(size: TrainSize, data: LabelledSet, compiled: bool) -> dict[str, _Variant]:
    processes = Processes(cpu=data.x.device.type == "cpu")
    about: dict[str, Any] = {
        "schedule": EDM(),
        "shape": data.shape,
        "names": data.names,
        "sigma_data": _SIGMA_DATA,
    }

    def score() -> ScoreModel:
        torch.manual_seed(0)
        return ScoreConfig(network=size.network, **about).build().to(data.x.device)

    def learner(what: str, precision: Precision) -> Task:
        if what == _SCORE:
            return ScoreTask(score(), LogNormal())
        loss = CrossEntropy() if what == _CE else DLSM()
        prior = lighten_(score().eval().requires_grad_(False), PriorSettings(precision=precision))
        classifier = ClassifierConfig(network=size.classifier, **about).build().to(data.x.device)
        return ClassifierTask(classifier, loss, LogNormal(), prior)

    variants: dict[str, _Variant] = {}
    for what in (_SCORE, _CE, _DLSM):
        for precision in _PRECISIONS:
            last = (", channels last",) if data.x.device.type == "cuda" else ()  # on a CPU they always are
            for how in ("", *last, *((", compiled",) if compiled else ())):
                task = learner(what, precision)
                if how == ", channels last":
                    for model in task.models().values():
                        model.to(memory_format=torch.channels_last)
                settings = TrainingSettings(
                    steps=10**9, batch=size.batch, flip=True, precision=precision, compile=how == ", compiled"
                )
                state = State.fresh(task.models(), settings.betas)
                records = train(task, state, data, settings, 0, processes)
                name = what.replace("float32", precision) + how
                variants[name] = _Variant(_next(records), precision, _count(state.models["model"]), what)
    return variants


def _next(records: Iterator[object]) -> Callable[[], object]:
    return lambda: next(records)


def _products(
    size: TrainSize, precision: Precision, device: torch.device
) -> dict[str, tuple[Callable[[], Tensor], int]]:
    """A matrix product and a convolution, and the work of each."""
    dtype = getattr(torch, precision)
    a = torch.randn(size.product, size.product, device=device).to(dtype)
    channels = max(16, size.product // 16)
    x = torch.randn(size.batch, channels, size.side, size.side, device=device).to(dtype)
    w = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
    x, w = x.to(memory_format=torch.channels_last), w.to(memory_format=torch.channels_last)
    return {
        "product": (lambda: a @ a, 2 * size.product**3),
        "convolution": (lambda: F.conv2d(x, w, padding=1), 18 * size.batch * (channels * size.side) ** 2),
    }


def _memory(step: Callable[[], object], device: torch.device) -> float:
    torch.cuda.reset_peak_memory_stats(device)
    resting = torch.cuda.memory_allocated(device)
    step()
    return (torch.cuda.max_memory_allocated(device) - resting) / 1e6

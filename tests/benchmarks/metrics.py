"""Metrics next to those of other libraries: the same numbers, their time, and the memory that they take.

    uv run --group bench tests/benchmarks/metrics.py --full --json assets/metrics.json    (5 minutes)
    uv run --group bench tests/benchmarks/metrics.py --n 50000 --features 64 --alone

All get the same features, of correlated Gaussians whose variances fall over four decades, take turns in one run and use
two threads. Memory is the peak above what is held before, in MB.
"""

import contextlib
import io
from typing import Annotated, NamedTuple

import torch
import typer
from bench import Figure, Full, JsonFile, Rounds, finish, peak_memory, run, take_turns
from prdc import compute_prdc
from scipy.linalg import sqrtm
from torch import Tensor
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from condgen.metrics.frechet import Gaussian, frechet_distance
from condgen.metrics.kernel import kernel_distance
from condgen.metrics.neighbours import prdc
from condgen.metrics.variety import classifier_score
from condgen.rng import keyed_generator


class Statistics(NamedTuple):
    mean: Tensor
    covariance: Tensor


def frechet(real, fake):
    return [frechet_distance(Gaussian.of(*fake), Gaussian.of(*real))]


def frechet_scipy(real, fake):
    root = sqrtm((real.covariance @ fake.covariance).numpy()).real.trace()
    gap = (real.mean - fake.mean).square().sum()
    return [float(gap + real.covariance.trace() + fake.covariance.trace() - 2 * root)]


def frechet_fidelity(real, fake):
    statistics = [{"mu": one.mean.numpy(), "sigma": one.covariance.numpy()} for one in (real, fake)]
    return list(fid_statistics_to_metric(*statistics, verbose=False).values())


def frechet_torchmetrics(real, fake):
    return [float(_compute_fid(fake.mean, fake.covariance, real.mean, real.covariance))]


def neighbours(real, fake):
    found = prdc(real, fake, 5)
    return [float(getattr(found, name).mean()) for name in ("precision", "recall", "density", "coverage")]


def neighbours_package(real, fake):
    with contextlib.redirect_stdout(io.StringIO()):
        return list(compute_prdc(real.numpy(), fake.numpy(), nearest_k=5).values())


def kernel(real, fake):
    return [kernel_distance(fake, real)[0]]


def kernel_fidelity(real, fake):
    found = kid_features_to_metric(fake, real, kid_subset_size=min(1000, len(real)), verbose=False)
    return [found["kernel_inception_distance_mean"]]


def kernel_torchmetrics(real, fake):
    pairs = [(torch.randperm(len(real))[:1000], torch.randperm(len(fake))[:1000]) for _ in range(100)]
    return [float(sum(poly_mmd(real[i], fake[j]) for i, j in pairs) / len(pairs))]


def logits(real, fake):
    return (fake @ real[:1008].T) / fake.shape[1] ** 0.5


def score(real, fake):
    return [classifier_score(logits(real, fake), keyed_generator(0))[0]]


def score_fidelity(real, fake):
    drawn = logits(real, fake)[torch.randperm(len(fake), generator=keyed_generator(0))]
    return [isc_features_to_metric(drawn, shuffle=False)["inception_score_mean"]]


CASES = {
    "Frechet distance": {
        "condgen": frechet,
        "scipy sqrtm": frechet_scipy,
        "torch-fidelity": frechet_fidelity,
        "torchmetrics": frechet_torchmetrics,
    },
    "precision, recall, density, coverage": {"condgen": neighbours, "prdc package": neighbours_package},
    "kernel distance, all pairs against 100 subsets": {
        "condgen": kernel,
        "torch-fidelity": kernel_fidelity,
        "torchmetrics": kernel_torchmetrics,
    },
    "inception score from logits": {"condgen": score, "torch-fidelity": score_fidelity},
}


def features(n, width) -> tuple[Tensor, Tensor]:
    """Real and generated features (n, width); the generated ones are a little off."""
    mixing = torch.randn(width, width, generator=keyed_generator(0)) / width**0.5
    mixing *= torch.logspace(0, -2, width)
    real, fake = (torch.randn(n, width, generator=keyed_generator(key)) @ mixing.T for key in (1, 2))
    return real, 1.05 * fake + 0.02


def main(
    json: JsonFile = None,
    full: Full = False,
    n: int | None = None,
    width: Annotated[int | None, typer.Option("--features", help="By default 64, with --full 2,048 as well.")] = None,
    alone: Annotated[bool, typer.Option(help="Without other libraries, whose memory some sizes exceed.")] = False,
    rounds: Rounds = 2,
) -> None:
    torch.set_num_threads(2)
    n, figures = n or (10_000 if full else 3_000), []
    for each in [width] if width else [64, 2048] if full else [64]:
        samples = features(n, each)
        for name, ways in CASES.items():
            if alone:
                ways = {"condgen": ways["condgen"]}
            given = samples
            if name.startswith("Frechet"):
                given = [Statistics(x.double().mean(0), x.double().T.cov()) for x in samples]
            works = {who: lambda way=way, given=given: way(*given) for who, way in ways.items()}
            times = take_turns(works, rounds, torch.device("cpu"))
            ours = works["condgen"]()
            for who, work in works.items():
                size = f"{name}, {n:,} against {n:,}, {each:,} features"
                gaps = [abs(theirs - value) / abs(value) for theirs, value in zip(work(), ours, strict=True)]
                figures.append(Figure("time", who, size, "ms", times[who]))
                figures.append(Figure("relative", who, size, "condgen's times", times[who] / times["condgen"]))
                figures.append(Figure("memory", who, size, "MB", peak_memory(work, torch.device("cpu"))))
                figures.append(Figure("difference", who, size, "", max(gaps)))
    finish(figures, json, rounds=rounds)


if __name__ == "__main__":
    run(main)

r"""One table of metrics: each method's samples, and held-out real ones, against the same real reference.

What each number is, and its 95% interval:

* class accuracy: the fraction of samples in which the `Judge` sees the class that was asked for; Wilson interval;
* FD@n: Fréchet distance of n samples from the train split; value ± 1.96 standard errors of 50 bootstrap resamples of
  the samples. The value is biased upwards at finite n, the same for a method and for its floor;
* precision, recall, coverage: Wilson intervals, and density: ± 1.96 standard errors of the mean; those of recall and
  coverage count the real samples as drawn anew and the generated ones as given;
* class-wise precision to coverage: the same four within each class, averaged over the classes that have enough samples
  on both sides; Wilson interval at the number of samples that the mean over classes amounts to, and again ± 1.96
  standard errors for density. The neighbour is the fifth, or, where n samples leave a class fewer than six of them, the
  one before the last of that class: k = min(5, n / classes - 1), at least 1. So figures at different n may differ in k;
* in-class std ratio: per class the standard deviation of samples over that of real ones, both averaged over features,
  then averaged over the classes that have at least 2 samples on both sides; bootstrap interval as above. Below one,
  variety is lost. There is no row where no class has 2 samples.

The *floor* of a metric is its value for real held-out samples at the same n (or as many as there are: `floor_n`), drawn
in proportion to the classes; for class accuracy it is the judge's accuracy on the whole test split. A sample is
compared in the units of its features: images in [-1, 1], points as they are.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.data import LabelledSet, stratified_order
from condgen.errors import UserError
from condgen.metrics.collapse import class_spread
from condgen.metrics.features import Extractor, extract, extract_real, pixels
from condgen.metrics.frechet import Gaussian, frechet_distance
from condgen.metrics.judge import Judge
from condgen.metrics.manifold import classwise_prdc, nearest_radii, prdc
from condgen.rng import keyed_generator

__all__ = ["REAL", "MetricRow", "evaluate"]

REAL = "real (held out)"  # the method whose samples are the test split

_ACCURACY, _DISTANCE, _STD_RATIO = "class accuracy", "FD", "in-class std ratio"
_OVERLAPS = ("precision", "recall", "density", "coverage")
_CLASSWISE = {f"class-wise {name}": name for name in _OVERLAPS}
_NEIGHBOUR = 5
_MOST_REAL = 10_000  # real samples whose neighbours are searched; the time grows with the square of their number
_RESAMPLES = 50
_Z = 1.96
_FLOOR, _BOOTSTRAP, _REAL_DRAW = 1, 2, 3  # purposes of random streams


@dataclass(frozen=True)
class MetricRow:
    """One number with its conditions.

    Args:
        method: whose samples.
        metric: what was measured.
        value: the measurement.
        low: lower end of its 95% interval.
        high: upper end of its 95% interval.
        n: the number of samples measured.
        features: the space, or the judge, of the measurement.
        reference: the real samples that it is compared with, and how many of them.
        floor: the same metric of real held-out samples; None where they cannot give it.
        floor_n: the number of samples behind the floor.
        seed: of the draws behind floors and intervals.
    """

    method: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    features: str
    reference: str
    floor: float | None
    floor_n: int
    seed: int

    def as_dict(self) -> dict[str, str | int | float | None]:
        """The row as plain values, ready for JSON."""
        return dataclasses.asdict(self)


class _Estimate(NamedTuple):
    value: float
    low: float
    high: float


def evaluate(
    methods: Mapping[str, tuple[Tensor, Tensor]], train: LabelledSet, test: LabelledSet, seed: int
) -> list[MetricRow]:
    """Measures every method, and then the held-out real samples under the name `REAL`.

    Args:
        methods: per name the samples (N, ...), images in [-1, 1] or points, and the labels asked for (N,).
        train: the real reference, on which the judge is fitted too.
        test: held-out real samples of the same classes.
        seed: non-negative; of the draws behind floors and intervals. The values do not depend on it, except the
            floors, and precision to coverage where the reference is drawn from more than 10,000 samples.

    Raises:
        UserError: samples that are too few, are not finite, or do not fit the data set.
        ValueError: a method called `REAL`, or test samples of another kind than the train samples.
    """
    if REAL in methods:
        raise ValueError(f"the name {REAL!r} is taken by the test split")
    if (test.shape, test.names) != (train.shape, train.names):
        raise ValueError("the train and the test split differ in shape or classes")
    everything = {**methods, REAL: (test.floats(), test.y)}
    for method, (x, y) in everything.items():
        _check(method, x, y, train)

    judge = Judge.fit(train, test)
    judge_text = f"{judge.name} (held-out accuracy {judge.held_out_accuracy:.3f})"
    reference = _Reference.of(train, seed)
    real_features, real_y = extract_real(reference.extractor, test), test.y.cpu()
    order = stratified_order(real_y, keyed_generator(seed, _FLOOR))
    floors: dict[int, dict[str, _Estimate]] = {}
    rows = []
    for method, (x, y) in everything.items():
        n, floor_n = len(x), min(len(x), len(test))
        if floor_n not in floors:
            chosen = order[:floor_n]
            floors[floor_n] = _measure(real_features[chosen], real_y[chosen], reference, seed)
        if method == REAL:
            accuracy, estimates = judge.held_out_accuracy, floors[floor_n]
        else:
            y = y.cpu().long()
            accuracy = float((judge.predict(x) == y).double().mean())
            estimates = _measure(extract(reference.extractor, x), y, reference, seed)
        for metric, estimate in {_ACCURACY: _proportion(accuracy, n), **estimates}.items():
            judged = metric == _ACCURACY
            floor = floors[floor_n].get(metric)
            rows.append(
                MetricRow(
                    method=method,
                    metric=f"FD@{n}" if metric == _DISTANCE else metric,
                    value=estimate.value,
                    low=estimate.low,
                    high=estimate.high,
                    n=n,
                    features=judge_text if judged else reference.extractor.name,
                    reference=reference.text_for(metric, n),
                    floor=judge.held_out_accuracy if judged else floor.value if floor else None,
                    floor_n=len(test) if judged else floor_n,
                    seed=seed,
                )
            )
    return rows


def _check(method: str, x: Tensor, y: Tensor, train: LabelledSet) -> None:
    if tuple(x.shape[1:]) != train.shape:
        raise UserError(
            f"{method}: samples of shape {tuple(x.shape[1:])} cannot be compared with {train.source}, whose samples are"
            f" {train.shape}; evaluate them against the data that their model was trained on"
        )
    if y.shape != x.shape[:1]:
        raise UserError(f"{method}: {len(x)} samples have labels of shape {tuple(y.shape)}; give one label each")
    if len(x) <= _NEIGHBOUR:
        raise UserError(f"{method}: {len(x)} samples are too few; provide at least {_NEIGHBOUR + 1}")
    outside = y[(y < 0) | (y >= train.n_classes)]
    if len(outside):
        raise UserError(
            f"{method}: label {int(outside[0])} is not a class of {train.source}; use 0 to {train.n_classes - 1}"
        )
    broken = int((~x.flatten(1).isfinite()).any(1).sum())
    if broken:
        raise UserError(f"{method}: {broken} of {len(x)} samples hold NaN or infinite values; sample anew or drop them")


@dataclass(frozen=True, eq=False)
class _Reference:
    """What all methods are compared with, computed once."""

    text: str
    manifold_text: str
    extractor: Extractor
    gaussian: Gaussian
    spread: Tensor  # (K,)
    manifold: Tensor  # (at most _MOST_REAL, F)
    manifold_y: Tensor
    radii: Tensor

    @classmethod
    def of(cls, train: LabelledSet, seed: int) -> "_Reference":
        if len(train) <= _NEIGHBOUR:
            raise UserError(f"{train.source}: {len(train)} train samples are too few; at least 6 are needed")
        extractor = pixels(train.shape)
        features = extract_real(extractor, train)
        manifold, manifold_y, drawn = features, train.y.cpu(), ""
        if len(train) > _MOST_REAL:
            chosen = stratified_order(train.y, keyed_generator(seed, _REAL_DRAW))[:_MOST_REAL]
            manifold, manifold_y = features[chosen], manifold_y[chosen]
            drawn = f"{_MOST_REAL} of "
        name = f"{train.source} {train.split}"
        return cls(
            text=f"{name} ({len(train)})",
            manifold_text=f"{name} ({drawn}{len(train)})",
            extractor=extractor,
            gaussian=Gaussian.fit(features),
            spread=class_spread(features, train.y.cpu(), train.n_classes),
            manifold=manifold,
            manifold_y=manifold_y,
            radii=nearest_radii(manifold, _NEIGHBOUR),
        )

    def neighbour(self, n: int) -> int:
        """The neighbour of class-wise metrics of n samples."""
        return max(1, min(_NEIGHBOUR, n // len(self.spread) - 1))

    def text_for(self, metric: str, n: int) -> str:
        """What a metric of n samples is compared with."""
        if metric in _CLASSWISE:
            return f"{self.manifold_text}, class by class, k = {self.neighbour(n)}"
        return self.manifold_text if metric in _OVERLAPS else self.text


def _measure(features: Tensor, y: Tensor, reference: _Reference, seed: int) -> dict[str, _Estimate]:
    """Every metric but class accuracy, with its interval."""
    n = len(features)
    # The same resamples for every method of n samples, so that their differences are not those of the draws.
    generator = keyed_generator(seed, _BOOTSTRAP, n)
    resamples = [torch.randint(n, (n,), generator=generator).bincount(minlength=n) for _ in range(_RESAMPLES)]

    def distance(counts: Tensor | None = None) -> float:
        return frechet_distance(Gaussian.fit(features, counts), reference.gaussian)

    def ratio(counts: Tensor | None = None) -> float:
        ratios = class_spread(features, y, len(reference.spread), counts) / reference.spread
        return float(ratios[ratios.isfinite()].mean())

    estimates = {_DISTANCE: _bootstrapped(distance(), [distance(counts) for counts in resamples])}
    overlap = prdc(reference.manifold, features, _NEIGHBOUR, reference.radii)
    for name in _OVERLAPS:
        items = getattr(overlap, name)
        mean = float(items.mean())
        estimates[name] = (
            _symmetric(mean, float(items.std()) / math.sqrt(len(items)))
            if name == "density"
            else _proportion(mean, len(items))
        )
    estimates |= _classwise(features, y, reference)
    value = ratio()
    if math.isfinite(value):
        estimates[_STD_RATIO] = _bootstrapped(value, [ratio(counts) for counts in resamples])
    return estimates


def _classwise(features: Tensor, y: Tensor, reference: _Reference) -> dict[str, _Estimate]:
    """The means over classes; empty where no class has enough samples."""
    k = reference.neighbour(len(features))
    found = classwise_prdc(reference.manifold, reference.manifold_y, features, y, k).values()
    estimates = {}
    for metric, name in _CLASSWISE.items() if found else ():
        items = [getattr(overlap, name) for overlap in found]
        mean = sum(float(one.mean()) for one in items) / len(items)
        variance = sum(float(one.var()) / len(one) for one in items) / len(items) ** 2
        size = len(items) ** 2 / sum(1 / len(one) for one in items)  # of one set whose mean is as sure
        estimates[metric] = _symmetric(mean, math.sqrt(variance)) if name == "density" else _proportion(mean, size)
    return estimates


def _symmetric(value: float, standard_error: float) -> _Estimate:
    return _Estimate(value, value - _Z * standard_error, value + _Z * standard_error)


def _bootstrapped(value: float, resampled: list[float]) -> _Estimate:
    # A resample that holds no class twice has no ratio.
    finite = [number for number in resampled if math.isfinite(number)]
    return _symmetric(value, float(torch.tensor(finite, dtype=torch.float64).std()))


def _proportion(value: float, n: float) -> _Estimate:
    """The Wilson (1927) interval, which is sound at 0 and 1 too."""
    shrink = 1 + _Z**2 / n
    centre = (value + _Z**2 / (2 * n)) / shrink
    half = _Z / shrink * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2))
    return _Estimate(value, centre - half, centre + half)

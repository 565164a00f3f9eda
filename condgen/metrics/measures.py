"""The metrics: a function each of samples compared with real ones, in one dict that evaluation and reports walk."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Literal, NamedTuple, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from condgen.data.labelled import LabelledSet, by_class, stratified_order
from condgen.errors import UserError
from condgen.metrics.features import Extractor, Features
from condgen.metrics.frechet import Gaussian, frechet_distance, influences
from condgen.metrics.judge import Judge
from condgen.metrics.kernel import kernel_distance, mean_within
from condgen.metrics.neighbours import Manifold, Memory, memory, nearest_radii, prdc
from condgen.metrics.variety import class_spread, classifier_score
from condgen.rng import keyed_generator
from condgen.rows import AveragedRow, Estimate

SEEN_AS = "seen as "  # before the name of a class: the share of the samples of another in which the judge sees it
REAL = "real (held out)"  # the method whose samples are the test split
NEIGHBOUR = 5
_Z = 1.96
_OVERLAPS = ("precision", "recall", "density", "coverage")
FLOOR, _DRAW, _SPLITS = 1, 3, 4  # purposes of random streams
_LEAST_FOR_SCORE, _LEAST_FOR_FID = 100, 10_000
_STUDENT = 2.262  # the quantile .975 of Student's distribution with 9 degrees of freedom

Goal: TypeAlias = Literal["high", "low", "one"]


class MetricRow(AveragedRow):
    """One number with its conditions and its 95% interval."""

    method: str  # whose samples
    metric: str
    value: float | None
    n: int = Field(ge=1)  # samples measured
    features: str  # the space, or the judge, of the measurement
    reference: str  # the real samples that it is compared with, and how many of them
    floor: float | None  # the same metric of real samples; None where they cannot give it
    floor_n: int  # samples behind the floor
    seed: int | None = None  # of the draws behind floors and intervals


def symmetric(value: float, standard_error: float) -> Estimate:
    """The interval of 1.96 standard errors to either side."""
    return Estimate.within(value, _Z * standard_error)


def proportion(value: float, n: float) -> Estimate:
    """The Wilson (1927) interval of a fraction of n, which is sound at 0 and 1 too."""
    shrink = 1 + _Z**2 / n
    centre = (value + _Z**2 / (2 * n)) / shrink
    half = _Z / shrink * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2))
    return Estimate(value, centre - half, centre + half)


class Measured(NamedTuple):
    """A figure of n samples; `at` so many where it is biased by their number."""

    estimate: Estimate
    reference: str
    n: int
    by_class: Mapping[int, float] = {}
    at: int | None = None
    features: str = "{}"  # the name of the extractor, or what looks at its features


class Reference:
    """The splits of a data set as an extractor sees them; neighbours are looked at among `some` of `most` at most."""

    def __init__(
        self, train: LabelledSet, test: LabelledSet, features: Features, held_out: Features, most: int, seed: int
    ) -> None:
        size = len(train)
        if size <= NEIGHBOUR:
            raise UserError(f"{train.source}: {size} train samples are too few; at least {NEIGHBOUR + 1} are needed")
        self.train, self.test, self.held_out, self.vectors = train, test, held_out, features.vectors
        self.y, self.n_classes, self.most, self.seed = train.y_on_cpu, train.n_classes, most, seed
        self.text = f"{train.source} {train.split} ({size})"
        self.text_of_some = self.text if size <= most else f"{train.source} {train.split} ({most} of {size})"
        self.some = self.vectors[self.drawn(self.y)]
        self.radii = nearest_radii(self.some, NEIGHBOUR)
        self.gaussian, self.held_out_gaussian = Gaussian.fit(self.vectors), Gaussian.fit(held_out.vectors)
        self.within = mean_within(self.some)  # of the kernel
        self.spread = class_spread(self.vectors, self.y, self.n_classes).value  # (K,)
        self.judge = Judge(self.vectors, self.y) if len(self.y.unique()) > 1 else None
        self.judged = self.judge.accuracy(held_out.vectors, test.y) if self.judge else math.nan
        self._real = dict[int, Comparison]()

    def drawn(self, y: Tensor) -> Tensor:
        """The places of the samples whose neighbours are looked at: all, or some of each class."""
        if len(y) <= self.most:
            return torch.arange(len(y))
        return stratified_order(y, keyed_generator(self.seed, _DRAW))[: self.most].sort().values

    def real(self, n: int) -> "Comparison":
        """So many held-out samples, or as many as there are."""
        n = min(n, len(self.test))
        if n not in self._real:
            y, chosen = self.test.y_on_cpu, torch.arange(n)
            if n < len(y):
                chosen = stratified_order(y, keyed_generator(self.seed, FLOOR))[:n]
            self._real[n] = Comparison(self.held_out.at(chosen), y[chosen], self, real=True)
        return self._real[n]


class Comparison:
    def __init__(self, features: Features, y: Tensor, reference: Reference, *, real: bool = False) -> None:
        self.vectors, self.logits = features
        self.real = real  # whether they are held out themselves
        self.y, self.reference, self.seed, self.n = y, reference, reference.seed, len(y)
        self.k = max(1, min(NEIGHBOUR, self.n // reference.n_classes - 1))  # of class-wise metrics
        self.drawn = reference.drawn(y)  # the samples whose neighbours are looked at
        self.some = self.vectors[self.drawn]
        self.memory: Memory = memory(reference.vectors, self.some)
        self.overlap = prdc(reference.some, self.some, NEIGHBOUR, reference.radii)
        of_reference, own = by_class(reference.y), by_class(y)
        both = [label for label in own if label in of_reference]
        pairs = {label: (reference.vectors[of_reference[label]], self.vectors[own[label]]) for label in both}
        # Reference and samples of each class that has more than k on both sides
        self.classes = {label: pair for label, pair in pairs.items() if min(map(len, pair)) > self.k}
        self.class_overlaps = {label: prdc(*pair, self.k) for label, pair in self.classes.items()}

    @cached_property
    def seen(self) -> Tensor:
        """The class that the judge sees in each sample, (N,)."""
        assert self.reference.judge is not None
        return self.reference.judge.predict(self.vectors)

    @cached_property
    def figures(self) -> dict[str, Measured]:
        found = ((name, metric.compute(self)) for name, metric in METRICS.items())
        return {name: figure for name, figure in found if figure is not None}

    def within(self, classes: int) -> str:
        """The reference of a figure that is a mean over so many classes."""
        total = self.reference.n_classes
        some = "" if classes == total else f", {classes} of {total} classes"
        return f"{self.reference.text}, class by class{some}"


class Metric(NamedTuple):
    goal: Goal | None  # where it should go; None: neither end is better by itself
    compute: Callable[[Comparison], Measured | None]  # None where the samples cannot give it
    inception: str = ""  # its name in papers, where features are Inception's,
    least: int = 0  # of so many samples at least


def _class_accuracy(of: Comparison) -> Measured | None:
    """The fraction in which the judge sees the class asked for; of held-out samples, that of all of them."""
    reference = of.reference
    if reference.judge is None:
        return None
    n = len(reference.test) if of.real else of.n
    accuracy = reference.judged if of.real else float((of.seen == of.y).double().mean())
    some = f", {Judge.most} training samples" if len(reference.y) > Judge.most else ""
    judge = f"{reference.judge.name} on {{}}{some} (held-out accuracy {reference.judged:.3f})"
    return Measured(proportion(accuracy, n), reference.text, n, features=judge)


def _frechet(of: Comparison) -> Measured:
    value, error = _frechet_with_error(of.vectors, of.reference.gaussian)
    return Measured(symmetric(value, error), of.reference.text, of.n, at=of.n)


def _held_out_frechet(of: Comparison) -> Measured:
    """From the held-out samples, for which as many of the train split stand in where they are the samples."""
    vectors, reference, test = of.vectors, of.reference, of.reference.test
    if of.real:
        vectors = reference.vectors[stratified_order(reference.y, keyed_generator(of.seed, _DRAW))[: of.n]]
    value, error = _frechet_with_error(vectors, reference.held_out_gaussian)
    return Measured(symmetric(value, error), f"{test.source} test ({len(test)})", len(vectors), at=len(vectors))


def _frechet_with_error(vectors: Tensor, real: Gaussian) -> tuple[float, float]:
    own = Gaussian.fit(vectors)
    error = influences(vectors, own, real).square().sum().sqrt() / len(vectors)
    return frechet_distance(own, real), float(error)


def _kernel(of: Comparison) -> Measured:
    found = kernel_distance(of.some, of.reference.some, of.reference.within)
    return Measured(symmetric(*found), of.reference.text_of_some, len(of.some))


def _classifier_score(of: Comparison) -> Measured | None:
    if of.logits is None or of.n < _LEAST_FOR_SCORE:
        return None
    mean, std = classifier_score(of.logits, keyed_generator(of.seed, _SPLITS))
    half = _STUDENT * std / 3  # the root of 10 - 1, since the deviation is that of a population
    return Measured(Estimate.within(mean, half), "none (10 splits)", of.n, at=of.n)


def _mean(name: str, overlaps: Iterable[Manifold]) -> Estimate:
    items = [getattr(overlap, name) for overlap in overlaps]
    mean = sum(float(one.mean()) for one in items) / len(items)
    if name == "density":
        return symmetric(mean, math.sqrt(sum(float(one.var()) / len(one) for one in items)) / len(items))
    return proportion(mean, len(items) ** 2 / sum(1 / len(one) for one in items))  # of one set whose mean is as sure


def _overlap(name: str, of: Comparison) -> Measured:
    return Measured(_mean(name, [of.overlap]), of.reference.text_of_some, len(of.some))


def _class_overlap(name: str, of: Comparison) -> Measured | None:
    if not of.class_overlaps:
        return None
    each = {label: float(getattr(overlap, name).mean()) for label, overlap in of.class_overlaps.items()}
    return Measured(_mean(name, of.class_overlaps.values()), f"{of.within(len(each))}, k = {of.k}", of.n, each)


def _class_wise(distance: Callable[[Tensor, Tensor], tuple[float, float]], of: Comparison) -> Measured | None:
    """The mean over classes of a distance of samples from real ones, which has a standard error from 3 samples on."""
    found = {label: distance(own, real) for label, (real, own) in of.classes.items() if len(own) > 2}
    if not found:
        return None
    mean = sum(value for value, _ in found.values()) / len(found)
    error = math.sqrt(sum(error**2 for _, error in found.values())) / len(found)
    by_class = {label: value for label, (value, _) in found.items()}
    return Measured(symmetric(mean, error), of.within(len(found)), of.n, by_class)


def _class_frechet(of: Comparison) -> Measured | None:
    mean = _class_wise(lambda own, real: _frechet_with_error(own, Gaussian.fit(real)), of)
    return mean and mean._replace(at=max(1, of.n // len(of.y.unique())))


def _std_ratio(of: Comparison) -> Measured | None:
    """The mean over classes of the spread of samples over that of real ones."""
    spread, real = class_spread(of.vectors, of.y, of.reference.n_classes), of.reference.spread
    ratio, error = spread.over(real)
    if not math.isfinite(ratio):
        return None
    each = {label: value for label, value in enumerate((spread.value / real).tolist()) if math.isfinite(value)}
    return Measured(symmetric(ratio, error), of.within(len(each)), of.n, each)


def _authenticity(of: Comparison) -> Measured:
    authentic = of.memory.authentic
    return Measured(proportion(float(authentic.mean()), len(authentic)), of.reference.text, len(authentic))


METRICS: dict[str, Metric] = {
    "class accuracy": Metric("high", _class_accuracy),
    "FD": Metric("low", _frechet, "FID", _LEAST_FOR_FID),
    "held-out FD": Metric("low", _held_out_frechet, "held-out FID", _LEAST_FOR_FID),
    "KD": Metric("low", _kernel, "KID"),
    "classifier score": Metric("high", _classifier_score, "IS"),
    **{name: Metric("high", partial(_overlap, name)) for name in _OVERLAPS},
    "class-wise FD": Metric("low", _class_frechet),
    "class-wise KD": Metric("low", partial(_class_wise, kernel_distance), "class-wise KID"),
    **{f"class-wise {name}": Metric("high", partial(_class_overlap, name)) for name in _OVERLAPS},
    "in-class std ratio": Metric("one", _std_ratio),
    "authenticity": Metric(None, _authenticity),
}


def title(name: str, at: int | None, extractor: Extractor) -> str:
    """The printed name: that of papers with Inception's features, and the number of samples where it biases."""
    metric = METRICS.get(name)
    if metric is not None and metric.inception and extractor.inception and (at or 0) >= metric.least:
        name = metric.inception
    return name if at is None else f"{name}@{at}"


def goal_of(printed: str) -> Goal | None:
    """Where a metric of this printed name should go; None for one that is unknown or better at neither end."""
    base = printed.partition("@")[0].partition(" (")[0]
    goals = {name: metric.goal for key, metric in METRICS.items() for name in (key, metric.inception)}
    return (goals | {"CAS": "high"}).get(base)

"""The figures of one method's features against a reference, each with its interval, whole and class by class."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.metrics.classifier_score import classifier_score
from condgen.metrics.features import Features
from condgen.metrics.frechet import Gaussian, frechet_distance, influences
from condgen.metrics.kernel import KernelReference, kernel_distance
from condgen.metrics.manifold import Manifold, prdc
from condgen.metrics.memory import Memory
from condgen.metrics.reference import NEIGHBOUR, Reference
from condgen.metrics.rows import Estimate, proportion, symmetric
from condgen.metrics.variety import MOST_PAIRED, class_distance, class_spread
from condgen.rng import keyed_generator

__all__ = ["OVERLAPS", "Measured", "measure"]

OVERLAPS = ("precision", "recall", "density", "coverage")
_RESAMPLES, _WIDE = 50, 256  # bootstrap resamples; features above which its limit is computed instead
_BOOTSTRAP, _SPLITS = 2, 4  # purposes of random streams
_LEAST_FOR_SCORE = 100
_STUDENT = 2.262  # the quantile .975 of Student's distribution with 9 degrees of freedom


class Measured(NamedTuple):
    """A figure of n samples and what it is compared with; `at` so many where the figure is biased by their number."""

    estimate: Estimate
    reference: str
    n: int
    by_class: Mapping[int, float] = {}
    at: int | None = None


def measure(features: Features, y: Tensor, reference: Reference, remembered: Memory, seed: int) -> dict[str, Measured]:
    """Every metric of features, by its name without the number of samples.

    Args:
        features: of samples.
        y: the labels asked for, (N,).
        reference: the real samples.
        remembered: the training samples that are nearest to some of the samples.
        seed: of the bootstrap, and of the order in which samples are split.
    """
    vectors, logits = features
    n, inception = len(vectors), reference.extractor.inception
    drawn = reference.drawn(y)
    some = vectors[drawn]
    kernel = "KID" if inception else "KD"
    found = {"FD": Measured(_frechet(vectors, reference.gaussian, seed), reference.text, n, at=n)}
    found[kernel] = Measured(symmetric(*kernel_distance(some, reference.kernel)), reference.text_of_some, len(some))
    if logits is not None and n >= _LEAST_FOR_SCORE:
        mean, std = classifier_score(logits, keyed_generator(seed, _SPLITS))
        half = _STUDENT * std / 3  # the root of 10 - 1, since the deviation is that of a population
        name = "IS" if inception else "classifier score"
        found[name] = Measured(Estimate(mean, mean - half, mean + half), "none (10 splits)", n, at=n)
    overlap = prdc(reference.some, some, NEIGHBOUR, reference.radii)
    for name in OVERLAPS:
        found[name] = Measured(_mean(name, [overlap]), reference.text_of_some, len(some))
    found |= _classwise(vectors, y, reference, kernel)
    spread, pairs = class_spread(vectors, y, reference.n_classes), class_distance(vectors, y, reference.n_classes)
    for name, variety, real in (
        ("in-class std ratio", spread, reference.spread),
        ("in-class diversity", pairs, reference.distance),
    ):
        ratio, error = variety.over(real)
        if math.isfinite(ratio):
            each = {label: value for label, value in enumerate((variety.value / real).tolist()) if math.isfinite(value)}
            text = _within(reference, len(each))
            if variety is pairs and max(int(of.bincount().max()) for of in (y, reference.y)) > MOST_PAIRED:
                text += f", {MOST_PAIRED:,} of a class"
            found[name] = Measured(symmetric(ratio, error), text, variety.n, each)
    authentic, seen = remembered.authentic, len(remembered.authentic)
    found["authenticity"] = Measured(proportion(float(authentic.mean()), seen), reference.text, seen)
    return found


def _frechet(vectors: Tensor, real: Gaussian, seed: int) -> Estimate:
    n = len(vectors)
    own = Gaussian.fit(vectors)
    value = frechet_distance(own, real)
    if vectors.shape[1] > _WIDE:
        return symmetric(value, float(influences(vectors, own, real).square().sum().sqrt()) / n)
    # The same resamples for every method of n samples, so that their differences are not those of the draws.
    generator = keyed_generator(seed, _BOOTSTRAP, n)
    resamples = [torch.randint(n, (n,), generator=generator).bincount(minlength=n) for _ in range(_RESAMPLES)]
    distances = [frechet_distance(Gaussian.fit(vectors, counts), real) for counts in resamples]
    return symmetric(value, float(torch.tensor(distances, dtype=torch.float64).std()))


def _mean(name: str, overlaps: list[Manifold]) -> Estimate:
    """The mean over sets of the fraction of this name."""
    items = [getattr(overlap, name) for overlap in overlaps]
    mean = sum(float(one.mean()) for one in items) / len(items)
    if name == "density":
        return symmetric(mean, math.sqrt(sum(float(one.var()) / len(one) for one in items)) / len(items))
    return proportion(mean, len(items) ** 2 / sum(1 / len(one) for one in items))  # of one set whose mean is as sure


def _classwise(vectors: Tensor, y: Tensor, reference: Reference, kernel: str) -> dict[str, Measured]:
    """Distances and overlaps within each class, averaged over the classes; empty where none has enough samples."""
    k = reference.neighbour(len(vectors))
    distances: dict[int, tuple[float, float]] = {}
    discrepancies: dict[int, tuple[float, float]] = {}
    overlaps: dict[int, Manifold] = {}
    for label, real, own in reference.classes(y, least=k):
        ours, theirs = vectors[own], reference.vectors[real]
        if len(ours) > 2:
            fitted, target = Gaussian.fit(ours), Gaussian.fit(theirs)
            error = float(influences(ours, fitted, target).square().sum().sqrt()) / len(ours)
            distances[label] = frechet_distance(fitted, target), error
            discrepancies[label] = kernel_distance(ours, KernelReference.of(theirs))
        overlaps[label] = prdc(theirs, ours, k)
    n, found = len(vectors), {}
    if distances:
        text = _within(reference, len(distances))
        found["class-wise FD"] = _average(distances, text, n)._replace(at=max(1, n // len(y.unique())))
        found[f"class-wise {kernel}"] = _average(discrepancies, text, n)
    for name in OVERLAPS if overlaps else ():
        each = {label: float(getattr(overlap, name).mean()) for label, overlap in overlaps.items()}
        text = f"{_within(reference, len(each))}, k = {k}"
        found[f"class-wise {name}"] = Measured(_mean(name, list(overlaps.values())), text, n, each)
    return found


def _within(reference: Reference, classes: int) -> str:
    """What figures within so many classes are compared with."""
    some = "" if classes == reference.n_classes else f", {classes} of {reference.n_classes} classes"
    return f"{reference.text}, class by class{some}"


def _average(found: Mapping[int, tuple[float, float]], text: str, n: int) -> Measured:
    """The mean over classes of values with standard errors."""
    mean = sum(value for value, _ in found.values()) / len(found)
    error = math.sqrt(sum(error**2 for _, error in found.values())) / len(found)
    return Measured(symmetric(mean, error), text, n, {label: value for label, (value, _) in found.items()})

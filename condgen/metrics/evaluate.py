"""One table of metrics: each method's samples, and held-out real ones, against the same real reference.

Each number has a 95% interval: that of Wilson for a *proportion*, else 1.96 standard errors to either side.

* class accuracy: in how many samples the `Judge` sees the class that was asked for; proportion;
* FD@n: Fréchet distance of n samples from the train split, biased upwards at finite n, the same for a method and its
  floor; infinitesimal jackknife, of the mean FD at this n, near the floor up to 1.5 times too wide;
* held-out FD@n: the same from the test split, whose floor is that of n training samples. Who repeats the train split
  does not please it;
* KD: kernel distance, unbiased; jackknife;
* classifier score@n: mean over 10 splits of n samples, none above the number of its samples or classes; Student;
* precision, recall, coverage (proportions), and density: for recall and coverage the real samples count as drawn anew
  and the generated ones as given;
* class-wise: the same within each class, averaged over the classes with enough samples on both sides; class-wise FD@m
  has m samples a class on average. The neighbour of precision to coverage is then k = min(5, n / classes - 1), at least
  1, so figures at different n may differ in k;
* in-class std ratio: per class the standard deviation over that of real ones, averaged over classes; jackknife, or of
  fewer than 5 samples a class the deviation over classes;
* authenticity: how many are farther from their nearest training sample than that one is from its nearest other one;
  proportion. Below its floor, samples repeat the training data;
* CAS: accuracy on the test split of a classifier that has learnt from the samples alone; proportion of that split. Its
  floor is the mean of three draws of as many training samples, whose deviation is in the interval.

With Inception features KD is called KID, the classifier score IS, and from 10,000 samples on FD is called FID. The
*floor* of a metric is its value for real held-out samples at the same n (or as many as there are: `floor_n`), drawn in
proportion to the classes; for class accuracy it is the judge's accuracy on the whole test split. Features of a network
that was trained with the labels of the train split bias figures and floors alike.
"""

import math
import os
import statistics
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from condgen.data.labelled import LabelledSet, stratified_order
from condgen.errors import UserError
from condgen.metrics.cas import network_accuracy
from condgen.metrics.features import Advance, Store
from condgen.metrics.judge import Judge
from condgen.metrics.measures import (
    FLOOR,
    NEIGHBOUR,
    REAL,
    SEEN_AS,
    Comparison,
    Measured,
    MetricRow,
    Reference,
    proportion,
    title,
)
from condgen.metrics.neighbours import Memory
from condgen.rng import keyed_generator
from condgen.rows import Estimate
from condgen.settings import UNKEYED, Settings

_REAL_DRAWS = 3  # of training samples, from which the floor of CAS is learnt

_Learning: TypeAlias = Generator[Advance, None, Measured | None]
_Methods: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]


def _from_anywhere(name: str) -> str:
    """The name of features, with the path in it, if there is one, made absolute."""
    model, at, place = name.partition("@") if name.startswith("timm:") else ("", "", name)
    is_place = name not in ("pixels", "inception") and os.path.exists(place)
    return model + at + os.path.abspath(place) if is_place else name


class Measures(Settings):
    features: Annotated[str, AfterValidator(_from_anywhere)] = Field(
        default="pixels",
        json_schema_extra=UNKEYED,  # what lies there decides
        description="what distances are measured between: see condgen evaluate",
    )
    cas: Literal["probe", "resnet", "none"] = Field(
        default="probe",
        description="what learns from samples and is tested on real data: that of class accuracy on the features, a "
        "ResNet-20 on the images, or nothing",
    )
    cas_steps: int = Field(default=2000, ge=20, description="of the ResNet's training, with 128 images each")
    cas_flip: bool = Field(default=False, description="whether it sees mirrored images too; not for digits or letters")
    most: int = Field(
        default=10_000, ge=100, description="samples of either set whose neighbours are looked at; time: its square"
    )


class Evaluation(NamedTuple):
    rows: list[MetricRow]  # every figure with its conditions
    by_class: list[dict[str, str | int | float]]  # metric, method, class, value: of means over classes
    memories: dict[str, tuple[Tensor, Memory]]  # by method the samples that were compared, and their nearest


def evaluating(
    methods: _Methods, train: LabelledSet, test: LabelledSet, seed: int, measures: Measures, store: Store
) -> Generator[Advance, None, Evaluation]:
    """Measures every method, and then the held-out real samples under the name `REAL`.

    Methods have samples (N, ...), images in [-1, 1] or points, and the labels asked for (N,). The seed is of the draws
    behind floors, of more than `measures.most` samples, and of a ResNet's training. UserError for samples that are too
    few, not finite, or do not fit the data set.
    """
    if (test.names, test.shape) != (train.names, train.shape):
        here, there = (f"{split.n_classes} classes and samples of shape {split.shape}" for split in (train, test))
        advice = "name the classes alike; --set data.image_size=SIDE resizes"
        raise UserError(f"{train.source}: the train split has {here}, the test split {there}: {advice}")
    methods = {**methods, REAL: (test.floats(), test.y)}
    for method, (x, _) in methods.items():
        _check(method, x, train)

    features_of_train = yield from store.of_real(train)
    held_out = yield from store.of_real(test)
    reference = Reference(train, test, features_of_train, held_out, measures.most, seed)
    scores = _AccuracyScores(reference, measures)
    rows, by_class, memories = list[MetricRow](), list[dict[str, str | int | float]](), {}
    for place, (method, (x, y)) in enumerate(methods.items()):
        yield Advance(place, len(methods), f"figures of {method}")
        samples = real = reference.real(len(y))
        if method != REAL:
            samples = Comparison((yield from store.of_samples(x, method)), y.cpu().long(), reference)
        memories[method] = samples.drawn, samples.memory
        own, of_real = yield from scores.of(method, x, samples)
        floor = real.figures | of_real
        for metric, figure in (samples.figures | own).items():
            least = floor.get(metric)
            rows.append(
                MetricRow(
                    method=method,
                    metric=title(metric, figure.at, store.extractor),
                    **figure.estimate._asdict(),
                    n=figure.n,
                    features=figure.features.format(store.extractor.name),
                    reference=figure.reference,
                    floor=None if least is None else least.estimate.value,
                    floor_n=min(len(y), len(test)) if least is None else least.n,
                    seed=seed,
                )
            )
            about: Any = {"metric": metric, "method": method}
            by_class += [about | {"class": label, "value": value} for label, value in figure.by_class.items()]
        by_class += _confusion(method, samples, train.names)
    return Evaluation(rows, by_class, memories)


def _confusion(method: str, samples: Comparison, names: Sequence[str]) -> Iterator[dict[str, str | int | float]]:
    """The shares of the samples of each class in which the judge sees each class; those of zero are left out."""
    if samples.reference.judge is not None:
        pairs, counts = torch.stack((samples.y, samples.seen), 1).unique(dim=0, return_counts=True)
        shares = counts.double() / samples.y.bincount()[pairs[:, 0]]
        for (label, seen), share in zip(pairs.tolist(), shares.tolist(), strict=True):
            yield {"metric": f"{SEEN_AS}{names[seen]}", "method": method, "class": label, "value": share}


def _check(method: str, x: Tensor, train: LabelledSet) -> None:
    if tuple(x.shape[1:]) != train.shape:
        problem = f"samples of shape {tuple(x.shape[1:])} cannot be compared with {train.source}, whose samples are"
        advice = "evaluate them against the data that their model was trained on"
        raise UserError(f"{method}: {problem} {train.shape}; {advice}")
    if len(x) <= NEIGHBOUR:
        of_folder = "; hold out more of a folder, also when training, with --set data.test_fraction=0.5"
        more = of_folder if method == REAL else ""
        raise UserError(f"{method}: {len(x)} samples are too few; provide at least {NEIGHBOUR + 1}{more}")
    if broken := int((~x.flatten(1).isfinite()).any(1).sum()):
        raise UserError(f"{method}: {broken} of {len(x)} samples hold NaN or infinite values; sample anew or drop them")


class _AccuracyScores:
    """CAS of samples, and of as many real training samples."""

    def __init__(self, reference: Reference, measures: Measures) -> None:
        self.reference, self.test, self.measures = reference, reference.test, measures
        self._probes = measures.cas == "probe" or not self.test.is_images
        self._name = f"CAS ({'probe' if self._probes else 'ResNet-20'})"
        self._of_real = dict[int, Measured | None]()

    def of(self, method: str, x: Tensor, samples: Comparison) -> Generator[Advance, None, list[dict[str, Measured]]]:
        """Both by the name of the metric, which samples of one class do not have."""
        if self.measures.cas == "none":
            return [{}, {}]
        used = min(samples.n, Judge.most) if self._probes else samples.n
        n = min(used, len(self.reference.train))
        if n not in self._of_real:
            self._of_real[n] = yield from self._score_of_real(n)
        own = of_real = self._of_real[n]
        if method != REAL:
            own = yield from self._learn(x, samples.vectors, samples.y, used, method)
        return [{} if score is None else {self._name: score} for score in (own, of_real)]

    def _score_of_real(self, n: int) -> _Learning:
        """The mean over several draws of n training samples, with their deviation in the interval."""
        y, found = self.reference.y, list[Measured]()
        for draw in range(1 if self._probes and n == len(self.reference.train) else _REAL_DRAWS):
            chosen = stratified_order(y, keyed_generator(self.reference.seed, FLOOR, draw))[:n]
            real = self.reference.train.floats(chosen), self.reference.vectors[chosen], y[chosen]
            one = yield from self._learn(*real, n, f"{n:,} real images")
            if one is None:
                return None
            found.append(one)
        if len(found) == 1:
            return found[0]
        values = [one.estimate.value for one in found]
        mean, sd = statistics.fmean(values), statistics.stdev(values)
        estimate = Estimate.within(mean, math.hypot(proportion(mean, len(self.test)).half_width or 0.0, 1.96 * sd))
        return found[0]._replace(estimate=estimate, reference=f"{found[0].reference}, {len(found)} draws, sd {sd:.2g}")

    def _learn(self, x: Tensor, vectors: Tensor, y: Tensor, n: int, what: str) -> _Learning:
        if len(y.unique()) < 2:
            return None
        if self._probes:
            yield Advance(0, 1, f"a classifier learns from {what}")
            judge = Judge(vectors, y)
            learner, accuracy = f"{judge.name} on {{}}", judge.accuracy(self.reference.held_out.vectors, self.test.y)
        else:
            steps, flip = self.measures.cas_steps, self.measures.cas_flip
            learner = f"ResNet-20, {steps} steps of 128{', mirrored too' if flip else ''}"
            accuracy = yield from network_accuracy(x, y, self.test, steps, self.reference.seed, what, flip=flip)
        tested = f"{self.test.source} {self.test.split} ({len(self.test)})"
        return Measured(proportion(accuracy, len(self.test)), tested, n, features=learner)

"""Whether a generator still makes different samples of a class.

A generator can please every judge of classes and of sharpness with a single sample a class. Class accuracy is then at
its best, precision too, and nothing is seen in the losses. Two measures show it: the spread within a class, and recall.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from condgen.data import LabelledSet, stratified_order
from condgen.metrics.features import Extractor, extract, pixels
from condgen.metrics.judge import Judge
from condgen.metrics.manifold import nearest_radii, prdc
from condgen.metrics.variety import class_spread
from condgen.rng import keyed_generator

__all__ = ["Gauge", "Reading"]

_NEIGHBOUR = 5
_SEED = 0  # of the draw of real samples: every gauge of a data set has the same
_JUDGED = 2000  # real samples that the judge learns from, and is tested on: enough to see a collapse
_SURE, _NARROW = 0.5, 0.3  # accuracy above, in that of real data, and spread below which a generator has collapsed


class Reading(NamedTuple):
    """What a gauge says of generated samples.

    Attributes:
        std_ratio: standard deviation within a class, over that of real data: features and classes averaged.
        recall: the fraction of as many real samples that lie among the generated ones (k = 5).
        accuracy: the fraction in which a judge sees the class that was asked for.
        n: the number of samples.
        judge: the accuracy of the judge on held-out real data.
        seconds: that it took to draw and to measure them.
    """

    std_ratio: float
    recall: float
    accuracy: float
    n: int
    judge: float = 1.0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """The measures and their number, as plain values."""
        return {name: value for name, value in self._asdict().items() if name != "seconds"}

    def in_words(self) -> str:
        """The measures in short."""
        return f"in-class std {self.std_ratio:.2f}  recall {self.recall:.2f}  accuracy {self.accuracy:.2f}"

    def warning(self) -> str:
        """What a collapse means, and what to do about it."""
        return (
            f"the generator has collapsed within classes: {self.accuracy:.0%} of its samples are of the class asked "
            f"for, but their spread within a class is {self.std_ratio:.2f} of the data's. Slow it down (training.lr), "
            "or let its opponents learn more (critic_steps and critic_lr, denoiser_steps and denoiser_lr)"
        )

    @property
    def collapsed(self) -> bool:
        """Whether nearly the same sample stands for each class, and the judge sees the classes.

        Of early samples, which are as narrow and mean nothing yet, it sees none. As judges differ, accuracy counts in
        proportion to that on real data.
        """
        return self.accuracy >= _SURE * self.judge and self.std_ratio < _NARROW


@dataclass(frozen=True, eq=False)
class Gauge:
    """Compares generated samples with real ones, at every look in the same way.

    Args:
        extractor: the features.
        real: those of as many real samples as it is to compare, (n, F).
        radii: of the balls around them, (n,).
        spread: of the real samples within each class, (K,).
        judge: of classes.
    """

    extractor: Extractor
    real: Tensor
    radii: Tensor
    spread: Tensor
    judge: Judge

    @classmethod
    def of(cls, train: LabelledSet, test: LabelledSet, n: int) -> "Gauge":
        """A gauge for n samples, or as many as there are real ones.

        Args:
            train: what generated samples are compared with, and the judge learns from.
            test: tells how good the judge is.
            n: how many.
        """
        extractor = pixels(train.shape)
        chosen = stratified_order(train.y, keyed_generator(_SEED))[: min(n, len(train))]
        real = extract(extractor, train.floats(chosen))
        return cls(
            extractor=extractor,
            real=real,
            radii=nearest_radii(real, min(_NEIGHBOUR, len(real) - 1)),
            spread=class_spread(real, train.y.cpu()[chosen], train.n_classes).value,
            judge=Judge.fit(train, test, _JUDGED),
        )

    def read(self, x: Tensor, y: Tensor) -> Reading:
        """What it says of samples (n, ...) of labels (n,), both on the CPU."""
        features = extract(self.extractor, x)
        std_ratio, _ = class_spread(features, y, len(self.spread)).over(self.spread)
        overlap = prdc(self.real, features, min(_NEIGHBOUR, len(self.real) - 1, len(x) - 1), self.radii)
        return Reading(
            std_ratio=std_ratio,
            recall=float(overlap.recall.mean()),
            accuracy=float((self.judge.predict(x) == y).double().mean()),
            n=len(x),
            judge=self.judge.held_out_accuracy,
        )

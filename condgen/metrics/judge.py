"""An independent judge of classes: a support vector machine that has seen real samples only.

On pixels it shares nothing with the classifiers that guide the samplers, so a sampler cannot please it by fooling its
own classifier; on the features of a network it is as independent as that. Its accuracy on held-out real samples is the
mark that generated ones are measured against.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from condgen.data import LabelledSet, stratified_order
from condgen.metrics.features import Extractor, extract, extract_real, pixels
from condgen.rng import keyed_generator

__all__ = ["Judge"]

_SEED = 0  # of the draw among more samples: every evaluation of a data set has the same judge


def _name(extractor: Extractor, learnt: int | None = None) -> str:
    return f"SVC on {extractor.name}" + (f", {learnt} training samples" if learnt is not None else "")


@dataclass(frozen=True, eq=False)
class Judge:
    """A classifier of clean samples.

    Args:
        name: what reports call it: machine, features, and the training samples where not all were used.
        held_out_accuracy: the fraction of the test split that it labels correctly.
        extractor: what it sees.
        machine: the fitted scikit-learn classifier.

    Attributes:
        most: samples to learn from; fitting grows with the square of their number.
    """

    most: ClassVar[int] = 10_000

    name: str
    held_out_accuracy: float
    extractor: Extractor
    machine: Any

    @classmethod
    def fit(cls, train: LabelledSet, test: LabelledSet, most: int = most) -> "Judge":
        """Fits the judge on real samples of the train split, as `pixels` sees them.

        Args:
            train: to learn from.
            test: to be tested on.
            most: samples of either split that are looked at, in proportion to the classes.
        """
        extractor = pixels(train.shape)
        learnt, tested = (split.at_most(most, keyed_generator(_SEED)) for split in (train, test))
        vectors, held_out = extract_real(extractor, learnt), extract_real(extractor, tested)
        judge = cls.learn(extractor, vectors, learnt.y, held_out, tested.y)
        return judge if learnt is train else replace(judge, name=_name(extractor, len(learnt)))

    @classmethod
    def learn(cls, extractor: Extractor, vectors: Tensor, y: Tensor, held_out: Tensor, held_out_y: Tensor) -> "Judge":
        """Fits the judge on features of at most 10,000 samples, in proportion to the classes.

        It is a support vector machine with a radial kernel, C = 10 and kernel width by the variance of the features.
        The same data give the same judge.

        Args:
            extractor: whose features they are.
            vectors: to learn from, (N, F).
            y: their labels, (N,), of 2 classes at least.
            held_out: to be tested on, (M, F).
            held_out_y: their labels, (M,).
        """
        from sklearn.svm import SVC  # imported late, because it takes seconds

        name = _name(extractor)
        y = y.cpu()
        if len(y) > cls.most:
            chosen = stratified_order(y, keyed_generator(_SEED))[: cls.most]
            vectors, y = vectors[chosen], y[chosen]
            name = _name(extractor, cls.most)
        machine = SVC(kernel="rbf", C=10.0, gamma="scale").fit(vectors.double().numpy(), y.numpy())
        predicted = torch.from_numpy(machine.predict(held_out.double().numpy()))
        return cls(name, float((predicted == held_out_y.cpu()).double().mean()), extractor, machine)

    def predict(self, x: Tensor) -> Tensor:
        """Labels, (N,) int64 on the CPU, of samples (N, ...): images in [-1, 1] or points."""
        return self.label(extract(self.extractor, x))

    def label(self, vectors: Tensor) -> Tensor:
        """Labels, (N,) int64 on the CPU, of samples by their features (N, F)."""
        return torch.from_numpy(self.machine.predict(vectors.double().numpy()))

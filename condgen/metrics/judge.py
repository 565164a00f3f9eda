"""An independent judge of classes: a support vector machine that has seen real samples only.

It shares nothing with the classifiers that guide the samplers, so a sampler cannot please it by fooling its own
classifier. Its accuracy on held-out real samples is the mark that generated ones are measured against.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condgen.data import LabelledSet, stratified_order
from condgen.metrics.features import Extractor, extract, extract_real, pixels
from condgen.rng import keyed_generator

__all__ = ["Judge"]

_MOST_SAMPLES = 10_000  # fitting grows with the square of their number
_SEED = 0  # of the draw among more samples: every evaluation of a data set has the same judge


@dataclass(frozen=True, eq=False)
class Judge:
    """A classifier of clean samples.

    Args:
        name: what reports call it: machine, features, and the training samples where not all were used.
        held_out_accuracy: the fraction of the test split that it labels correctly.
        extractor: what it sees.
        machine: the fitted scikit-learn classifier.
    """

    name: str
    held_out_accuracy: float
    extractor: Extractor
    machine: Any

    @classmethod
    def fit(cls, train: LabelledSet, test: LabelledSet) -> "Judge":
        """Fits the judge on at most 10,000 real samples of the train split, in proportion to the classes.

        It is a support vector machine with a radial kernel, C = 10 and kernel width by the variance of the features,
        on the features of `pixels`. The same data give the same judge.
        """
        from sklearn.svm import SVC  # imported late, because it takes seconds

        extractor = pixels(train.shape)
        name = f"SVC on {extractor.name}"
        chosen = torch.arange(len(train))
        if len(train) > _MOST_SAMPLES:
            chosen = stratified_order(train.y, keyed_generator(_SEED))[:_MOST_SAMPLES]
            name += f", {_MOST_SAMPLES} training samples"
        machine = SVC(kernel="rbf", C=10.0, gamma="scale")
        machine.fit(extract(extractor, train.floats(chosen)).numpy(), train.y.cpu()[chosen].numpy())
        predicted = torch.from_numpy(machine.predict(extract_real(extractor, test).numpy()))
        return cls(name, float((predicted == test.y.cpu()).double().mean()), extractor, machine)

    def predict(self, x: Tensor) -> Tensor:
        """Labels, (N,) int64 on the CPU, of samples (N, ...): images in [-1, 1] or points."""
        return torch.from_numpy(self.machine.predict(extract(self.extractor, x).numpy()))

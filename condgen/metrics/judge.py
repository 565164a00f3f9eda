"""An independent judge of classes: a support vector machine that has seen real samples only.

On pixels it shares nothing with the classifiers that guide the samplers, so a sampler cannot please it by fooling its
own classifier; on the features of a network it is as independent as that. Its accuracy on held-out real samples is the
mark that generated ones are measured against.
"""

from typing import ClassVar

import torch
from torch import Tensor

from condgen.data import stratified_order
from condgen.rng import keyed_generator

_SEED = 0  # of the draw among more samples: every evaluation of a data set has the same judge


class Judge:
    """A support vector machine with a radial kernel, C = 10, and a kernel width by the variance of the features.

    It learns from features (N, F) with labels (N,) of 2 classes at least; of more than `most` samples from as many, in
    proportion to the classes, since fitting grows with the square of their number. The same samples give the same
    judge.
    """

    most: ClassVar[int] = 10_000

    def __init__(self, vectors: Tensor, y: Tensor, features: str) -> None:
        from sklearn.svm import SVC  # imported late, because it takes seconds

        self.name = f"SVC on {features}"
        y = y.cpu()
        if len(y) > self.most:
            chosen = stratified_order(y, keyed_generator(_SEED))[: self.most]
            vectors, y = vectors[chosen], y[chosen]
            self.name += f", {self.most} training samples"
        self.machine = SVC(kernel="rbf", C=10.0, gamma="scale").fit(vectors.double().numpy(), y.numpy())

    def predict(self, vectors: Tensor) -> Tensor:
        """Labels, (N,) int64 on the CPU, of samples by their features (N, F)."""
        return torch.from_numpy(self.machine.predict(vectors.double().numpy()))

    def accuracy(self, vectors: Tensor, y: Tensor) -> float:
        """The fraction of samples whose labels (N,) it sees in their features (N, F)."""
        return float((self.predict(vectors) == y.cpu()).double().mean())

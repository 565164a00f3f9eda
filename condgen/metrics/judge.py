"""A judge of classes that has seen real samples only: no sampler pleases it by fooling its own classifier."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from condgen.data import stratified_order
from condgen.metrics.neighbours import squared_distances
from condgen.rng import keyed_generator

_SEED = 0  # of the draw among more samples: every evaluation of a data set has the same judge
_MANY = 20  # classes from which on not all pairs are compared
_ROUNDING = 1e-9  # of a comparison, a thousand times what it is


class Judge:
    """A support vector machine with a radial kernel, C = 10, and a kernel width by the variance of the features.

    It learns from features (N, F) with labels (N,) of 2 classes at least; of more than `most` samples from as many.
    """

    most: ClassVar[int] = 10_000

    def __init__(self, vectors: Tensor, y: Tensor) -> None:
        from sklearn.svm import SVC  # imported late, because it takes seconds

        y = y.cpu()
        if len(y) > self.most:
            chosen = stratified_order(y, keyed_generator(_SEED))[: self.most]
            vectors, y = vectors[chosen], y[chosen]
        x = vectors.double().numpy()
        self.gamma = 1 / (x.shape[1] * x.var()) if x.var() else 1.0  # what scikit-learn calls "scale"
        self.machine = SVC(kernel="rbf", C=10.0, gamma=self.gamma).fit(x, y.numpy())

    def predict(self, vectors: Tensor) -> Tensor:
        """Labels, (N,), of samples by their features (N, F): those of `machine.predict`."""
        x = vectors.double().numpy()
        if len(self.machine.classes_) < _MANY:
            return torch.from_numpy(self.machine.predict(x))
        supports, places = torch.from_numpy(self.machine.support_vectors_), list[int]()
        for _, squared, _ in squared_distances(vectors, supports):
            places += _elected(self.machine, squared.mul_(-self.gamma).exp_().numpy())
        labels, unsure = self.machine.classes_[places], np.array(places) < 0
        if unsure.any():
            labels[unsure] = self.machine.predict(x[unsure])
        return torch.from_numpy(labels)

    def accuracy(self, vectors: Tensor, y: Tensor) -> float:
        return float((self.predict(vectors) == y.cpu()).double().mean())


def _elected(machine: Any, kernels: np.ndarray) -> Iterator[int]:  # noqa: ANN401 - SVC has no types
    """The class that wins most of its comparisons with the K - 1 others, of several the first, for each sample.

    libsvm makes all K (K - 1) / 2. Here the class with the fewest known defeats meets all others, until those of a
    class that has done so are the fewest. Kernels are (N, S) for S support vectors. Yields -1 where rounding might
    turn a comparison.
    """
    n_classes = len(machine.classes_)
    of = np.repeat(np.arange(n_classes), machine.n_support_)  # the class of each support vector
    by_vector = np.zeros((len(of), n_classes))  # what each adds to the comparison of its class with each other
    by_vector[of[:, None] != np.arange(n_classes)] = machine.dual_coef_.T.ravel()
    by_class = np.ascontiguousarray(by_vector.T)
    offsets, pairs = np.full((n_classes, n_classes), np.inf), np.triu_indices(n_classes, 1)
    offsets[pairs] = offsets.T[pairs] = machine.intercept_
    ends = machine.n_support_.cumsum()
    for kernel in kernels:
        defeats, has_met, is_sure = np.zeros(n_classes, int), np.zeros(n_classes, bool), True
        place = of[kernel.argmax()]
        while not has_met[place]:
            own = slice(ends[place] - machine.n_support_[place], ends[place])
            others = np.bincount(of, kernel * by_class[place], n_classes)
            values = kernel[own] @ by_vector[own] + others + offsets[place]  # above zero: the earlier class wins
            is_sure &= np.abs(values).min() > _ROUNDING
            wins = (values > 0) == (np.arange(n_classes) > place)
            wins[place] = has_met[place] = True
            defeats += wins & ~has_met
            defeats[place] = n_classes - wins.sum()
            place = defeats.argmin()
        yield int(place) if is_sure else -1

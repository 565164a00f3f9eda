"""A judge of classes that has seen real samples only: no sampler pleases it by fooling its own classifier."""

import warnings
from typing import ClassVar

import torch
from torch import Tensor

from condgen.data.labelled import stratified_order
from condgen.rng import keyed_generator

_SEED = 0  # of the draw among more samples: every evaluation of a data set has the same judge
_MANY = 20  # classes from which on a machine that compares all pairs takes minutes
_LANDMARKS = 512


class Judge:
    """A support vector machine with a radial kernel, C = 10, and a kernel width by the variance of the features.

    For 20 classes and more, a linear discriminant with shrinkage (Ledoit & Wolf 2004) on the kernel's values at 512
    landmarks (Nyström; Williams & Seeger 2001). It learns from features (N, F) with labels (N,) of 2 classes at least;
    of more than `most` samples from as many.
    """

    most: ClassVar[int] = 10_000

    def __init__(self, vectors: Tensor, y: Tensor) -> None:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # imported late: it takes seconds
        from sklearn.kernel_approximation import Nystroem
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import SVC

        y = y.cpu()
        if len(y) > self.most:
            chosen = stratified_order(y, keyed_generator(_SEED))[: self.most]
            vectors, y = vectors[chosen], y[chosen]
        x = vectors.double().numpy()
        gamma = 1 / (x.shape[1] * x.var()) if x.var() else 1.0  # what scikit-learn calls "scale"
        if (count := len(y.unique())) < _MANY or count == len(y):  # a discriminant needs more samples than classes
            self.name, machine = "SVC", SVC(kernel="rbf", C=10.0, gamma=gamma)
        else:
            landmarks = Nystroem(gamma=gamma, n_components=min(_LANDMARKS, len(y) // 2), random_state=_SEED)
            discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
            self.name, machine = "discriminant", make_pipeline(landmarks, discriminant)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # classes may be nearly as many as samples
            self.machine = machine.fit(x, y.numpy())

    def predict(self, vectors: Tensor) -> Tensor:
        """Labels, (N,), of samples by their features (N, F)."""
        return torch.from_numpy(self.machine.predict(vectors.double().numpy()))

    def accuracy(self, vectors: Tensor, y: Tensor) -> float:
        return float((self.predict(vectors) == y.cpu()).double().mean())

"""How varied samples are: spread and mean distance within a class, the Vendi score, and the score of a classifier."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.data.labelled import by_class
from condgen.rng import keyed_generator

MOST_PAIRED = 1000  # samples of a class whose pairs are looked at
_LEAST = 5  # samples of a class below which its own error is too uncertain to be used
_SEED = 0  # of the draw among more


class Variety(NamedTuple):
    """One number per class and its standard error over draws of samples; NaN where a class has too few."""

    value: Tensor  # (K,)
    standard_error: Tensor  # (K,)
    n: int  # samples looked at

    def over(self, real: Tensor) -> tuple[float, float]:
        """The mean ratio over classes to real values (K,), and its standard error, where need be from the classes."""
        ratios, errors = self.value / real, self.standard_error / real
        known = ratios.isfinite()
        ratios, errors, count = ratios[known], errors[known], int(known.sum())
        if errors.isfinite().all():
            return float(ratios.mean()), float(errors.square().sum().sqrt() / max(count, 1))
        return float(ratios.mean()), float(ratios.std() / count**0.5) if count > 1 else float(ratios.mean())


def class_spread(features: Tensor, y: Tensor, n_classes: int) -> Variety:
    """Per class the standard deviation, averaged over features, of features (N, F) with labels (N,).

    Infinitesimal jackknife: a sample at z from the mean of its class moves a standard deviation s by (z^2 - s^2) / 2sn.
    """
    return _per_class(((label, features[places]) for label, places in by_class(y).items()), n_classes, _spread)


def class_distance(features: Tensor, y: Tensor, n_classes: int) -> Variety:
    """Per class the mean distance between two of its samples, a U-statistic; of more than 1,000 those of as many."""
    order = torch.randperm(len(y), generator=keyed_generator(_SEED))
    drawn = ((label, features[order[places[:MOST_PAIRED]]]) for label, places in by_class(y[order]).items())
    return _per_class(drawn, n_classes, _distance)


def _per_class(
    classes: Iterator[tuple[int, Tensor]], n_classes: int, measure: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Variety:
    value, error = (torch.full((n_classes,), torch.nan, dtype=torch.float64) for _ in range(2))
    n = 0
    for label, members in classes:
        n += len(members)
        if len(members) >= 2:
            value[label], found = measure(members.double() - members.double().mean(0))
            error[label] = found if len(members) >= _LEAST else torch.nan
    return Variety(value, error, n)


def _spread(centred: Tensor) -> tuple[Tensor, Tensor]:
    squares, n = centred.square(), len(centred)
    std = (squares.sum(0) / (n - 1)).sqrt()
    moved = ((squares - squares.mean(0)) / torch.where(std > 0, 2 * std, torch.inf)).mean(1)
    return std.mean(), moved.square().sum().sqrt() / n


def _distance(centred: Tensor) -> tuple[Tensor, Tensor]:
    n = len(centred)
    own = torch.cdist(centred, centred).fill_diagonal_(0).sum(1) / (n - 1)
    return own.mean(), 2 * own.std() / n**0.5  # twice the error of the mean distance of a sample to the others


def vendi_score(x: Tensor, width: float) -> float:
    r"""The effective number of different samples, from 1 for copies to n (Friedman & Dieng 2023, arXiv 2210.02410).

    It is :math:`\exp(-\sum_i \lambda_i \log \lambda_i)` (eq. 1-2) with the eigenvalues of K/n for the kernel
    :math:`\exp(-\lVert x - x' \rVert^2 / 2 h^2)`.
    """
    kernel = torch.exp(torch.cdist(x.double(), x.double()).square() / (-2 * width**2)) / len(x)
    return float(torch.special.entr(torch.linalg.eigvalsh(kernel).clamp_min(0)).sum().exp())


def classifier_score(logits: Tensor, generator: torch.Generator, splits: int = 10) -> tuple[float, float]:
    r"""The inception score (Salimans et al. 2016) of any classifier: its mean and (population) deviation over splits.

    .. math:: \exp \mathbb{E}_x\, \mathrm{KL}\left(p(y \mid x) \,\Vert\, \mathbb{E}_x\, p(y \mid x)\right)

    The generator draws the order of the logits, (N, K), of which there are at least as many as splits.
    """
    logits = logits[torch.randperm(len(logits), generator=generator)]
    scores = []
    for part in range(splits):
        log_p = logits[part * len(logits) // splits : (part + 1) * len(logits) // splits].double().log_softmax(1)
        p = log_p.exp()
        terms = torch.where(p > 0, p * (log_p - p.mean(0).log()), 0.0)  # of a class without probability there is none
        scores.append(terms.sum(1).mean().exp())
    found = torch.stack(scores)
    return float(found.mean()), float(found.std(correction=0))

"""How much samples of a class differ from each other: their spread, and their mean distance."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Variety", "class_distance", "class_spread"]

_MOST = 1000  # samples of a class whose pairs are looked at


class Variety(NamedTuple):
    """One number per class, NaN for a class of fewer than 2 samples, and its standard error over draws of them."""

    value: Tensor  # (K,)
    standard_error: Tensor  # (K,)

    def over(self, real: Tensor) -> tuple[float, float]:
        """The mean over classes of the ratio to real samples, and its standard error; NaN where no class has one.

        Args:
            real: the value of real samples, (K,).
        """
        ratios, errors = self.value / real, self.standard_error / real
        known = ratios.isfinite()
        return float(ratios[known].mean()), float(errors[known].square().sum().sqrt() / known.sum())


def class_spread(features: Tensor, y: Tensor, n_classes: int) -> Variety:
    """Per class the standard deviation, averaged over features.

    The standard error is that of the infinitesimal jackknife: a sample at z from the mean of its class moves a standard
    deviation s by (z^2 - s^2) / 2 s n.

    Args:
        features: (N, F).
        y: labels, (N,).
        n_classes: K.
    """
    value, error = (torch.full((n_classes,), torch.nan, dtype=torch.float64) for _ in range(2))
    for label in y.unique().tolist():
        members = features[y == label].double()
        if len(members) < 2:
            continue
        squares = (members - members.mean(0)).square()
        std = (squares.sum(0) / (len(members) - 1)).sqrt()
        moved = (squares - std.square()) / torch.where(std > 0, 2 * std, torch.inf)
        value[label], error[label] = std.mean(), moved.mean(1).square().sum().sqrt() / len(members)
    return Variety(value, error)


def class_distance(features: Tensor, y: Tensor, n_classes: int) -> Variety:
    """Per class the mean distance between two of its samples, of the first 1,000.

    The standard error is that of a U-statistic: twice that of the samples' mean distances to the others.

    Args:
        features: (N, F).
        y: labels, (N,).
        n_classes: K.
    """
    value, error = (torch.full((n_classes,), torch.nan, dtype=torch.float64) for _ in range(2))
    for label in y.unique().tolist():
        members = features[(y == label).nonzero()[:_MOST, 0]].double()
        if len(members) < 2:
            continue
        members = members - members.mean(0)
        own = torch.cdist(members, members).fill_diagonal_(0).sum(1) / (len(members) - 1)
        value[label], error[label] = own.mean(), 2 * own.std() / len(members) ** 0.5
    return Variety(value, error)

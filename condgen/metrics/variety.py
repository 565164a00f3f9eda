"""How much samples of a class differ from each other: their spread, and their mean distance."""

from typing import NamedTuple

import torch
from torch import Tensor

from condgen.rng import keyed_generator

__all__ = ["MOST_PAIRED", "Variety", "class_distance", "class_spread"]

MOST_PAIRED = 1000  # samples of a class whose pairs are looked at
_LEAST = 5  # of a class, whose own error is otherwise anybody's guess
_SEED = 0  # of the draw among more


class Variety(NamedTuple):
    """One number per class and its standard error over draws of samples; NaN for what too few of them tell."""

    value: Tensor  # (K,)
    standard_error: Tensor  # (K,)
    n: int  # samples looked at

    def over(self, real: Tensor) -> tuple[float, float]:
        """The mean over classes of the ratio to real samples, and its standard error; NaN where no class has one.

        Where a class is too small to tell its own error, that of the mean is told by how the classes differ.

        Args:
            real: the value of real samples, (K,).
        """
        ratios, errors = self.value / real, self.standard_error / real
        known = ratios.isfinite()
        ratios, errors, count = ratios[known], errors[known], int(known.sum())
        if errors.isfinite().all():
            return float(ratios.mean()), float(errors.square().sum().sqrt() / max(count, 1))
        return float(ratios.mean()), float(ratios.std() / count**0.5) if count > 1 else float(ratios.mean())


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
        moved = ((squares - squares.mean(0)) / torch.where(std > 0, 2 * std, torch.inf)).mean(1)
        value[label] = std.mean()
        if len(members) >= _LEAST:
            error[label] = moved.square().sum().sqrt() / len(members)
    return Variety(value, error, len(y))


def class_distance(features: Tensor, y: Tensor, n_classes: int) -> Variety:
    """Per class the mean distance between two of its samples; of more than 1,000 those of as many, drawn at random.

    The standard error is that of a U-statistic: twice that of the samples' mean distances to the others.

    Args:
        features: (N, F).
        y: labels, (N,).
        n_classes: K.
    """
    value, error = (torch.full((n_classes,), torch.nan, dtype=torch.float64) for _ in range(2))
    order, n = torch.randperm(len(y), generator=keyed_generator(_SEED)), 0
    for label in y.unique().tolist():
        members = features[order[y[order] == label][:MOST_PAIRED]].double()
        n += len(members)
        if len(members) < 2:
            continue
        members = members - members.mean(0)
        own = torch.cdist(members, members).fill_diagonal_(0).sum(1) / (len(members) - 1)
        value[label] = own.mean()
        if len(members) >= _LEAST:
            error[label] = 2 * own.std() / len(members) ** 0.5
    return Variety(value, error, n)

"""How varied samples are: their spread within a class, and the score of a classifier."""

from typing import NamedTuple

import torch
from torch import Tensor

from condgen.data.labelled import by_class

_LEAST = 5  # samples of a class below which its own error is too uncertain to be used


class Variety(NamedTuple):
    """One number per class and its standard error over draws of samples; NaN where a class has too few."""

    value: Tensor  # (K,)
    standard_error: Tensor  # (K,)

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
    value, error = (torch.full((n_classes,), torch.nan, dtype=torch.float64) for _ in range(2))
    for label, places in by_class(y).items():
        if (n := len(places)) >= 2:
            members = features[places].double()
            squares = (members - members.mean(0)).square()
            std = (squares.sum(0) / (n - 1)).sqrt()
            moved = ((squares - squares.mean(0)) / torch.where(std > 0, 2 * std, torch.inf)).mean(1)
            value[label] = std.mean()
            error[label] = moved.square().sum().sqrt() / n if n >= _LEAST else torch.nan
    return Variety(value, error)


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

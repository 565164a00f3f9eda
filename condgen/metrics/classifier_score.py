r"""The inception score (Salimans et al. 2016), of any classifier.

.. math:: \exp \mathbb{E}_x\, \mathrm{KL}\left(p(y \mid x) \,\Vert\, \mathbb{E}_x\, p(y \mid x)\right)

It grows as the classifier is surer of single samples and sees more classes among all, and does not look at real images.
With Inception's classes it is the IS; the score of another classifier must not be called so.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class ClassifierScore(NamedTuple):
    """Mean and (population) standard deviation of the score over the splits."""

    mean: float
    std: float


def classifier_score(logits: Tensor, generator: torch.Generator | None = None, splits: int = 10) -> ClassifierScore:
    """The score of samples by their logits.

    Args:
        logits: (N, K), in no order that matters, or else with a generator.
        generator: draws an order in which the splits are taken.
        splits: how many parts are scored on their own.

    Raises:
        ValueError: fewer samples than splits.
    """
    if len(logits) < splits:
        raise ValueError(f"{len(logits)} samples cannot be split into {splits} parts")
    if generator is not None:
        logits = logits[torch.randperm(len(logits), generator=generator)]
    scores = []
    for part in range(splits):
        rows = logits[part * len(logits) // splits : (part + 1) * len(logits) // splits].double()
        log_p = rows.log_softmax(1)
        p = log_p.exp()
        terms = torch.where(p > 0, p * (log_p - p.mean(0).log()), 0.0)  # of a class without probability there is none
        scores.append(terms.sum(1).mean().exp())
    found = torch.stack(scores)
    return ClassifierScore(float(found.mean()), float(found.std(correction=0)))

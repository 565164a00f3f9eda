r"""What a noise-aware classifier knows of its y: one of K classes, or a set of them; numbers; or attributes.

Guidance and DLSM need :math:`\nabla \log p(y \mid x_t)` alone, whatever y is. A head turns the outputs of a network
into the parameters of :math:`p(y \mid x_t)`, (B, ...), and these with y into :math:`\log p(y \mid x_t)`.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

HeadName: TypeAlias = Literal["categorical", "gaussian", "bernoulli"]


class Head(NamedTuple):
    outputs: int  # of the network, for each name
    parameters: Callable[[Tensor], Tensor]
    log_prob: Callable[[Tensor, Tensor], Tensor]  # (parameters, y) -> (B,)


def categorical(log_p: Tensor, y: Tensor) -> Tensor:
    r"""From log-probabilities (B, K), for labels (B,) or sets of classes, (B, K) bool: :math:`\log \sum_{k \in y} p_k`.

    A set stands for any of its classes, such as a superclass.
    """
    if y.dtype == torch.bool and y.shape == log_p.shape:
        if not bool(y.any(1).all()):
            raise ValueError("a set of classes has none: name one at least")
        return log_p.masked_fill(~y, -math.inf).logsumexp(1)
    if y.ndim != 1 or y.is_floating_point() or y.dtype == torch.bool:
        raise TypeError(
            f"labels are whole numbers, (B,), or sets of classes, (B, K) bool, not {y.dtype} {tuple(y.shape)}"
        )
    return log_p.gather(1, y.long()[:, None])[:, 0]


def gaussian(parameters: Tensor, y: Tensor) -> Tensor:
    """From means and then logarithms of standard deviations (B, 2D), for numbers (B, D), or (B,) where D is 1."""
    mean, log_std = parameters.chunk(2, 1)
    z = (y.reshape(mean.shape).to(mean) - mean) * (-log_std).exp()
    return -(0.5 * z.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(1)


def bernoulli(logits: Tensor, y: Tensor) -> Tensor:
    """From logits (B, K), for attributes (B, K) that are 1, 0, or not a number where they may be either."""
    y = y.to(logits).reshape(logits.shape)
    return torch.where(y.isnan(), 0.0, F.logsigmoid((2 * y.nan_to_num() - 1) * logits)).sum(1)


HEADS: dict[HeadName, Head] = {
    "categorical": Head(1, lambda outputs: outputs.log_softmax(1), categorical),
    "gaussian": Head(2, lambda outputs: outputs, gaussian),
    "bernoulli": Head(1, lambda outputs: outputs, bernoulli),
}

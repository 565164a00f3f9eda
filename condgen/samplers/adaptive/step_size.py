r"""Step-size control, apart from what steps.

A solver makes two estimates of a step, of different order, and calls their difference its error. Measured against a
tolerance in every dimension and averaged over them, an error above one rejects the step; either way the next step is

.. math:: h \leftarrow \theta\, E^{-r}\, h

with a safety factor :math:`\theta` and an exponent :math:`r` (Jolicoeur-Martineau et al. 2021, "Gotta Go Fast When
Generating Data with Score-Based Models", arXiv 2105.14080, algorithm 1).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Controller", "Tolerance"]


@dataclass(frozen=True)
class Controller:
    """The factor from one step's length to the next.

    Attributes:
        safety: theta, below one.
        exponent: r; one over the order of the error for a deterministic method.
        shrink: the least factor, also that after an error that is not a number.
        growth: the greatest factor.
    """

    safety: float
    exponent: float
    shrink: float
    growth: float

    def factor(self, error: float) -> float:
        """What to multiply a step's length by, after its error in units of the tolerance."""
        if not math.isfinite(error):
            return self.shrink
        if error == 0:
            return self.growth
        wanted = self.safety * math.pow(error, -self.exponent)  # per sample: powers of vectors differ in the last bit
        return min(max(wanted, self.shrink), self.growth)

    def factors(self, errors: Tensor) -> Tensor:
        """`factor` of each of the errors, (B,) float64."""
        return torch.tensor([self.factor(error) for error in errors.tolist()], dtype=torch.float64)


@dataclass(frozen=True)
class Tolerance:
    """How large an error may be: the greater of an absolute and a relative one, in every dimension.

    Attributes:
        absolute: in data units.
        relative: a share of the state, before or after the step, whichever is larger.
    """

    absolute: float
    relative: float

    def scale(self, one: Tensor, other: Tensor) -> Tensor:
        """The tolerance in every dimension, (B, ...), from two states."""
        return torch.maximum(one.abs(), other.abs()).mul(self.relative).clamp_min(self.absolute)

    def measure(self, error: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """The root mean square of each sample's error in units of its tolerance, (B,) float64 on the CPU."""
        ratio = (error / self.scale(one, other)).flatten(1)
        # of torch's sums over rows, this one alone has the same bits in a batch of any size
        norms: Tensor = torch.linalg.vector_norm(ratio, dim=1) / math.sqrt(ratio.shape[1])
        return norms.double().cpu()

r"""What stands between a network and a denoiser (Karras et al. 2022, table 1, "ours").

With :math:`u = x_t / \alpha_t` at noise level :math:`s = \sigma_t / \alpha_t`, and data of standard deviation
:math:`s_d`,

.. math:: D = c_{skip}(s)\, u + c_{out}(s)\, F(c_{in}(s)\, u,\ c_{noise}(s)), \qquad c_{noise} = \tfrac{1}{4} \log s

so that the network's inputs and targets have unit variance at every noise level.
"""

from typing import NamedTuple

from torch import Tensor

__all__ = ["Preconditioning", "precondition"]


class Preconditioning(NamedTuple):
    """The four coefficients, each of the shape and type of the noise level."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def precondition(level: Tensor, sigma_data: float) -> Preconditioning:
    """The coefficients at noise levels of any shape, for data of this standard deviation."""
    total = (level**2 + sigma_data**2).sqrt()
    return Preconditioning((sigma_data / total) ** 2, level * sigma_data / total, 1 / total, level.log() / 4)

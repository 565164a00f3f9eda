r"""The Vendi score: the effective number of different samples (Friedman & Dieng 2023, arXiv 2210.02410, eq. 1-2).

.. math:: \exp\Big(-\sum_i \lambda_i \log \lambda_i\Big)

with the eigenvalues of K/n for a kernel that is one on the diagonal, here
:math:`\exp(-\lVert x - x' \rVert^2 / 2 h^2)`.
"""

import torch
from torch import Tensor

__all__ = ["vendi_score"]


def vendi_score(x: Tensor, width: float) -> float:
    """Between 1, for copies of one sample, and n, for samples that are far apart.

    Args:
        x: features, (n, F).
        width: h, in units of the features.
    """
    kernel = torch.exp(torch.cdist(x.double(), x.double()).square() / (-2 * width**2)) / len(x)
    values = torch.linalg.eigvalsh(kernel).clamp_min(0)
    return float(torch.special.entr(values).sum().exp())

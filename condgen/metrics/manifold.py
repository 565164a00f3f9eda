r"""Precision, recall, density and coverage: how two sets of features overlap as unions of balls.

Around each sample lies a ball that reaches to its k-th nearest neighbour in its own set. Of the fakes,

* precision (Kynkäänniemi et al. 2019, eq. 2): inside any ball of a real sample;
* density (Naeem et al. 2020, eq. 4): the number of real balls that hold it, over k; its mean may exceed one.

Of the real samples,

* recall (Kynkäänniemi et al. 2019, eq. 2): inside any ball of a fake;
* coverage (Naeem et al. 2020, eq. 5): its own ball holds a fake.

All four depend on the sizes of both sets, so only values at equal sizes compare. *Class-wise*, they are those of the
fakes of a class against the real samples of that class alone, averaged over the classes (Chao et al. 2022, table 2):
fakes of the wrong class, however fine, then count as bad.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from condgen.metrics.neighbours import nearest_others, pairs_within

__all__ = ["Manifold", "classwise_prdc", "nearest_radii", "prdc"]


@dataclass(frozen=True, eq=False)
class Manifold:
    """Contributions of single samples, float64; the mean of each tensor is the metric of that name.

    Args:
        precision: (N_fake,), each 0 or 1.
        recall: (N_real,), each 0 or 1.
        density: (N_fake,), each a multiple of 1/k.
        coverage: (N_real,), each 0 or 1.
    """

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def nearest_radii(features: Tensor, k: int = 5) -> Tensor:
    """Distance of every sample to the k-th nearest other one: (N,) float64.

    Raises:
        ValueError: there are no k other samples.
    """
    return nearest_others(features, k).distances[:, -1]


def prdc(real: Tensor, fake: Tensor, k: int = 5, real_radii: Tensor | None = None) -> Manifold:
    """Precision, recall, density and coverage of fakes, in memory linear in the numbers of samples.

    Args:
        real: features, (N_real, F).
        fake: features, (N_fake, F).
        k: the neighbour that sets the radius of a ball.
        real_radii: `nearest_radii(real, k)`, where it is at hand from an earlier call.

    Raises:
        ValueError: either set has no more than k samples.
    """
    real_radii = nearest_radii(real, k) if real_radii is None else real_radii
    fake_radii = nearest_radii(fake, k)
    density = torch.empty(len(fake), dtype=torch.float64)
    recall, coverage = (torch.zeros(len(real), dtype=torch.bool) for _ in range(2))
    for rows, in_fake, in_real in pairs_within(fake, real, fake_radii, real_radii):
        density[rows] = in_real.sum(1).double() / k
        coverage |= in_real.any(0)
        recall |= in_fake.any(0)
    return Manifold((density > 0).double(), recall.double(), density, coverage.double())


def classwise_prdc(real: Tensor, real_y: Tensor, fake: Tensor, fake_y: Tensor, k: int = 5) -> dict[int, Manifold]:
    """Precision, recall, density and coverage within each class.

    Args:
        real: features, (N_real, F).
        real_y: their labels, (N_real,).
        fake: features, (N_fake, F).
        fake_y: the labels asked for, (N_fake,).
        k: the neighbour that sets the radius of a ball, the same for all classes.

    Returns:
        What `prdc` gives, by class; a class without more than k samples on both sides is left out.
    """
    sizes = {label: min(int((y == label).sum()) for y in (real_y, fake_y)) for label in fake_y.unique().tolist()}
    return {label: prdc(real[real_y == label], fake[fake_y == label], k) for label, size in sizes.items() if size > k}

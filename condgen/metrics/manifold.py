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

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Manifold", "classwise_prdc", "nearest_radii", "prdc"]

_CHUNK = 2**23  # distances held at a time: 64 MB


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


def _distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of the matrix of distances between a (N, F) and b (M, F), a few at a time."""
    # Products of large coordinates would cancel; the features are brought to the origin first.
    centre = b.mean(0)
    a, b = a - centre, b - centre
    step = max(1, _CHUNK // len(b))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        yield rows, torch.cdist(a[rows], b, compute_mode="use_mm_for_euclid_dist")


def nearest_radii(features: Tensor, k: int = 5) -> Tensor:
    """Distance of every sample to the k-th nearest other one: (N,) float64.

    Raises:
        ValueError: there are no k other samples.
    """
    if not 1 <= k < len(features):
        raise ValueError(f"the {k}-th neighbour of each sample does not exist among {len(features)} samples")
    features = features.double()
    radii = torch.empty(len(features), dtype=torch.float64, device=features.device)
    for rows, distances in _distances(features, features):
        distances.diagonal(rows.start).fill_(torch.inf)
        radii[rows] = distances.topk(k, largest=False).values[:, -1]
    return radii


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
    real, fake = real.double(), fake.double()
    real_radii = nearest_radii(real, k) if real_radii is None else real_radii
    fake_radii = nearest_radii(fake, k)
    precision, density = torch.empty_like(fake_radii), torch.empty_like(fake_radii)
    recall, coverage = torch.zeros_like(real_radii), torch.zeros_like(real_radii)
    for rows, distances in _distances(fake, real):
        inside = distances < real_radii
        precision[rows] = inside.any(1).double()
        density[rows] = inside.sum(1).double() / k
        coverage = torch.maximum(coverage, inside.any(0).double())
        recall = torch.maximum(recall, (distances < fake_radii[rows, None]).any(0).double())
    return Manifold(precision, recall, density, coverage)


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

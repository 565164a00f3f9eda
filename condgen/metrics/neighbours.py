r"""Exact nearest neighbours, and pairs closer than a radius.

Squared distances come from a matrix product about a common centre, :math:`|a|^2 + |b|^2 - 2 a \cdot b`. In arithmetic
of unit roundoff u a product of F numbers is wrong by at most

.. math:: u \left( 2 (F + 2)\, |a|\, |b| + 3\, (|a| + |b|)^2 \right)

(Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1). What this leaves undecided is computed
from the differences themselves, so that copies are told from near copies.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_HELD = 2**23  # distances held at a time: 64 MB
_SPARE = 3  # candidates besides the k that are asked for


class Neighbours(NamedTuple):
    """The nearest of one set to each of another."""

    distances: Tensor  # (N, k) float64, rising
    indices: Tensor  # (N, k) int64


def _squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows of a, their squared distances to all of b (A, M) float64, and a bound on the errors (A, 1)."""
    centre = b.double().mean(0)
    b = b.double() - centre
    squares = b.square().sum(1)
    largest = squares.max().sqrt()
    step = max(1, _HELD // max(b.shape))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        part = a[rows].double() - centre
        own = part.square().sum(1, keepdim=True)
        squared = torch.addmm(squares[None], part, b.T, alpha=-2).add_(own)
        norms = own.sqrt()
        products = 2 * (b.shape[1] + 2) * norms * largest
        yield rows, squared, torch.finfo(b.dtype).eps / 2 * (products + 3 * (norms + largest).square())


def _exact(a: Tensor, b: Tensor) -> Tensor:
    """Distances of rows from the differences themselves, float64."""
    return (a.double() - b.double()).square().sum(-1).sqrt()


def nearest(queries: Tensor, among: Tensor, k: int, *, others: bool = False) -> Neighbours:
    """The k nearest members of a set (M, F) to each query (N, F); of the set itself, those of `others` than itself.

    Raises:
        ValueError: there are no k members, or others.
    """
    available = len(among) - others
    if not 1 <= k <= available:
        raise ValueError(f"the {k}-th neighbour does not exist among {available} samples")
    distances, indices = [], []
    for rows, squared, bound in _squared_distances(queries, among):
        if others:
            squared[:, rows].fill_diagonal_(torch.inf)
        least, candidates = squared.topk(min(k + _SPARE, available), largest=False)
        exact = torch.stack([_exact(queries[rows], among[column]) for column in candidates.T], 1)
        found, order = exact.sort(1)
        chosen = candidates.gather(1, order)
        unsure = found[:, k - 1].square() > least[:, -1] - bound[:, 0]  # a sample off the list may be nearer
        for row in unsure.nonzero()[:, 0].tolist() if candidates.shape[1] < available else ():
            everything = _exact(queries[rows][row], among)
            if others:
                everything[rows.start + row] = torch.inf
            found[row], chosen[row] = everything.topk(found.shape[1], largest=False)
        distances.append(found[:, :k])
        indices.append(chosen[:, :k])
    return Neighbours(torch.cat(distances), torch.cat(indices))


def pairs_within(a: Tensor, b: Tensor, a_radii: Tensor, b_radii: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Which pairs are closer than the radius of the first, and which than that of the second.

    Args:
        a: features, (N, F).
        b: features, (M, F).
        a_radii: (N,) float64.
        b_radii: (M,) float64.

    Yields:
        Rows of a, and for each of the two radii a mask of pairs, (A, M) bool.
    """
    for rows, squared, bound in _squared_distances(a, b):
        masks = []
        for radii in (a_radii[rows, None].double(), b_radii[None].double()):
            over = squared - radii.square()
            mask = over < 0
            i, j = (over.abs() <= bound + 4 * torch.finfo(over.dtype).eps * radii.square()).nonzero(as_tuple=True)
            mask[i, j] = _exact(a[rows][i], b[j]) < radii.expand(squared.shape)[i, j]
            masks.append(mask)
        yield rows, masks[0], masks[1]

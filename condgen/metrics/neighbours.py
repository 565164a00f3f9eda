r"""Nearest neighbours and pairs within reach, exactly as in float64, at the speed of float32.

Squared distances come from a matrix product, :math:`|a|^2 + |b|^2 - 2 a \cdot b`, a tile at a time, about a common
centre. Products of F numbers in arithmetic of unit roundoff u are wrong by at most

.. math:: u \left( 2 (F + 2)\, |a|\, |b| + 3\, (|a| + |b|)^2 \right)

(Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1). What float32 leaves undecided by this
bound is computed anew, in float64 and from the differences themselves. So sets with copies, or nearly so, are told
apart as well as others, and the memory is that of a few tiles.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Inside", "Neighbours", "inside", "nearest", "nearest_others"]

_TILE = 1024  # rows and columns: 4 MB in float32
_SPARE = 3  # candidates beside the k that are asked for
_HELD = 2**20  # numbers of differences held at a time: 8 MB


class Neighbours(NamedTuple):
    """The nearest of one set to each of another."""

    distances: Tensor  # (N, k) float64, rising
    indices: Tensor  # (N, k) int64


class Inside(NamedTuple):
    """Some pairs of a member of one set and of another that are closer than a radius, in no order."""

    first: Tensor  # (P,) int64
    second: Tensor  # (P,) int64


class _Block(NamedTuple):
    """Consecutive members of a set, ready for products."""

    start: int
    x: Tensor  # (B, F), about the centre
    squares: Tensor  # (B,), their squared norms


class _Set:
    """Features (N, F), whose blocks are made when they are needed."""

    def __init__(self, features: Tensor, centre: Tensor, dtype: torch.dtype) -> None:
        self.features, self.centre, self.dtype = features, centre, dtype
        norms = [torch.linalg.vector_norm(part.double() - centre, dim=1) for part in features.split(_TILE)]
        self.squares = torch.cat(norms).square_().to(dtype)

    def blocks(self, first: int = 0) -> Iterator[_Block]:
        # A difference of two float32 numbers is rounded once, as one of float64 that is made float32 is.
        narrow = self.features.dtype == self.dtype
        centre = self.centre.to(self.dtype) if narrow else self.centre
        for start in range(first, len(self.features), _TILE):
            rows = slice(start, start + _TILE)
            yield _Block(start, (self.features[rows] - centre).to(self.dtype), self.squares[rows])


def _centre(features: Tensor) -> Tensor:
    """Some point in the middle, (F,) float64, which float32 can hold."""
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    for part in features.split(_TILE):
        total += part.double().sum(0)
    return (total / len(features)).float().double()


def _squared(a: _Block, b: _Block) -> tuple[Tensor, Tensor]:
    """Squared distances (A, B), and by how much those of a row may be wrong, (A,)."""
    squared = torch.addmm(b.squares[None], a.x, b.x.T, alpha=-2).add_(a.squares[:, None])
    norms, largest = a.squares.sqrt(), b.squares.max().sqrt()
    roundoff = torch.finfo(a.x.dtype).eps / 2
    return squared, roundoff * (2 * (a.x.shape[1] + 2) * norms * largest + 3 * (norms + largest).square())


def _exactly(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Squared distances of the pairs (a[rows], b[columns]): the shape of `columns`, float64."""
    rows = rows.reshape(-1, *[1] * (columns.ndim - 1)).expand(columns.shape).reshape(-1)
    flat = columns.reshape(-1)
    step = max(1, _HELD // a.shape[1])
    found = [
        (a[rows[i : i + step]].double() - b[flat[i : i + step]].double()).square_().sum(1)
        for i in range(0, len(flat), step)
    ]
    return torch.cat(found).reshape(columns.shape) if found else torch.zeros(columns.shape, dtype=torch.float64)


class _Shortlist:
    """The least distances found so far for each of N, and how far they may be wrong."""

    def __init__(self, n: int, length: int, dtype: torch.dtype) -> None:
        self.squared = torch.full((n, length), torch.inf, dtype=dtype)
        self.indices = torch.zeros(n, length, dtype=torch.int64)
        self.wrong = torch.zeros(n, dtype=dtype)

    def add(self, start: int, squared: Tensor, wrong: Tensor, first: int) -> None:
        """Takes in distances of rows from `start` on to the columns from `first` on."""
        length = self.squared.shape[1]
        rows = slice(start, start + len(squared))
        near = squared.topk(min(length, squared.shape[1]), largest=False)
        joined = torch.cat((self.squared[rows], near.values), 1)
        indices = torch.cat((self.indices[rows], near.indices + first), 1)
        self.squared[rows], kept = joined.topk(length, largest=False)
        self.indices[rows] = indices.gather(1, kept)
        self.wrong[rows] = torch.maximum(self.wrong[rows], wrong)


def _decide(queries: Tensor, among: Tensor, k: int, chosen: Tensor, found: _Shortlist) -> tuple[Neighbours, Tensor]:
    """The exact order of what is on the list, and whether the list was long enough, (N,)."""
    exact, order = _exactly(queries, among, chosen, found.indices).sort(1)
    whole = found.squared.shape[1] == len(among)
    beyond = found.squared[:, -1].double() - found.wrong.double()  # nothing off the list is nearer
    last = exact[:, k - 1]
    sure = (last <= beyond) | (last == 0) | torch.tensor(whole)
    return Neighbours(exact[:, :k].sqrt(), found.indices.gather(1, order)[:, :k]), sure


def nearest(queries: Tensor, among: Tensor, k: int) -> Neighbours:
    """The k nearest members of a set to each query, exactly.

    Args:
        queries: features, (N, F).
        among: features of the set, (M, F).
        k: at most M.

    Raises:
        ValueError: there are no k members.
    """
    if not 1 <= k <= len(among):
        raise ValueError(f"the {k}-th neighbour does not exist among {len(among)} samples")
    centre = _centre(among)
    distances = torch.empty(len(queries), k, dtype=torch.float64)
    indices = torch.empty(len(queries), k, dtype=torch.int64)
    left = torch.arange(len(queries))
    for dtype in (torch.float32, torch.float64):
        found = _Shortlist(len(left), min(k + _SPARE, len(among)), dtype)
        for a in _Set(queries[left], centre, dtype).blocks():
            for b in _Set(among, centre, dtype).blocks():
                found.add(a.start, *_squared(a, b), b.start)
        (distances[left], indices[left]), sure = _decide(queries, among, k, left, found)
        left = left[~sure]
        if not len(left):
            break
    for row in left.tolist():  # more near copies than the list is long
        everything = _exactly(queries, among, torch.tensor([row]), torch.arange(len(among))[None])[0]
        squared, indices[row] = everything.topk(k, largest=False)
        distances[row] = squared.sqrt()
    return Neighbours(distances, indices)


def nearest_others(features: Tensor, k: int) -> Neighbours:
    """The k nearest other members of each member of a set (N, F), exactly; every pair is looked at once.

    Raises:
        ValueError: there are no k others.
    """
    if not 1 <= k < len(features):
        raise ValueError(f"the {k}-th neighbour of each sample does not exist among {len(features)} samples")
    centre = _centre(features)
    own = _Set(features, centre, torch.float32)
    found = _Shortlist(len(features), min(k + _SPARE, len(features) - 1), torch.float32)
    for a in own.blocks():
        for b in own.blocks(a.start):
            squared, wrong = _squared(a, b)
            if a.start == b.start:
                squared.fill_diagonal_(torch.inf)
                found.add(a.start, squared, wrong, a.start)
            else:
                found.add(a.start, squared, wrong, b.start)
                found.add(b.start, squared.T, wrong.max().expand(len(b.x)), a.start)
    everyone = torch.arange(len(features))
    (distances, indices), sure = _decide(features, features, k, everyone, found)
    unsure = everyone[~sure]
    if len(unsure):  # they find themselves too, among their copies perhaps
        again = nearest(features[unsure], features, k + 1)
        oneself = again.indices == unsure[:, None]
        oneself[~oneself.any(1), -1] = True  # where copies have taken all places, any of them stands for it
        distances[unsure] = again.distances[~oneself].reshape(-1, k)
        indices[unsure] = again.indices[~oneself].reshape(-1, k)
    return Neighbours(distances, indices)


def inside(first: Tensor, second: Tensor, first_radii: Tensor, second_radii: Tensor) -> Iterator[tuple[Inside, Inside]]:
    """The pairs closer than the radius of the first, and those closer than that of the second, a tile at a time.

    Args:
        first: features, (N, F).
        second: features, (M, F).
        first_radii: (N,) float64.
        second_radii: (M,) float64.
    """
    centre = _centre(second)
    radii = first_radii.double(), second_radii.double()
    for a in _Set(first, centre, torch.float32).blocks():
        for b in _Set(second, centre, torch.float32).blocks():
            squared, wrong = _squared(a, b)
            rows, columns = slice(a.start, a.start + len(a.x)), slice(b.start, b.start + len(b.x))
            found = []
            for radius in (radii[0][rows, None], radii[1][None, columns]):
                reach = radius.square()
                margin = wrong[:, None] + 2 * torch.finfo(torch.float32).eps * reach.max().float()  # of its rounding
                over = squared - reach.float()
                i, j = (over < margin).nonzero(as_tuple=True)
                open_ = over[i, j] >= -margin[i, 0]
                ours, theirs = i[open_] + a.start, j[open_] + b.start
                limit = radius.expand(squared.shape)[i[open_], j[open_]]
                kept = ~open_
                kept[open_] = _exactly(first, second, ours, theirs).sqrt() < limit  # as radii are made
                found.append(Inside(i[kept] + a.start, j[kept] + b.start))
            yield found[0], found[1]

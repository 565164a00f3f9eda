"""The exact scores of an oracle at extreme noise levels, beside a closed form."""

import math
from collections.abc import Sequence

import torch
from benchmarks.parts import Rows

from condgen.errors import UserError
from condgen.oracle import Oracle
from condgen.schedules import EDM

__all__ = ["SIGMAS", "oracle_rows"]

SIGMAS = (1e-30, 1e-8, 1e-4, 1e4, 1e8, 1e30)


def oracle_rows(sigmas: Sequence[float] = SIGMAS) -> Rows:
    """How far the exact scores of two points are from their closed form, or 1 where they are refused by name.

    Of the points mu and -mu, noised by v, p(mu | x) is a sigmoid of 2 mu x / v, and the scores are
    (mu tanh(mu x / v) - x) / v, (y mu - x) / v, and 2 y mu / (v (1 + exp(2 y mu x / v))) for y of 1 or -1.
    """
    rows: Rows = []
    for sigma in sigmas:
        for dtype in (torch.float32, torch.float64):
            name = str(dtype).removeprefix("torch.")
            error, refused = _oracle_error(sigma, dtype)
            about = {"variant": f"sigma {sigma:g}, {name}"}
            if refused is not None:
                rows.append({"what": "oracle: refused by name", **about, "value": int(refused), "unit": "of 1"})
            else:
                rows.append({"what": "oracle: greatest relative error", **about, "value": error, "unit": ""})
    return rows


def _oracle_error(sigma: float, dtype: torch.dtype) -> tuple[float, bool | None]:
    """The greatest relative error; and, where the closed form has no such number, whether it was refused by name."""
    mu = torch.tensor([0.75, 0.0], dtype=torch.float64)
    schedule = EDM(sigma_min=min(1e-31, sigma), sigma_max=max(1e31, sigma))
    oracle = Oracle(schedule, torch.stack([mu, -mu]), torch.tensor([0, 1]), 2)
    eps = torch.tensor([[0.7, -1.3], [-0.4, 0.2]], dtype=torch.float64)
    x_t = (torch.stack([mu, -mu]).repeat_interleave(2, 0) + sigma * eps.repeat(2, 1)).to(dtype)
    y = torch.tensor([0, 1, 1, 0])  # own and wrong classes
    sign, x, v = (1 - 2 * y.double())[:, None], x_t.double(), sigma**2
    product = (x @ mu / v)[:, None]
    expected = torch.stack(
        [
            (mu * product.tanh() - x) / v,
            (sign * mu - x) / v,
            2 * sign * mu / v * torch.sigmoid(-2 * sign * product),
        ]
    ).to(dtype)
    t = torch.tensor(sigma, dtype=torch.float64)
    try:
        found = torch.stack(list(oracle.scores(x_t, t, y)))
    except UserError as error:
        return math.nan, not bool(expected.isfinite().all()) and f"noise level {sigma:.4g}" in str(error)
    if not bool(expected.isfinite().all()):
        return math.nan, False
    scale = expected.abs().amax(2, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
    return float(((found - expected) / scale).abs().max()), None

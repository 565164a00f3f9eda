r"""Distributions whose scores are known exactly at every noise level.

They are mixtures of isotropic Gaussians whose components carry class labels:

.. math:: p_t(x_t, y) = \sum_{i : y_i = y} w_i\, \mathcal{N}(x_t;\ \alpha_t \mu_i,\ v_i I), \qquad
          v_i = \alpha_t^2 s_i^2 + \sigma_t^2

With all :math:`s_i = 0` it is a *labelled point set*: the training set itself, whose noised density is the exact
optimum of denoising score matching and of its likelihood cousin. The denoised mean of a component is
:math:`\mu_i + (\alpha_t s_i^2 / v_i)(x_t - \alpha_t \mu_i)`.

**Cost.** The N logarithms need :math:`x_t \cdot \mu_i = \alpha_t\, x \cdot \mu_i + \sigma_t\, \epsilon \cdot \mu_i`:
two sets of products serve all noise levels of the same images and noise (`Oracle.scores_along`). What is left at each
level is a weighted mean of those components whose weight a float64 sum would notice: few at low noise.

**Accuracy.** Products and logarithms are float64. With u its roundoff, a logarithm is wrong by at most
:math:`u (D + 8) (|x_t| + \alpha_t |\mu_i|)^2 / 2 v_i` (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
section 3.1): 5e-6 for CIFAR at :math:`\sigma = 0.01`, where float32 would give 3,000. Means are summed in float64,
those of bytes, many and wide, in float32. Where the classes leave no doubt, the scores with and without the class agree
in all digits, so the likelihood score is made from the means of the class and of all others:

.. math:: E[x \mid x_t, y] - E[x \mid x_t] = p(\neg y \mid x_t)\, (E[x \mid x_t, y] - E[x \mid x_t, \neg y])

whose first factor is a sum, not one minus a sum: its *relative* error is that of the means, at every noise level.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood, refuse_infinite
from condgen.rng import float64_device, to_float64
from condgen.schedules import Schedule, score_from_denoised

_HELD, _HELD_BY_DEVICES = 2**22, 2**24  # numbers of a matrix held at a time: 32 MB in float64; devices like it large
_DOUBLE = torch.finfo(torch.float64)


class ExactScores(NamedTuple):
    """The terms of Bayes' rule, each (B, ...): posterior = prior + likelihood."""

    prior: Tensor
    posterior: Tensor
    likelihood: Tensor

    def checked(self, schedule: Schedule, t: Tensor) -> "ExactScores":
        refuse_infinite({f"oracle's {name} score": score for name, score in self._asdict().items()}, schedule, t)
        return self


@contextmanager
def _true_float32() -> Iterator[None]:
    """Products as float32 has them, also where training allows TF32."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


class Oracle(Denoiser):
    """A labelled mixture of isotropic Gaussians, noised by a schedule. As a `Denoiser` it conditions on y where given.

    Args:
        schedule: of the noise.
        means: of the components, (N, ...). Bytes are images, kept as bytes, and stand for x / 127.5 - 1.
        labels: the class of each, (N,) integers in [0, n_classes); ValueError where a class has none.
        stds: standard deviations of the components, (N,), or one for all; zero makes points.
        weights: positive weights of the components, (N,), normalised here; equal by default.
        held: numbers of a matrix held at a time, ten times their 8 bytes in all; by default what suits the device.
    """

    means: Tensor
    squares: Tensor
    variances: Tensor
    log_weights: Tensor

    def __init__(
        self,
        schedule: Schedule,
        means: Tensor,
        labels: Tensor,
        n_classes: int,
        *,
        stds: Tensor | float = 0.0,
        weights: Tensor | None = None,
        held: int | None = None,
    ) -> None:
        super().__init__()
        means = means.to(float64_device(means.device))
        counts = torch.bincount(labels, minlength=n_classes)
        if len(counts) > n_classes or int(counts.min()) == 0:
            raise ValueError(f"labels must cover the {n_classes} classes and no others; counts are {counts.tolist()}")
        order = labels.argsort(stable=True).to(means.device)
        variances = torch.as_tensor(stds, dtype=torch.float64, device=means.device).square()
        weights = torch.ones(len(means), dtype=torch.float64) if weights is None else weights.double()
        self.schedule, self.n_classes, self.shape = schedule, n_classes, tuple(means.shape[1:])
        self._held = held
        self._spread = bool((variances > 0).any())
        self._class_starts = [0, *counts.cumsum(0).tolist()]
        self.register_buffer("means", means[order].flatten(1).contiguous())
        self.register_buffer("variances", variances[order] if variances.ndim else variances[None])
        self.register_buffer("log_weights", (weights / weights.sum()).log().to(means.device)[order])
        parts = [self._points(slice(a, b)).double().square().sum(1) for a, b in self._chunks(0, len(means))]
        self.register_buffer("squares", torch.cat(parts))

    @property
    def log_prior(self) -> Tensor:
        return torch.stack([self.log_weights[a:b].logsumexp(0) for a, b in pairwise(self._class_starts)])

    @property
    def held(self) -> int:
        return self._held or (_HELD if self.means.device.type == "cpu" else _HELD_BY_DEVICES)

    @property
    def at_once(self) -> int:
        return max(1, self.held // max(self.means.shape))

    def _chunks(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        size = max(1, self.held // max(1, self.means.shape[1]))
        yield from ((a, min(a + size, end)) for a in range(start, end, size))

    def _points(self, rows: slice | Tensor) -> Tensor:
        points = self.means[rows]
        return points.float() / 127.5 - 1 if points.dtype == torch.uint8 else points

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma, each (1, 1) for one time or (B, 1)."""
        t = t.to(device=self.means.device, dtype=torch.float64).reshape(-1, 1)
        return self.schedule.alpha(t), self.schedule.sigma(t)

    def _products(self, x: Tensor) -> Tensor:
        return torch.cat([x @ self._points(slice(a, b)).double().T for a, b in self._chunks(0, len(self.means))], 1)

    def _logits(self, x: Tensor, products: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log w_i N(x; alpha mu_i, v_i) for the scaled products alpha x . mu_i: (B, N)."""
        variance = alpha.square() * self.variances + sigma.square()
        constant = self.log_weights - 0.5 * (alpha.square() * self.squares / variance)
        constant = constant - 0.5 * x.shape[1] * (2 * math.pi * variance).log()
        return torch.addcdiv(constant, products - 0.5 * x.square().sum(1, keepdim=True), variance)

    def _masses(self, logits: Tensor) -> Tensor:
        """log p_t(x_t, y) of every class: (B, K)."""
        return torch.stack([logits[:, a:b].logsumexp(1) for a, b in pairwise(self._class_starts)], 1)

    def _denoise(
        self, x: Tensor, logits: Tensor, alpha: Tensor, sigma: Tensor, y: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """From the logits of x (B, D): E[x | x_t, not y] and E[x | x_t, y], (B, D) float64, and p(not y | x_t), (B, 1).

        Where no y is given, the first is E[x | x_t], and the second zero.
        """
        masses = self._masses(logits)
        labels = torch.arange(self.n_classes, device=x.device)
        is_own = torch.zeros_like(masses, dtype=torch.bool) if y is None else y.to(x.device)[:, None] == labels
        if y is not None and not bool(is_own.any(1).all()):
            raise ValueError(f"labels lie in 0 to {self.n_classes - 1}, which {y.tolist()[:8]} do not")
        log_rest = masses.masked_fill(is_own, _DOUBLE.min).logsumexp(1, keepdim=True)  # least: exp of it is zero
        total = torch.where(is_own, masses, log_rest)
        means = [torch.zeros_like(x), torch.zeros_like(x)]
        for k, ends in enumerate(pairwise(self._class_starts)):
            own = is_own[:, k, None]
            for a, b in self._chunks(*ends):
                part = self._weighted(x, (logits[:, a:b] - total[:, k, None]).exp(), a, alpha, sigma)
                means = [mean + part.where(where, 0) for mean, where in zip(means, (~own, own), strict=True)]
        rest, own_mean = means
        return rest, own_mean, (log_rest - masses.logsumexp(1, keepdim=True)).exp()

    def _scores(self, x: Tensor, logits: Tensor, alpha: Tensor, sigma: Tensor, y: Tensor) -> ExactScores:
        rest, own, doubt = self._denoise(x, logits, alpha, sigma, y)
        prior, posterior = (score_from_denoised(mean, x, alpha, sigma) for mean in (own + doubt * (rest - own), own))
        return ExactScores(prior, posterior, alpha * doubt * (own - rest) / sigma**2)

    def _weighted(self, x: Tensor, weights: Tensor, start: int, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The weighted sum of the denoised means of components from `start` on: (B, D) float64."""
        rows: slice | Tensor = slice(start, start + weights.shape[1])
        noticed = (weights > _DOUBLE.eps / len(self.means)).any(0)
        if not bool(noticed.all()):
            chosen = noticed.nonzero()[:, 0]
            weights, rows = weights[:, chosen], chosen + start
        points, extra = self._points(rows), x.new_zeros(())
        points = points if self.means.dtype == torch.uint8 else points.double()
        if self._spread:
            s2 = self.variances if len(self.variances) == 1 else self.variances[rows]
            pull = alpha * s2 / (alpha.square() * s2 + sigma.square())  # how far a component's own spread follows x
            extra = (weights * pull).sum(1, keepdim=True) * x
            weights = weights * (1 - alpha * pull)
        with _true_float32():
            return (weights.to(points.dtype) @ points).double() + extra

    def _blocks(self, x_t: Tensor, t: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, Tensor]]:
        """A few queries at a time: their rows, x (B, D), alpha, sigma and logits (B, N)."""
        x, (alpha, sigma) = to_float64(x_t).to(self.means.device).flatten(1), self._scales(t)
        for start in range(0, max(1, len(x)), self.at_once):
            rows = slice(start, start + self.at_once)
            a, s = (v if len(v) == 1 else v[rows] for v in (alpha, sigma))
            yield rows, x[rows], a, s, self._logits(x[rows], a * self._products(x[rows]), a, s)

    def log_joint(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log p_t(x_t, y) for every class: (B, K) for x_t (B, ...) and t scalar or (B,)."""
        return torch.cat([self._masses(logits) for *_, logits in self._blocks(x_t, t)]).to(x_t)

    def log_prob(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """log p_t(x_t), or log p_t(x_t | y) where y (B,) is given: (B,)."""
        joint = self.log_joint(to_float64(x_t), t)
        if y is None:
            return joint.logsumexp(1).to(x_t)
        y = y.to(joint.device).long()
        return (joint.gather(1, y[:, None])[:, 0] - self.log_prior.to(joint)[y]).to(x_t)

    def log_posterior(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log p(y | x_t): (B, K)."""
        return self.log_joint(to_float64(x_t), t).log_softmax(1).to(x_t)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        parts = []
        for rows, x, alpha, sigma, logits in self._blocks(x_t, t):
            rest, own, _ = self._denoise(x, logits, alpha, sigma, None if y is None else y[rows])
            parts.append(rest if y is None else own)
        return torch.cat(parts).view(x_t.shape).to(x_t)

    def score(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """As every denoiser's, in float64: the square of a small sigma is none in float32. Raises as `scores` does."""
        x = to_float64(x_t)
        score = super().score(x, t.to(x.device, torch.float64), y).to(x_t)
        refuse_infinite({"oracle's score": score}, self.schedule, t)
        return score

    def scores(self, x_t: Tensor, t: Tensor, y: Tensor) -> ExactScores:
        """All three scores, each (B, ...); UserError where one is beyond the range of x_t's type."""
        parts = [
            self._scores(x, logits, alpha, sigma, y[rows]) for rows, x, alpha, sigma, logits in self._blocks(x_t, t)
        ]
        found = (torch.cat(part).view(x_t.shape).to(x_t) for part in zip(*parts, strict=True))
        return ExactScores(*found).checked(self.schedule, t)

    @torch.no_grad()
    def scores_along(
        self, x: Tensor, eps: Tensor, times: Sequence[Tensor], y: Tensor
    ) -> Iterator[tuple[Tensor, ExactScores]]:
        """At each time, a scalar, alpha x + sigma eps and its scores, (B, ...) float64, at little more than one's cost.

        The products of x and eps, with B at most `at_once`, with all components are held meanwhile.
        """
        both = [to_float64(part).to(self.means.device).flatten(1) for part in (x, eps)]
        products = self._products(torch.cat(both)).split(len(x))
        for t in times:
            alpha, sigma = self._scales(t)
            x_t = alpha * both[0] + sigma * both[1]
            scaled = torch.addcmul(alpha.square() * products[0], alpha * sigma, products[1])
            scores = self._scores(x_t, self._logits(x_t, scaled, alpha, sigma), alpha, sigma, y)
            del scaled
            scores = scores.checked(self.schedule, t)
            yield x_t.view(x.shape), ExactScores(*(score.view(x.shape) for score in scores))

    @property
    def likelihood(self) -> "OracleLikelihood":
        return OracleLikelihood(self)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clean draws and their labels: (n, ...) in the dtype of the means, float32 for bytes, and (n,)."""
        index = torch.multinomial(self.log_weights.exp().cpu(), n, replacement=True, generator=generator)
        labels = torch.searchsorted(torch.tensor(self._class_starts), index, right=True) - 1
        index = index.to(self.means.device)
        mu = self._points(index)
        variances = self.variances if len(self.variances) == 1 else self.variances[index]
        noise = torch.randn(mu.shape, generator=generator, dtype=mu.dtype).to(mu.device)
        return (mu + variances.sqrt()[:, None].to(mu.dtype) * noise).view(n, *self.shape), labels.to(mu.device)


class OracleLikelihood(Likelihood):
    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle, self.schedule, self.n_classes = oracle, oracle.schedule, oracle.n_classes

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.oracle.log_posterior(x_t, t)

    def score(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The exact likelihood score; without a graph, of labels, by its formula. Raises as `Oracle.scores` does."""
        if y.dtype == torch.bool or (torch.is_grad_enabled() and x_t.requires_grad):
            return super().score(x_t, t, y)
        with torch.no_grad():
            likelihood = self.oracle.scores(to_float64(x_t), t, y).likelihood.to(x_t)
        refuse_infinite({"oracle's likelihood score": likelihood}, self.schedule, t)
        return likelihood

r"""Distributions whose scores are known exactly at every noise level.

One family covers both oracles of the project, a mixture of isotropic Gaussians whose components carry class labels:

.. math:: p_t(x_t, y) = \sum_{i : y_i = y} w_i\, \mathcal{N}(x_t;\ \alpha_t \mu_i,\ v_i I), \qquad
          v_i = \alpha_t^2 s_i^2 + \sigma_t^2

With all :math:`s_i = 0` it is a *labelled point set*: the training set itself, whose noised density is the exact
optimum of denoising score matching and of its likelihood cousin. The denoised mean of a component is
:math:`\mu_i + (\alpha_t s_i^2 / v_i)(x_t - \alpha_t \mu_i)`; sums over components stream through a running
log-sum-exp, so memory does not grow with their number. Everything is computed in float64 and returned in the dtype of
the question.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.bayes import Denoiser, Likelihood
from condgen.noise import Schedule, score_from_denoised

__all__ = ["ExactScores", "Oracle", "OracleLikelihood"]


class ExactScores(NamedTuple):
    r"""The three terms of Bayes' rule, each (B, ...): posterior = prior + likelihood."""

    prior: Tensor
    posterior: Tensor
    likelihood: Tensor


class _Component(NamedTuple):
    log_mass: Tensor  # (B,) log p_t(x_t, y = class)
    mean: Tensor | None  # (B, D) E[x | x_t, y = class]


class Oracle(Denoiser):
    """A labelled mixture of isotropic Gaussians, noised by a schedule. As a `Denoiser` it conditions on y where given.

    Args:
        schedule: the noise schedule.
        means: component means, (N, ...). For a labelled point set, the points.
        labels: the class of each component, (N,) integers in [0, n_classes).
        n_classes: the number of classes; each needs a component.
        stds: standard deviations of the components, (N,), or one for all; zero makes points.
        weights: positive weights of the components, (N,), normalised here; equal by default.
        query_chunk: queries treated at once.
        component_chunk: components treated at once; with `query_chunk` it bounds the memory.

    Raises:
        ValueError: for labels out of range or a class without a component.
    """

    means: Tensor
    stds: Tensor
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
        query_chunk: int = 1000,
        component_chunk: int = 2000,
    ) -> None:
        super().__init__()
        counts = torch.bincount(labels, minlength=n_classes)
        if len(counts) > n_classes or int(counts.min()) == 0:
            raise ValueError(f"labels must cover the {n_classes} classes and no others; counts are {counts.tolist()}")
        order = labels.argsort(stable=True)
        stds = torch.as_tensor(stds, dtype=torch.float64, device=means.device).expand(len(means))
        weights = torch.ones(len(means), dtype=torch.float64) if weights is None else weights.double()
        self.schedule = schedule
        self.n_classes = n_classes
        self.shape = tuple(means.shape[1:])
        self.query_chunk, self.component_chunk = query_chunk, component_chunk
        self.register_buffer("means", means[order].flatten(1).contiguous())
        self.register_buffer("stds", stds[order.to(stds.device)].clone())
        self.register_buffer("log_weights", (weights / weights.sum()).log().to(means.device)[order.to(means.device)])
        self._class_starts = [0, *counts.cumsum(0).tolist()]

    @property
    def log_prior(self) -> Tensor:
        """Log-probability of each class, (K,) float64."""
        starts = self._class_starts
        return torch.stack([self.log_weights[a:b].logsumexp(0) for a, b in pairwise(starts)])

    def _scales(self, t: Tensor, n: int) -> tuple[Tensor, Tensor]:
        t = t.to(device=self.means.device, dtype=torch.float64)
        return self.schedule.alpha(t).expand(n)[:, None], self.schedule.sigma(t).expand(n)[:, None]

    def _classes(self, x: Tensor, alpha: Tensor, sigma: Tensor, with_means: bool) -> Iterator[_Component]:
        """Streams over the components of one class after another; x is (B, D), alpha and sigma are (B, 1)."""
        n, d = x.shape
        squared_x = x.square().sum(1, keepdim=True)
        for start, end in pairwise(self._class_starts):
            peak = x.new_full((n,), -math.inf)  # running maximum of the log masses
            mass = x.new_zeros(n)  # running sum of exp(log mass - peak)
            total = x.new_zeros(n, d) if with_means else None
            for a in range(start, end, self.component_chunk):
                b = min(a + self.component_chunk, end)
                mu, s2 = self.means[a:b].double(), self.stds[a:b].square()
                variance = alpha**2 * s2 + sigma**2  # (B, n)
                distance2 = squared_x - 2 * alpha * (x @ mu.T) + alpha**2 * mu.square().sum(1)
                logits = self.log_weights[a:b] - 0.5 * (
                    distance2.clamp_min(0) / variance + d * (2 * math.pi * variance).log()
                )
                new_peak = torch.maximum(peak, logits.detach().max(1).values)
                decay = (peak - new_peak).exp()
                share = (logits - new_peak[:, None]).exp()  # (B, n)
                mass = mass * decay + share.sum(1)
                if total is not None:
                    pull = alpha * s2 / variance  # how far a component's own spread follows x
                    total = total * decay[:, None] + (share * (1 - alpha * pull)) @ mu
                    if bool((s2 > 0).any()):
                        total = total + (share * pull).sum(1, keepdim=True) * x
                peak = new_peak
            yield _Component(peak + mass.log(), None if total is None else total / mass[:, None])

    def log_joint(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log p_t(x_t, y) for every class: (B, K) for x_t (B, ...) and t scalar or (B,)."""
        x = x_t.double().flatten(1)
        alpha, sigma = self._scales(t, len(x))
        parts = []
        for rows in torch.arange(len(x), device=x.device).split(self.query_chunk):
            classes = self._classes(x[rows], alpha[rows], sigma[rows], with_means=False)
            parts.append(torch.stack([part.log_mass for part in classes], 1))
        return torch.cat(parts).to(x_t.dtype)

    def log_prob(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """log p_t(x_t), or log p_t(x_t | y) where y (B,) is given: (B,)."""
        joint = self.log_joint(x_t.double(), t)
        if y is None:
            return joint.logsumexp(1).to(x_t.dtype)
        return (joint.gather(1, y[:, None])[:, 0] - self.log_prior[y]).to(x_t.dtype)

    def log_posterior(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log p(y | x_t): (B, K)."""
        return self.log_joint(x_t.double(), t).log_softmax(1).to(x_t.dtype)

    def _denoised(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """E[x | x_t] and, where y is given, E[x | x_t, y], in one pass over the components; float64, (B, ...)."""
        x = x_t.double().flatten(1)
        alpha, sigma = self._scales(t, len(x))
        labels = torch.full((len(x),), -1, device=x.device) if y is None else y
        marginal, conditional = [], []
        for rows in torch.arange(len(x), device=x.device).split(self.query_chunk):
            log_mass = x.new_full((len(rows),), -math.inf)
            mean, of_class = torch.zeros_like(x[rows]), torch.zeros_like(x[rows])
            for k, part in enumerate(self._classes(x[rows], alpha[rows], sigma[rows], with_means=True)):
                assert part.mean is not None
                both = torch.logaddexp(log_mass, part.log_mass)
                mean = mean * (log_mass - both).exp()[:, None] + part.mean * (part.log_mass - both).exp()[:, None]
                of_class = torch.where((labels[rows] == k)[:, None], part.mean, of_class)
                log_mass = both
            marginal.append(mean)
            conditional.append(of_class)
        shape = x_t.shape
        return torch.cat(marginal).view(shape), None if y is None else torch.cat(conditional).view(shape)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """E[x | x_t], or E[x | x_t, y] where y is given."""
        marginal, conditional = self._denoised(x_t, t, y)
        return (marginal if conditional is None else conditional).to(x_t.dtype)

    def scores(self, x_t: Tensor, t: Tensor, y: Tensor) -> ExactScores:
        """All three scores at once, each (B, ...), from one pass over the components."""
        prior, posterior = self._denoised(x_t, t, y)
        assert posterior is not None
        column = (-1, *(1,) * (x_t.ndim - 1))
        alpha, sigma = (v.view(column) for v in self._scales(t, len(x_t)))
        x = x_t.double()
        scores = ExactScores(
            prior=score_from_denoised(prior, x, alpha, sigma),
            posterior=score_from_denoised(posterior, x, alpha, sigma),
            likelihood=alpha * (posterior - prior) / sigma**2,
        )
        return ExactScores(*(score.to(x_t.dtype) for score in scores))

    @property
    def likelihood(self) -> "OracleLikelihood":
        """The exact class posterior, to stand where a classifier does."""
        return OracleLikelihood(self)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clean draws and their labels: (n, ...) in the dtype of the means, and (n,)."""
        index = torch.multinomial(self.log_weights.exp().cpu(), n, replacement=True, generator=generator)
        labels = torch.searchsorted(torch.tensor(self._class_starts), index, right=True) - 1
        mu = self.means.cpu()[index]
        spread = self.stds.cpu()[index, None].to(mu.dtype) * torch.randn(mu.shape, generator=generator, dtype=mu.dtype)
        return (mu + spread).view(n, *self.shape).to(self.means.device), labels.to(self.means.device)


class OracleLikelihood(Likelihood):
    """The exact log p(y | x_t) of an oracle."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle = oracle
        self.schedule = oracle.schedule
        self.n_classes = oracle.n_classes

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Exact log-probabilities, (B, K)."""
        return self.oracle.log_posterior(x_t, t)

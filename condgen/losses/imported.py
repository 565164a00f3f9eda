"""A loss of one's own: a function at an import path."""

import inspect
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood
from condgen.losses.base import ClassifierLoss, Gradient, Losses, Noised, gradient_of
from condgen.losses.distillation import MatchingLoss
from condgen.settings import Target, import_target


class ImportedLoss(ClassifierLoss):
    """A function (classifier, x, y, t, eps, **options) with one number a sample, (B,), or a dict that has it as "loss".

    It may take `prior_eps`, the frozen score model's estimate of eps (B, ...), and `gradient`, a `Gradient`.
    """

    loss: Literal["import"] = "import"
    target: Target = Field(description="package.module:function")
    options: dict[str, Any] = Field(default={}, description="its further arguments")

    def _takes(self, name: str) -> bool:
        return name in inspect.signature(import_target(self.target)).parameters

    @property
    def needs_prior(self) -> bool:
        return self._takes("prior_eps")

    @property
    def differentiates_twice(self) -> bool:
        return self._takes("gradient")

    def __call__(self, classifier: Likelihood, data: Noised, gradient: Gradient = gradient_of) -> Losses:
        *batch, prior_eps = data
        known = {k: v for k, v in {"prior_eps": prior_eps, "gradient": gradient}.items() if self._takes(k)}
        found = import_target(self.target)(classifier, *batch, **known, **self.options)
        return found if isinstance(found, dict) else {"loss": found}


class ImportedMatching(MatchingLoss):
    """A function (real, generated, x, t, eps, y, **options) of two denoisers with one number a sample, (B,)."""

    loss: Literal["import"] = "import"
    target: Target = Field(description="package.module:function")
    options: dict[str, Any] = Field(default={}, description="its further arguments")

    def __call__(self, real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Tensor:
        return import_target(self.target)(real, generated, x, t, eps, y, **self.options)

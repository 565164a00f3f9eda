"""A loss of one's own: a function at an import path."""

import inspect
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood
from condgen.losses.base import ClassifierLoss, Gradient, Losses, gradient_of
from condgen.losses.distillation import MatchingLoss
from condgen.settings import Target, import_target


class ImportedLoss(ClassifierLoss):
    """A function (classifier, x, y, t, eps, **options) with one number a sample, (B,), or a dict that has it as "loss".

    One with a parameter `prior_eps` is given the frozen score model's estimate of eps at x_t, (B, ...), one with
    `gradient` a function for the likelihood score (see `Gradient`), which `training.compile` compiles.
    """

    loss: Literal["import"] = "import"
    target: Target = Field(description="package.module:function")
    options: dict[str, Any] = Field(default={}, description="its further arguments")

    def _takes(self, name: str) -> bool:
        return name in inspect.signature(import_target(self.target)).parameters

    @property
    def needs_prior(self) -> bool:
        """Whether it has a parameter `prior_eps`."""
        return self._takes("prior_eps")

    @property
    def differentiates_twice(self) -> bool:
        """Whether it has a parameter `gradient`."""
        return self._takes("gradient")

    def __call__(
        self,
        classifier: Likelihood,
        x: Tensor,
        y: Tensor,
        t: Tensor,
        eps: Tensor,
        prior_eps: Tensor | None = None,
        gradient: Gradient | None = None,
    ) -> Losses:
        given = {"prior_eps": prior_eps, "gradient": gradient or gradient_of}
        known = {name: value for name, value in given.items() if self._takes(name)}
        found = import_target(self.target)(classifier, x, y, t, eps, **known, **self.options)
        return found if isinstance(found, dict) else {"loss": found}


class ImportedMatching(MatchingLoss):
    """A function (real, generated, x, t, eps, y, **options) of two denoisers with one number a sample, (B,)."""

    loss: Literal["import"] = "import"
    target: Target = Field(description="package.module:function")
    options: dict[str, Any] = Field(default={}, description="its further arguments")

    def __call__(self, real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Tensor:
        found: Tensor = import_target(self.target)(real, generated, x, t, eps, y, **self.options)
        return found

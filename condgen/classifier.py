"""The noise-aware classifier, whose gradient in x_t is the likelihood score."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from condgen.denoiser import Likelihood, Preconditioned
from condgen.heads import HEADS, HeadName
from condgen.model import Model, ModelConfig
from condgen.networks import AnyClassifierNet
from condgen.schedules import AnySchedule, Schedule


class ClassifierConfig(ModelConfig):
    kind: Literal["classifier"] = "classifier"
    network: AnyClassifierNet
    schedule: AnySchedule
    sigma_data: float = Field(gt=0, le=1e9)
    head: HeadName = "categorical"

    def build(self) -> "Classifier":
        outputs = len(self.names) * HEADS[self.head].outputs
        return Classifier(self.network.build_classifier(self.shape, outputs), **self.arguments())


class Classifier(Model[ClassifierConfig], Preconditioned, Likelihood):
    """A network that estimates log p(y | x_t) at every noise level; its input is scaled to unit variance.

    `net(x, noise)` gives logits (B, K) for x (B, *shape) and noise (B,), which is log(sigma / alpha) / 4. DLSM
    differentiates it twice in x: take SiLU, not ReLU. `sigma_data` is the standard deviation of the data. With another
    `head` (`condgen.heads`), y are numbers or attributes, and `names` theirs.
    """

    kind = "classifier"
    config_type = ClassifierConfig

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        shape: Sequence[int],
        names: Sequence[str],
        *,
        sigma_data: float = 0.5,
        head: HeadName = "categorical",
        network: AnyClassifierNet | None = None,
    ) -> None:
        super().__init__(net, schedule, sigma_data)
        self.shape, self.names, self.n_classes, self.network = tuple(shape), tuple(names), len(names), network
        self.head = head

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        c = self.coefficients(x_t, t)
        return HEADS[self.head].parameters(self.net(c.c_in * x_t, c.c_noise))

    def log_prob(self, parameters: Tensor, y: Tensor) -> Tensor:
        return HEADS[self.head].log_prob(parameters, y)

"""What a generator is trained on: settings of each objective."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveFloat

from condgen.networks import AnyDenoiserNet
from condgen.schedules import AnyDensity, LogNormal, LogUniform
from condgen.settings import Settings

__all__ = [
    "AnyGeneratorObjective",
    "DistributionMatching",
    "LikelihoodTerm",
    "MatchingObjective",
    "ScoreIdentity",
    "ScoreMismatching",
]


class ScoreMismatching(Settings):
    """Score mismatching (Ye & Liu 2024): one critic, which denoises real data and is made blind to generated."""

    loss: Literal["smm"] = "smm"
    network: AnyDenoiserNet = Field(description="the critic's network")
    levels: tuple[PositiveFloat, ...] | None = Field(
        default=None,
        min_length=1,
        description="noise levels for data of range [-1, 1], for points in two standard deviations; the paper's ten by "
        "default",
    )
    target: Literal["noise", "zero"] = Field(
        default="noise",
        description="what the critic should say of generated data: other noise, or nothing. The expected gradient is "
        "the same, but zero is unstable",
    )
    critic_steps: int = Field(default=3, gt=0, description="critic updates per generator update")
    draws: int = Field(default=2, gt=0, description="noised copies of each generated image in the generator's loss")
    critic_lr: float = Field(default=1e-3, gt=0)


class MatchingObjective(Settings):
    """What distribution matching and score identity share: two denoisers, of real and of generated data."""

    network: AnyDenoiserNet | None = Field(
        default=None,
        description="of the denoisers that are trained; with a teacher its own, whose weights they start from",
    )
    density: AnyDensity = Field(default=LogUniform(), description="of the noise levels at which they are compared")
    denoiser_density: AnyDensity = Field(default=LogNormal(), description="of the noise levels that they learn")
    denoiser_steps: int = Field(default=2, gt=0, description="their updates per generator update")
    denoiser_lr: float = Field(default=1e-3, gt=0)


class DistributionMatching(MatchingObjective):
    """Distribution matching (DMD: Yin et al. 2024), the gradient of the Kullback-Leibler divergence."""

    loss: Literal["dmd"] = "dmd"


class ScoreIdentity(MatchingObjective):
    """Score identity distillation (SiD: Zhou et al. 2024), an estimate of the Fisher divergence."""

    loss: Literal["sid"] = "sid"
    alpha: float = Field(default=1.0, description="1/2 is UID, the difference of denoising errors; the paper: 1 or 1.2")


AnyGeneratorObjective: TypeAlias = Annotated[
    ScoreMismatching | DistributionMatching | ScoreIdentity, Field(discriminator="loss")
]


class LikelihoodTerm(Settings):
    """A frozen noise-aware classifier's opinion of noised samples, added to any objective."""

    weight: float = Field(default=0.01, gt=0, description="of -log p(y | x_t)")
    density: AnyDensity = Field(default=LogUniform(), description="of the noise levels")

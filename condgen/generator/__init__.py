"""The class-conditional one-step generator, (z, y) -> x, and the objectives that train it.

All of them noise a generated sample and ask networks what they make of it. *Score mismatching* asks one critic.
*Distribution matching* and *score identity distillation* ask two denoisers, one of real data and one of generated,
whose difference tells where to go. The second denoiser is always trained beside the generator; the first may be too, or
may be a frozen teacher: any score model, guided or not.
"""

from condgen.generator.matching import distribution_matching_loss, likelihood_loss, score_identity_loss
from condgen.generator.mismatching import Critic, critic_loss, mismatching_levels, mismatching_loss
from condgen.generator.model import Generator, GeneratorConfig
from condgen.generator.objectives import (
    AnyGeneratorObjective,
    DistributionMatching,
    LikelihoodTerm,
    MatchingObjective,
    ScoreIdentity,
    ScoreMismatching,
)

__all__ = [
    "AnyGeneratorObjective",
    "Critic",
    "DistributionMatching",
    "Generator",
    "GeneratorConfig",
    "LikelihoodTerm",
    "MatchingObjective",
    "ScoreIdentity",
    "ScoreMismatching",
    "critic_loss",
    "distribution_matching_loss",
    "likelihood_loss",
    "mismatching_levels",
    "mismatching_loss",
    "score_identity_loss",
]

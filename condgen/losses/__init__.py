"""Losses: one small class each, which recipes name, with a plain function under it."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from condgen.losses.base import ClassifierLoss, ImportedLoss
from condgen.losses.cross_entropy import CrossEntropy
from condgen.losses.distillation import DistributionMatching, ImportedMatching, ScoreIdentity
from condgen.losses.dlsm import DLSM
from condgen.losses.moment_matching import MomentMatching
from condgen.losses.score_mismatching import ScoreMismatching
from condgen.settings import Settings, parse

AnyClassifierLoss: TypeAlias = Annotated[CrossEntropy | DLSM | ImportedLoss, Field(discriminator="loss")]


class _Chosen(Settings):
    objective: AnyClassifierLoss


def classifier_loss(tree: Mapping[str, Any], where: str) -> ClassifierLoss:
    """The loss that plain data describe; UserError, which begins with `where`, for what is none."""
    return parse(_Chosen, {"objective": tree}, where).objective


AnyGeneratorLoss: TypeAlias = Annotated[
    ScoreMismatching | DistributionMatching | ScoreIdentity | MomentMatching | ImportedMatching,
    Field(discriminator="loss"),
]

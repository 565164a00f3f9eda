"""Losses: one small class each, which recipes name, with a plain function under it."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field, RootModel

from condgen.losses.base import ClassifierLoss, CrossEntropy, ImportedLoss
from condgen.losses.distillation import DistributionMatching, ImportedMatching, ScoreIdentity
from condgen.losses.dlsm import DLSM
from condgen.losses.score_mismatching import ScoreMismatching
from condgen.settings import parse

AnyClassifierLoss: TypeAlias = Annotated[CrossEntropy | DLSM | ImportedLoss, Field(discriminator="loss")]


def classifier_loss(tree: Mapping[str, Any], where: str) -> ClassifierLoss:
    """The loss that plain data describe; UserError, which begins with `where`, for what is none."""
    return parse(RootModel[AnyClassifierLoss], tree, where).root


AnyGeneratorLoss: TypeAlias = Annotated[
    ScoreMismatching | DistributionMatching | ScoreIdentity | ImportedMatching, Field(discriminator="loss")
]

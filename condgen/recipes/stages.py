"""The settings of a stage of work: what its folder's `recipe.yaml` says, and its content key depends on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from pydantic import Field, PositiveInt, field_serializer, model_validator

from condgen.data import AnyData
from condgen.metrics import Measures
from condgen.networks import DiffusersSettings
from condgen.recipes.guidance import Method
from condgen.recipes.schema import (
    COMPILE,
    ClassifierRecipe,
    GeneratorRecipe,
    ScoreRecipe,
    Seed,
)
from condgen.schedules import AnySchedule
from condgen.settings import UNKEYED, Settings
from condgen.training import TrainingSettings


class TrainStage(Settings, ABC):
    """A model and all that its training depends on, save the frozen models it learns from."""

    data: AnyData
    schedule: AnySchedule
    seed: Seed = 0

    @property
    @abstractmethod
    def training(self) -> TrainingSettings:
        """How long and how fast to train."""


class ScoreStage(TrainStage):
    """A score model."""

    score: ScoreRecipe

    @property
    def training(self) -> TrainingSettings:
        return self.score.training


class ClassifierStage(TrainStage):
    """A classifier."""

    classifier: ClassifierRecipe

    @property
    def training(self) -> TrainingSettings:
        return self.classifier.training


class GeneratorStage(TrainStage):
    """A generator."""

    generator: GeneratorRecipe

    @property
    def training(self) -> TrainingSettings:
        return self.generator.training


class ImportStage(Settings):
    """A score model that diffusers has trained, and the data that is to go with it."""

    imported: str = Field(description="where it comes from")
    data: AnyData | None = Field(default=None, description="what classifiers and generators learn beside it")
    schedule: AnySchedule
    names: tuple[str, ...] = Field(min_length=1)
    network: DiffusersSettings


class SampleStage(Settings):
    """Samples of one method: sample i has label i and seed + i."""

    method: Method
    labels: tuple[int, ...] = Field(min_length=1)
    data: AnyData | None = Field(
        default=None, json_schema_extra=UNKEYED, description="what its models have learnt: evaluate compares with it"
    )
    seed: Seed = 0
    batch: PositiveInt = Field(default=250, json_schema_extra=UNKEYED, description="how many at once")
    compile: bool = Field(default=False, json_schema_extra=UNKEYED, description=COMPILE)

    @field_serializer("labels")
    def _count_labels(self, labels: tuple[int, ...]) -> list[dict[str, Any]]:
        return [{"label": y, "samples": len(list(same))} for y, same in groupby(labels)]

    @model_validator(mode="after")
    def _seeds_exist(self) -> "SampleStage":
        if self.seed + len(self.labels) > 2**32:
            raise ValueError(
                f"seeds end at 2**32: {len(self.labels)} samples need a seed of at most {2**32 - len(self.labels)}"
            )
        return self


def labels_spread(total: int, classes: Sequence[int]) -> tuple[int, ...]:
    """Labels of so many samples, class by class, as evenly as can be: the first classes get the remainder."""
    each, more = divmod(total, len(classes))
    return tuple(label for i, label in enumerate(classes) for _ in range(each + (i < more)))


class EvaluateStage(Settings):
    """A comparison of samples with real data."""

    seed: Seed = 0
    measures: Measures = Measures()

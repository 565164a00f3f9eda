"""The settings of a stage of work: what its folder's `recipe.yaml` says, and its content key depends on."""

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from condgen.data.sets import AnyData
from condgen.metrics.evaluate import Measures
from condgen.networks.diffusers import DiffusersSettings
from condgen.recipes.guidance import Method
from condgen.recipes.schema import COMPILE, ClassifierRecipe, GeneratorRecipe, ScoreRecipe, Seed, TrainedRecipe
from condgen.schedules import AnySchedule
from condgen.settings import LENGTH, UNKEYED, Settings


class TrainStage(Settings):
    """A model and all that its training depends on, save the models that it learns from or starts from."""

    kind: ClassVar[Literal["score", "classifier", "generator"]]  # also the name of the field that describes the model
    data: AnyData
    schedule: AnySchedule
    seed: Seed = 0

    @property
    def model(self) -> TrainedRecipe:
        return getattr(self, self.kind)


class ScoreStage(TrainStage):
    kind = "score"
    score: ScoreRecipe


class ClassifierStage(TrainStage):
    kind = "classifier"
    classifier: ClassifierRecipe


class GeneratorStage(TrainStage):
    kind = "generator"
    generator: GeneratorRecipe


class ImportStage(Settings):
    """A score model that diffusers has trained, and the data that is to go with it."""

    imported: str = Field(description="where it comes from")
    data: AnyData | None = Field(default=None, description="what classifiers and generators learn beside it")
    schedule: AnySchedule
    names: tuple[str, ...] = Field(min_length=1)
    network: DiffusersSettings


class SampleStage(Settings):
    """Samples of one method: sample i has seed + i, and the classes take turns."""

    method: Method
    classes: tuple[int, ...] = Field(min_length=1)
    n: PositiveInt = Field(json_schema_extra=LENGTH, description="samples in all; with more, those missing are drawn")
    data: AnyData | None = Field(default=None, json_schema_extra=UNKEYED, description="what its models have learnt")
    seed: Seed = 0
    batch: PositiveInt = Field(default=250, json_schema_extra=UNKEYED, description="how many at once")
    compile: bool = Field(default=False, json_schema_extra=UNKEYED, description=COMPILE)

    def label(self, place: int) -> int:
        return self.classes[place % len(self.classes)]

    @model_validator(mode="after")
    def _seeds_exist(self) -> "SampleStage":
        if self.seed + self.n > 2**32:
            raise ValueError(f"seeds end at 2**32: {self.n} samples need a seed of at most {2**32 - self.n}")
        return self


class EvaluateStage(Settings):
    seed: Seed = 0
    measures: Measures = Measures()

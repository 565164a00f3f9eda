"""Which samples to draw: of which classes, from which seeds, and in how many parts."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from condgen.recipes.methods import Method, Name
from condgen.settings import Settings

__all__ = ["SampleRecipe", "SampleStage", "Shard", "TrajectoryStage", "labels_spread"]

_COMPILE = "compile the networks of score models and generators; changes samples by rounding alone, as batch does"


class SampleRecipe(Settings):
    """Which samples to draw."""

    per_class: int = Field(gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    batch: int = Field(default=250, gt=0)
    compile: bool = Field(default=False, description=_COMPILE)
    trajectories: int = Field(
        default=4, ge=0, description="of the first so many classes a sample is shown on its way from noise; 0 for none"
    )
    methods: dict[Name, Method] = Field(min_length=1)

    def trajectory_stage(self, n_classes: int, each: int = 1) -> "TrajectoryStage | None":
        """The first samples of the first few classes, by the methods of many steps; None where there are none.

        Args:
            n_classes: of the data, whose samples are drawn class by class.
            each: samples of a class.
        """
        many = {name: method for name, method in self.methods.items() if method.generator is None}
        if not many or not self.trajectories:
            return None
        shown = [(y, i) for y in range(min(self.trajectories, n_classes)) for i in range(min(each, self.per_class))]
        seeds = tuple(self.seed + y * self.per_class + i for y, i in shown)
        return TrajectoryStage(methods=many, labels=tuple(y for y, _ in shown), seeds=seeds)


class TrajectoryStage(Settings):
    """Samples whose way from noise is kept."""

    methods: dict[Name, Method] = Field(min_length=1)
    labels: tuple[int, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1, description="one a label")


class Shard(Settings):
    """One of several parts of a set of samples, each with a folder of its own."""

    number: int = Field(ge=1, description="from 1")
    of: int = Field(ge=1)

    @model_validator(mode="after")
    def _is_one_of_them(self) -> "Shard":
        if self.number > self.of:
            raise ValueError(f"of {self.of} shards there is no number {self.number}")
        return self

    def places(self, total: int) -> range:
        """The numbers of its samples among so many: all shards together have each once, in order."""
        return range(total * (self.number - 1) // self.of, total * self.number // self.of)


class SampleStage(Settings):
    """Samples of one method: sample i has label i and seed + i."""

    method: Method
    labels: tuple[int, ...] = Field(min_length=1, description="of all samples, those of other shards too")
    seed: int = Field(default=0, ge=0, lt=2**32)
    shard: Shard | None = Field(default=None, description="draw this part of them alone")
    batch: int = Field(default=250, gt=0, exclude=True, description="how many at once, which changes no sample")
    compile: bool = Field(default=False, exclude=True, description=_COMPILE)

    @model_serializer(mode="wrap")
    def _without_what_is_absent(
        self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        tree: dict[str, Any] = serialise(self)
        if info.context and info.context.get("short"):  # a line a sample would make a file that nobody can read
            tree["labels"] = [{"label": y, "samples": sum(1 for _ in same)} for y, same in groupby(self.labels)]
        if self.shard is None:  # so that the content keys of samples drawn before still hold
            del tree["shard"]
        return tree

    @model_validator(mode="after")
    def _seeds_exist(self) -> "SampleStage":
        if self.seed + len(self.labels) > 2**32:
            raise ValueError(
                f"seeds end at 2**32: {len(self.labels)} samples need a seed of at most {2**32 - len(self.labels)}"
            )
        return self

    @model_validator(mode="after")
    def _no_shard_is_empty(self) -> "SampleStage":
        if self.shard is not None and self.shard.of > len(self.labels):
            raise ValueError(f"{len(self.labels)} samples cannot be spread over {self.shard.of} shards: take fewer")
        return self

    @property
    def places(self) -> range:
        """The numbers of the samples to draw."""
        return (self.shard or Shard(number=1, of=1)).places(len(self.labels))


def labels_spread(total: int, classes: Sequence[int]) -> tuple[int, ...]:
    """Labels of so many samples, class by class, as evenly as can be: the first classes get the remainder."""
    each, more = divmod(total, len(classes))
    return tuple(label for i, label in enumerate(classes) for _ in range(each + (i < more)))

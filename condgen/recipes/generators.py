"""What a recipe may say of a generator."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, model_validator

from condgen.data import AnyData
from condgen.generator import AnyGeneratorObjective, LikelihoodTerm, ScoreMismatching
from condgen.networks import AnyGeneratorNet
from condgen.recipes.methods import Guidance
from condgen.schedules import AnySchedule
from condgen.settings import Settings
from condgen.training import Augmentation, PriorSettings, TrainingSettings

__all__ = ["GeneratorRecipe", "GeneratorStage", "LikelihoodRecipe", "with_training"]


def with_training(tree: dict[str, Any], **switches: object) -> dict[str, Any]:
    """Settings whose training has switches on that once stood elsewhere, where they are on there."""
    on, training = {name: value for name, value in switches.items() if value}, tree.get("training")
    if not on or training is None:
        return tree
    return tree | {"training": (training.model_dump() if isinstance(training, BaseModel) else dict(training)) | on}


class LikelihoodRecipe(LikelihoodTerm):
    """A likelihood term, and whose it is."""

    classifier: str = Field(description="one of `classifiers`, trained by any loss")


class GeneratorRecipe(Settings):
    """How to train a one-step generator."""

    network: AnyGeneratorNet | None = Field(
        default=None,
        description="by default a denoiser's, asked at `level`: the teacher's, from whose weights it starts, or, "
        "without a teacher, that of the objective",
    )
    latent: int = Field(default=64, gt=0, description="numbers in z, where the network is a generator's own")
    level: float = Field(
        default=5.0,
        gt=0,
        description="noise level at which a denoiser's network is asked, in standard deviations of the data",
    )
    objective: AnyGeneratorObjective
    teacher: Guidance | None = Field(
        default=None, description="for dmd and sid: a frozen score model, guided or not, in place of a trained one"
    )
    prior: PriorSettings = Field(default=PriorSettings(), description="how the frozen teacher is evaluated")
    likelihood: LikelihoodRecipe | None = Field(default=None, description="a frozen classifier's opinion, added")
    augment: Augmentation = Field(default=Augmentation(), description="of real and generated data, before noising")
    preview_every: int | None = Field(
        default=None, gt=0, description="steps between looks at what it generates; by default ten in all"
    )
    training: TrainingSettings

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_said_before(cls, tree: object) -> object:
        """Mirroring was once of generators alone, and part of their augmentation."""
        augment = tree.get("augment") if isinstance(tree, Mapping) else None
        if not isinstance(tree, Mapping) or not isinstance(augment, Mapping) or "flip" not in augment:
            return tree
        rest = {name: value for name, value in augment.items() if name != "flip"}
        return with_training(dict(tree) | {"augment": rest}, flip=augment["flip"])

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "GeneratorRecipe":
        mismatching = isinstance(self.objective, ScoreMismatching)
        if mismatching and self.teacher is not None:
            raise ValueError("score mismatching has no teacher: choose the loss dmd or sid, or leave the teacher out")
        fields = type(self).model_fields
        if self.network is not None and self.level != fields["level"].default:
            raise ValueError("level is for a denoiser's network: leave out generator.network, or the level")
        if self.network is None and self.latent != fields["latent"].default:
            raise ValueError("latent is for a generator's own network: a denoiser's takes as many as a sample has")
        if mismatching and self.network is None:
            raise ValueError("score mismatching needs the generator's own network: set generator.network")
        if self.teacher is not None and (self.augment != Augmentation() or self.training.flip):
            raise ValueError(
                "augment and training.flip change real images too, which a teacher has seen as they are: leave them out"
            )
        if self.teacher is None and self.prior != PriorSettings():
            raise ValueError("prior is about a teacher: name one, or leave prior out")
        if not mismatching and self.teacher is None and self.objective.network is None:
            raise ValueError(
                f"{self.objective.loss} without a teacher trains two denoisers: set generator.objective.network"
            )
        return self


class GeneratorStage(Settings):
    """A generator and all that its training depends on, save the frozen models it learns from."""

    data: AnyData
    schedule: AnySchedule
    seed: int = Field(default=0, ge=0, lt=2**32)
    generator: GeneratorRecipe

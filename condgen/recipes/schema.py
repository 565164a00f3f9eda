"""The settings of a recipe, one class a part, and those of a stage: its `recipe.yaml`, on which its key depends."""

import os
from collections.abc import Collection, Iterable
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from condgen.data.sets import AnyData
from condgen.errors import UserError
from condgen.losses import AnyClassifierLoss, AnyGeneratorLoss
from condgen.losses.distillation import LikelihoodTerm, MatchingLoss
from condgen.losses.dlsm import DLSM
from condgen.losses.moment_matching import MomentMatching
from condgen.losses.score_matching import AdversarialScoreMatching
from condgen.metrics.evaluate import Measures
from condgen.networks import AnyClassifierNet, AnyDenoiserNet, AnyGeneratorNet
from condgen.networks.diffusers import DiffusersSettings
from condgen.recipes.guidance import Guidance, Method, Name
from condgen.schedules import AnyDensity, AnySchedule, LogNormal, Schedule
from condgen.score import Labels
from condgen.settings import LENGTH, UNKEYED, Settings
from condgen.training.prior_pool import PooledPrior
from condgen.training.settings import PriorSettings, TrainingSettings

Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**32, description="of everything random")]

_DROPOUT = 0.1
COMPILE = "compile the networks of score models and generators; changes samples by rounding alone, as batch does"


def is_place(name: str) -> bool:
    """Whether the start of a training is named as a folder or a model elsewhere, rather than as one of the recipe."""
    return "/" in name or ":" in name


def _from_anywhere(name: str) -> str:
    return os.path.abspath(name) if is_place(name) and os.path.exists(name) else name


class TrainedRecipe(Settings):
    init: Annotated[str, AfterValidator(_from_anywhere)] | None = Field(
        default=None,
        json_schema_extra=UNKEYED,  # what lies there decides
        description="from whose weights it starts: a model of the same kind and network, or for a classifier the score "
        "model, by its name in the recipe, if it stands before, or its folder, hf:OWNER/NAME or pretrained:NAME",
    )
    training: TrainingSettings = Field(description="how long and how fast")


class ScoreRecipe(TrainedRecipe):
    network: AnyDenoiserNet = Field(description="of the denoiser")
    labels: Labels = Field(default="none", description="embedding: an input, or none; separate: a network each")
    label_dropout: float = Field(default=_DROPOUT, gt=0, lt=1, description="how often labels: embedding leaves it out")
    label_std: float = Field(default=1.0, gt=0, description="of new class embeddings; try 0.1 for init without labels")
    density: AnyDensity = Field(default=LogNormal(), description="of the noise levels in training")
    adversarial: AdversarialScoreMatching | None = Field(default=None, description="a discriminator of the estimates")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "ScoreRecipe":
        if self.adversarial is not None and self.training.betas != TrainingSettings(steps=1).betas:
            raise ValueError("adversarial training takes adversarial.score_betas: set those, leave training.betas out")
        if self.labels != "embedding" and (self.label_dropout, self.label_std) != (_DROPOUT, 1.0):
            raise ValueError("label_dropout and label_std are for labels: embedding (--conditional): add it")
        return self


class ClassifierRecipe(TrainedRecipe):
    network: AnyClassifierNet = Field(description="from a noised image and its noise level to logits")
    objective: AnyClassifierLoss = Field(default=DLSM(), description="the loss")
    density: AnyDensity = Field(default=LogNormal(), description="of the noise levels in training")
    prior: PooledPrior = Field(default=PooledPrior(), description="how DLSM evaluates the frozen score model")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "ClassifierRecipe":
        if not self.objective.needs_prior and self.prior != PooledPrior():
            raise ValueError(f"the loss {self.objective.loss} takes no score model: leave prior out")
        return self


class LikelihoodRecipe(LikelihoodTerm):
    classifier: str = Field(description="one of `classifiers`, trained by any loss")


class GeneratorRecipe(TrainedRecipe):
    network: AnyGeneratorNet | None = Field(default=None, description="default: the teacher's or objective's, at level")
    latent: PositiveInt = Field(default=64, description="numbers in z, where the network is a generator's own")
    level: PositiveFloat = Field(default=5.0, description="noise level, in standard deviations of the data")
    objective: AnyGeneratorLoss = Field(description="the loss")
    teacher: Guidance | None = Field(default=None, description="for dmd and sid: a frozen score model, guided or not")
    prior: PriorSettings = Field(default=PriorSettings(), description="how the frozen teacher is evaluated")
    likelihood: LikelihoodRecipe | None = Field(default=None, description="a frozen classifier's opinion, added")
    preview_every: PositiveInt | None = Field(default=None, json_schema_extra=UNKEYED, description="default: 10 in all")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "GeneratorRecipe":
        is_matching, unused = isinstance(self.objective, MatchingLoss), "latent" if self.network is None else "level"
        if not is_matching and (self.teacher is not None or self.network is None):
            raise ValueError(
                f"{self.objective.loss} takes no teacher, as dmd and sid do: leave it out, set generator.network"
            )
        if unused in self.model_dump(exclude_defaults=True):
            raise ValueError(f"latent is for a generator's own network, level for a denoiser's: leave {unused} out")
        if isinstance(self.objective, MomentMatching) and self.training.micro_batch is not None:
            raise ValueError("moment matching is of pairs in the whole batch: leave training.micro_batch out")
        if self.teacher is not None and self.training.flip:
            raise ValueError("training.flip mirrors real images, and with a teacher none are seen: leave it out")
        if self.teacher is None and self.prior != PriorSettings():
            raise ValueError("prior is about a teacher: name one, or leave prior out")
        if isinstance(self.objective, MatchingLoss) and self.teacher is None and self.objective.network is None:
            raise ValueError(f"{self.objective.loss} without a teacher trains two denoisers: set objective.network")
        return self

    def check_teacher(self, labels: Labels, who: str) -> None:
        """UserError where a score model that knows labels in this way cannot teach the generator."""
        if labels == "none" and (self.teacher is None or self.teacher.classifier is None):
            what = "a classifier (--classifier) or labels: embedding (--conditional)"
            raise UserError(f"{who} knows no labels: add {what}")
        if labels == "separate" and self.network is None:
            raise UserError(f"{who} has a network per class, which no generator can start from: set its network")


class CalibrateRecipe(Settings):
    levels: tuple[PositiveFloat, ...] | None = Field(
        default=None, min_length=1, description="noise levels, rising; by default 16 from data without noise to noise"
    )
    draws: PositiveInt = Field(default=4, description="noise draws of each validation image, at each level")
    most: int | None = Field(default=None, ge=2, description="validation images, over the classes; by default all")
    seed: Seed = 0

    @model_validator(mode="after")
    def _levels_rise(self) -> "CalibrateRecipe":
        if self.levels is not None and sorted(set(self.levels)) != list(self.levels):
            raise ValueError(f"noise levels must rise, which {self.levels} do not")
        return self


class SampleRecipe(Settings):
    per_class: PositiveInt = Field(description="samples of each class, by each method")
    seed: Seed = 0
    batch: PositiveInt = Field(default=250, description="samples at once")
    compile: bool = Field(default=False, description=COMPILE)
    methods: dict[Name, Method] = Field(min_length=1, description="how they are drawn")


class PlaneGrid(Settings):
    x: tuple[float, float] = Field(description="from and to")
    y: tuple[float, float] = Field(description="from and to")
    points: int = Field(default=35, ge=2, description="along each side")
    levels: tuple[PositiveFloat, ...] = Field(min_length=1, description="noise levels, sigma / alpha")


class DiagnoseRecipe(Settings):
    levels: tuple[PositiveFloat, ...] = Field(min_length=1, description="noise levels, sigma / alpha")
    draws: PositiveInt = Field(default=4, description="noise draws of each test image, at each level")
    most: int | None = Field(default=None, ge=2, description="test images, in proportion to the classes; default: all")
    references: tuple[str, ...] = Field(
        default=(),
        description="methods to compare with; by default 'zero guidance', every classifier at scale 1 whose loss needs "
        "no score model, and every labelled score model without guidance",
    )
    oracle: bool | None = Field(
        default=None,
        description="compare with the exact scores of the noised training set too, of images the memorised optimum; "
        "by default for points alone",
    )
    queries: int = Field(default=500, ge=2, description="noised samples a level at which the oracle is asked")
    seed: Seed = 0
    grid: PlaneGrid | None = Field(default=None, description="of points in the plane, measured too")
    methods: dict[str, Guidance] = Field(
        default_factory=dict,
        description="what to compare; by default every labelled score model, and every classifier at scale 1, at 10 if "
        "trained by cross-entropy, and at its calibrated scale where it has one",
    )

    @model_validator(mode="after")
    def _levels_differ(self) -> "DiagnoseRecipe":
        for levels in (self.levels, self.grid.levels if self.grid else ()):
            if len(set(levels)) < len(levels):
                raise ValueError(f"a noise level stands twice in {levels}")
        if self.grid is not None and self.oracle is False:
            raise ValueError("a grid is where the oracle is asked: leave one of the two settings out")
        return self


class Recipe(Settings):
    name: Name = Field(description="of the run, and of its folder")
    seed: Seed = 0
    threads: PositiveInt | None = Field(default=None, description="CPU threads of a stage; by default all cores")
    data: AnyData = Field(description="the data set")
    schedule: AnySchedule = Field(description="how noise is added")
    score: ScoreRecipe = Field(description="the main score model")
    scores: dict[Name, ScoreRecipe] = Field(default_factory=dict, description="further score models, such as guides")
    classifiers: dict[Name, ClassifierRecipe] = Field(default_factory=dict, description="noise-aware classifiers")
    generators: dict[Name, GeneratorRecipe] = Field(default_factory=dict, description="one-step generators")
    sample: SampleRecipe | None = Field(default=None, description="which samples to draw")
    evaluate: Measures | None = Field(default=Measures(), description="false measures nothing")
    diagnose: DiagnoseRecipe | None = Field(default=None, description="measure scores against the oracle's")
    calibrate: CalibrateRecipe | None = Field(default=None, description="measure classifiers on the validation split")

    @field_validator("evaluate", mode="before")
    @classmethod
    def _yes_or_no(cls, value: object) -> object:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _parts_fit(self) -> "Recipe":
        try:
            self._check_parts()
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    def _check_parts(self) -> None:
        if self.score.labels == "separate":
            raise UserError("score.labels: separate gives no unconditional score, as score must: move it to scores")
        if reserved := self.scores.keys() & {"score", "unlabelled"}:
            raise UserError(f"a score model cannot be called {min(reserved)!r}, which means another: rename it")
        for name, method in (self.sample.methods if self.sample else {}).items():
            self._check_guidance(f"method {name!r}", method)
            _check_known(f"method {name!r} uses generator", method.generator, self.generators)
            method.check_grid(self.schedule, f"method {name!r}")
        for name, guidance in (self.diagnose.methods if self.diagnose else {}).items():
            self._check_guidance(f"method {name!r}", guidance)
        _check_start("score.init is", self.score.init, [])
        for what in ("scores", "classifiers", "generators"):
            names = ["score"] * (what != "generators") + list(getattr(self, what))
            for name, trained in getattr(self, what).items():
                _check_start(f"{what}.{name}.init is", trained.init, names[: names.index(name)])
        for name, generator in self.generators.items():
            self._check_generator(f"generators.{name}", generator)
        if self.diagnose is not None:
            grid = self.diagnose.grid.levels if self.diagnose.grid else ()
            check_levels((*self.diagnose.levels, *grid), self.schedule, "diagnose")
        if self.calibrate is not None:
            check_levels(self.calibrate.levels or (), self.schedule, "calibrate")

    def _check_generator(self, name: str, generator: GeneratorRecipe) -> None:
        teacher, objective, likelihood = generator.teacher, generator.objective, generator.likelihood
        if teacher is not None:
            self._check_guidance(f"{name}.teacher", teacher)
            generator.check_teacher(self._labels(teacher), f"{name}: its teacher")
        densities = [objective.density, objective.denoiser_density] if isinstance(objective, MatchingLoss) else []
        if likelihood is not None:
            densities.append(likelihood.density)
            _check_known(f"{name}: likelihood.classifier", likelihood.classifier, self.classifiers)
        try:
            for density in densities:
                density.quantile(self.schedule, torch.tensor([0.5], dtype=torch.float64))
        except UserError as error:
            raise UserError(f"{name}: {error}") from error

    def _check_guidance(self, who: str, guidance: Guidance) -> None:
        _check_known(f"{who} uses classifier", guidance.classifier, self.classifiers)
        for score in (guidance.score, guidance.guide if guidance.guide not in ("unlabelled", "score") else None):
            _check_known(f"{who} uses score model", score, self.scores, "among scores")
        if guidance.scale == "calibrated" and self.calibrate is None:
            raise UserError(f"{who}: scale: calibrated needs a calibration: add 'calibrate: {{}}' to the recipe")
        guidance.check_labels(self._labels(guidance), who)
        if guidance.guide is not None and guidance.guide == (guidance.score or "score"):
            raise UserError(f"{who}: a score model cannot guide itself; did you mean guide: unlabelled?")

    def _labels(self, guidance: Guidance) -> Labels:
        return (self.scores[guidance.score] if guidance.score else self.score).labels


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


def check_levels(levels: Iterable[float], schedule: Schedule, what: str) -> None:
    low, high = schedule.noise_range
    if outside := [level for level in levels if not low <= level <= high * (1 + 1e-12)]:
        raise UserError(f"{what}: noise level {outside[0]:g} is outside the schedule's range, {low:g} to {high:g}")


def _check_known(what: str, name: str | None, known: Collection[str], among: str = "among") -> None:
    if name is not None and name not in known:
        raise UserError(f"{what} {name!r}, which is not {among}: {', '.join(known) or 'none'}")


def _check_start(what: str, name: str | None, before: Collection[str]) -> None:
    if name is not None and not is_place(name):
        _check_known(what, name, before, "before it (a folder is named with a /)")

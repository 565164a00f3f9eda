"""What a recipe may say: one settings class a part, and one a stage of work."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import (
    Field,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from condgen.classifier import ClassifierObjective
from condgen.data import AnyData
from condgen.errors import UserError
from condgen.generator import ScoreMismatching
from condgen.metrics import Measures
from condgen.networks import AnyClassifierNet, AnyDenoiserNet, DiffusersSettings
from condgen.recipes.generators import GeneratorRecipe, with_training
from condgen.recipes.methods import Guidance, Name, Unloaded
from condgen.recipes.samples import SampleRecipe
from condgen.samplers import build_sampler
from condgen.schedules import AnyDensity, AnySchedule, LogNormal
from condgen.score import AdversarialObjective, Labels
from condgen.settings import Settings
from condgen.training import PriorSettings, TrainingSettings

__all__ = [
    "CalibrateRecipe",
    "CalibrateStage",
    "ClassifierRecipe",
    "ClassifierStage",
    "DiagnoseRecipe",
    "DiagnoseStage",
    "EvaluateStage",
    "ImportStage",
    "Promise",
    "Recipe",
    "ScoreRecipe",
    "ScoreStage",
]

_DROPOUT = 0.1


class ScoreRecipe(Settings):
    """How to train a score model."""

    network: AnyDenoiserNet
    labels: Labels = Field(
        default="none", description="embedding: one network is told the label, or none; separate: a network a class"
    )
    label_dropout: float = Field(
        default=_DROPOUT, gt=0, lt=1, description="with labels: embedding, how often the label is left out in training"
    )
    density: AnyDensity = LogNormal()
    adversarial: AdversarialObjective | None = Field(
        default=None, description="a discriminator of the denoised estimates beside denoising score matching"
    )
    training: TrainingSettings

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = serialise(self)
        if self.adversarial is None:  # so that the content keys of models trained before still hold
            del tree["adversarial"]
        return tree

    @model_validator(mode="after")
    def _betas_are_used(self) -> "ScoreRecipe":
        if self.adversarial is not None and self.training.betas != TrainingSettings(steps=1).betas:
            raise ValueError("adversarial training takes adversarial.score_betas: set those, leave training.betas out")
        return self

    @model_validator(mode="after")
    def _shapes_stay(self) -> "ScoreRecipe":
        if self.labels == "separate" and self.training.compile:
            raise ValueError(
                "with labels: separate every network sees other numbers of rows, and would be compiled at every step: "
                "leave training.compile out"
            )
        return self

    @model_validator(mode="after")
    def _dropout_has_labels(self) -> "ScoreRecipe":
        if self.labels != "embedding" and self.label_dropout != _DROPOUT:
            raise ValueError("label_dropout is for labels: embedding (--conditional): add it, or leave the dropout out")
        return self


class ClassifierRecipe(Settings):
    """How to train a noise-aware classifier."""

    network: AnyClassifierNet
    objective: ClassifierObjective = ClassifierObjective()
    density: AnyDensity = LogNormal()
    prior: PriorSettings = Field(default=PriorSettings(), description="how DLSM evaluates the frozen score model")
    training: TrainingSettings

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_said_before(cls, tree: object) -> object:
        """Compilation was once of the DLSM gradient alone, and a setting of its own."""
        if not isinstance(tree, Mapping) or "compile" not in tree:
            return tree
        rest = {name: value for name, value in tree.items() if name != "compile"}
        return with_training(rest, compile=tree["compile"])

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "ClassifierRecipe":
        if self.objective.loss == "ce" and self.prior != PriorSettings():
            raise ValueError("prior is for DLSM, which cross-entropy does not use: leave it out")
        return self


class ScoreStage(Settings):
    """A score model and all that its training depends on."""

    data: AnyData
    schedule: AnySchedule
    seed: int = Field(default=0, ge=0, lt=2**32)
    score: ScoreRecipe


class ImportStage(Settings):
    """A score model that diffusers has trained, and the data that is to go with it."""

    imported: str = Field(description="where it comes from")
    data: AnyData | None = Field(default=None, description="what classifiers and generators learn beside it")
    schedule: AnySchedule
    names: tuple[str, ...] = Field(min_length=1)
    network: DiffusersSettings


class ClassifierStage(Settings):
    """A classifier and all that its training depends on, save the score model under DLSM."""

    data: AnyData
    schedule: AnySchedule
    seed: int = Field(default=0, ge=0, lt=2**32)
    classifier: ClassifierRecipe


class PlaneGrid(Settings):
    """The regular grid of the 2-D diagnostics."""

    x: tuple[float, float]
    y: tuple[float, float]
    points: int = Field(default=35, ge=2)
    levels: tuple[PositiveFloat, ...] = Field(min_length=1)


class DiagnoseRecipe(Settings):
    """Where to compare the scores with the oracle's."""

    levels: tuple[PositiveFloat, ...] = Field(min_length=1, description="noise levels, sigma / alpha")
    queries: int = Field(default=500, ge=2, description="noised data points a level")
    seed: int = Field(default=0, ge=0, lt=2**32)
    grid: PlaneGrid | None = None
    methods: dict[Name, Guidance] = Field(
        default_factory=dict,
        description="what to compare; by default every classifier at scale 1, at 10 where it is trained by "
        "cross-entropy, and at its calibrated scale where it has one",
    )

    @model_validator(mode="after")
    def _levels_differ(self) -> "DiagnoseRecipe":
        for levels in (self.levels, self.grid.levels if self.grid else ()):
            if len(set(levels)) < len(levels):
                raise ValueError(f"a noise level stands twice in {levels}")
        return self


class CalibrateRecipe(Settings):
    """Where and how to measure classifiers on held-out data."""

    levels: tuple[PositiveFloat, ...] | None = Field(
        default=None, min_length=1, description="noise levels, rising; by default 16 from data without noise to noise"
    )
    draws: int = Field(default=4, ge=1, description="noise draws of each held-out image, at each level")
    most: int | None = Field(
        default=None, ge=2, description="held-out images, in proportion to the classes; by default all"
    )
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = serialise(self)
        if self.most is None:  # so that the content keys of calibrations made before still hold
            del tree["most"]
        return tree

    @model_validator(mode="after")
    def _levels_rise(self) -> "CalibrateRecipe":
        if self.levels is not None and sorted(set(self.levels)) != list(self.levels):
            raise ValueError(f"noise levels must rise, which {self.levels} do not")
        return self


class CalibrateStage(Settings):
    """A classifier measured on the held-out split of its data."""

    calibrate: CalibrateRecipe


class EvaluateStage(Settings):
    """A comparison of samples with real data."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    measures: Measures = Measures()


class DiagnoseStage(Settings):
    """A comparison of scores with the oracle's."""

    diagnose: DiagnoseRecipe
    methods: dict[str, Guidance] = Field(min_length=1, description="row names and what they stand for")


class Promise(Settings):
    """What a run may take; `condgen run --dry-run` prints it beside what it would take here."""

    hardware: str = Field(max_length=80, description="such as '2 CPU cores' or 'one H100'")
    minutes: PositiveFloat
    memory: PositiveFloat = Field(description="at its peak, in GB; of the GPU where there is one")
    measured: bool = Field(default=False, description="or else meant")


class Recipe(Settings):
    """A whole run."""

    name: Name
    seed: int = Field(default=0, ge=0, lt=2**32)
    threads: int | None = Field(default=None, gt=0, description="CPU threads of torch; by default all cores")
    data: AnyData
    schedule: AnySchedule
    score: ScoreRecipe
    scores: dict[Name, ScoreRecipe] = Field(
        default_factory=dict, description="further score models: told the label, or weaker ones that serve as guides"
    )
    classifiers: dict[Name, ClassifierRecipe] = Field(default_factory=dict)
    generators: dict[Name, GeneratorRecipe] = Field(default_factory=dict)
    sample: SampleRecipe | None = None
    evaluate: Measures | None = Field(default=Measures(), description="false measures nothing")
    diagnose: DiagnoseRecipe | None = None
    calibrate: CalibrateRecipe | None = Field(default=None, description="measure every classifier on held-out data")
    promise: Promise | None = None

    @field_validator("evaluate", mode="before")
    @classmethod
    def _yes_or_no(cls, value: object) -> object:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        if self.score.labels == "separate":
            raise ValueError(
                "score.labels: separate gives no unconditional score, which the main score model is for: "
                "move it to scores"
            )
        reserved = self.scores.keys() & {"score", "unlabelled"}
        if reserved:
            raise ValueError(f"a score model cannot be called {min(reserved)!r}, which means another: rename it")
        for name, method in (self.sample.methods if self.sample else {}).items():
            self._check_guidance(name, method)
            if method.generator is not None and method.generator not in self.generators:
                known = ", ".join(self.generators) or "none"
                raise ValueError(f"method {name!r} uses generator {method.generator!r}, which is not among: {known}")
            try:
                method.time_grid(build_sampler(method.sampler, Unloaded(self.schedule), method.options))
            except UserError as error:
                raise ValueError(f"method {name!r}: {error}") from error
        for name, guidance in (self.diagnose.methods if self.diagnose else {}).items():
            self._check_guidance(name, guidance)
        for name, generator in self.generators.items():
            self._check_generator(f"generators.{name}", generator)
        low, high = self.schedule.noise_range
        for level in (self.calibrate.levels if self.calibrate else None) or ():
            if not low <= level <= high * (1 + 1e-12):
                raise ValueError(f"calibrate: noise level {level:g} is outside the schedule's, {low:g} to {high:g}")
        grid = self.diagnose.grid if self.diagnose else None
        for level in (*(self.diagnose.levels if self.diagnose else ()), *(grid.levels if grid else ())):
            if not low <= level <= high * (1 + 1e-12):
                raise ValueError(f"diagnose: noise level {level:g} is outside the schedule's, {low:g} to {high:g}")
        return self

    def _check_generator(self, name: str, generator: GeneratorRecipe) -> None:
        """Raises where a generator is to learn from what the recipe does not train."""
        if generator.teacher is not None:
            self._check_guidance(f"{name}.teacher", generator.teacher)
            teacher = self.scores[generator.teacher.score] if generator.teacher.score else self.score
            if teacher.labels == "none" and generator.teacher.classifier is None:
                raise ValueError(
                    f"{name}: its teacher knows no labels: set teacher.classifier, or teacher.score to one of scores "
                    "with labels: embedding"
                )
            if teacher.labels == "separate" and generator.network is None:
                raise ValueError(f"{name}: its teacher has a network per class, to start from none: set its network")
        densities = [generator.likelihood.density] if generator.likelihood is not None else []
        if not isinstance(generator.objective, ScoreMismatching):
            densities += [generator.objective.density, generator.objective.denoiser_density]
        for density in densities:
            try:
                density.quantile(self.schedule, torch.tensor([0.5], dtype=torch.float64))
            except UserError as error:
                raise ValueError(f"{name}: {error}") from error
        if generator.likelihood is not None and generator.likelihood.classifier not in self.classifiers:
            known = ", ".join(self.classifiers) or "none"
            raise ValueError(f"{name}: likelihood.classifier {generator.likelihood.classifier!r} is not among: {known}")

    def _check_guidance(self, name: str, guidance: Guidance) -> None:
        """Raises where a method names what the recipe does not train, or what cannot work."""
        classifier, guide = guidance.classifier, guidance.guide
        if classifier is not None and classifier not in self.classifiers:
            known = ", ".join(self.classifiers) or "none"
            raise ValueError(f"method {name!r} uses classifier {classifier!r}, which is not among: {known}")
        for score in (guidance.score, None if guide in ("unlabelled", "score") else guide):
            if score is not None and score not in self.scores:
                known = ", ".join(self.scores) or "none"
                raise ValueError(f"method {name!r} uses score model {score!r}, which is not among scores: {known}")
        if guidance.scale == "calibrated" and self.calibrate is None:
            raise ValueError(
                f"method {name!r}: scale: calibrated needs a calibration: add 'calibrate: {{}}' to the recipe"
            )
        labels = (self.scores[guidance.score] if guidance.score else self.score).labels
        if guide == "unlabelled" and labels != "embedding":
            raise ValueError(
                f"method {name!r}: guide 'unlabelled' needs a score model with labels: embedding, this one has {labels}"
            )
        if classifier is not None and labels == "separate":
            raise ValueError(
                f"method {name!r}: a classifier guides an unconditional score, which labels: separate does not give"
            )
        if guide is not None and guide == (guidance.score or "score"):
            raise ValueError(f"method {name!r}: a score model cannot guide itself; did you mean guide: unlabelled?")

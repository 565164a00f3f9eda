"""What a recipe may say: one settings class a part, and one a stage of work."""

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from condgen.classifier import ClassifierObjective
from condgen.data import AnyData
from condgen.generator import GeneratorObjective
from condgen.nets import AnyClassifierNet, AnyDenoiserNet, AnyGeneratorNet
from condgen.noise import AnyDensity, AnySchedule, GridName, LogNormal
from condgen.sampling import SamplerName
from condgen.score import Labels
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
    "GeneratorRecipe",
    "GeneratorStage",
    "Guidance",
    "Method",
    "Recipe",
    "SampleRecipe",
    "SampleStage",
    "ScoreRecipe",
    "ScoreStage",
]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


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
    training: TrainingSettings

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
    compile: bool = Field(default=False, description="compile the DLSM gradient; takes a minute or two at the start")
    training: TrainingSettings

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "ClassifierRecipe":
        if self.objective.loss == "ce" and (self.compile or self.prior != PriorSettings()):
            raise ValueError("compile and prior are for DLSM, which cross-entropy does not use: leave them out")
        return self


class GeneratorRecipe(Settings):
    """How to train the one-step generator."""

    network: AnyGeneratorNet
    latent: int = Field(default=64, gt=0)
    objective: GeneratorObjective
    training: TrainingSettings


class ScoreStage(Settings):
    """A score model and all that its training depends on."""

    data: AnyData
    schedule: AnySchedule
    seed: int = Field(default=0, ge=0, lt=2**32)
    score: ScoreRecipe


class ClassifierStage(Settings):
    """A classifier and all that its training depends on, save the score model under DLSM."""

    data: AnyData
    schedule: AnySchedule
    seed: int = Field(default=0, ge=0, lt=2**32)
    classifier: ClassifierRecipe


class GeneratorStage(Settings):
    """A generator and all that its training depends on."""

    data: AnyData
    seed: int = Field(default=0, ge=0, lt=2**32)
    generator: GeneratorRecipe


def _scale(value: object) -> object:
    """A guidance scale as it stands in a recipe or on a command line, or an error in words."""
    if value == "calibrated":
        return value
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("a guidance scale is a finite number, or the word calibrated")
    return number


ScaleSetting: TypeAlias = Annotated[float | Literal["calibrated"], BeforeValidator(_scale)]


class Guidance(Settings):
    """How a score model is led to a class: by what it knows of labels itself, by a classifier, or by a guide."""

    score: Name | None = Field(default=None, description="one of `scores`; the main score model by default")
    classifier: str | None = Field(default=None, description="adds scale times its likelihood score")
    guide: str | None = Field(
        default=None,
        description="'unlabelled': the same model without its label (classifier-free guidance); otherwise one of "
        "`scores`, or 'score' for the main one (autoguidance). Scale 1 is no guidance.",
    )
    scale: ScaleSetting = Field(default=1.0, description="or 'calibrated': as condgen calibrate found for each level")
    interval: tuple[float, float] | None = Field(default=None, description="noise levels where guidance acts")

    @model_validator(mode="after")
    def _one_guidance(self) -> "Guidance":
        if self.classifier is not None and self.guide is not None:
            raise ValueError("a classifier or a guide leads the way, not both: leave one of the two out")
        if self.scale == "calibrated" and self.classifier is None:
            raise ValueError("scale: calibrated belongs to a classifier: name one, or give the scale as a number")
        if self.classifier is None and self.guide is None and (self.scale != 1 or self.interval is not None):
            raise ValueError(
                "scale and interval have nothing to act on: name a classifier or a guide, or leave them out"
            )
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise ValueError(f"the interval runs from low to high, which {self.interval} does not")
        return self

    def in_words(self) -> str:
        """What leads the score model, for tables."""
        model = f"score model {self.score}" if self.score else "the score model"
        scale = f"at scale {self.scale:g}" if isinstance(self.scale, float) else "at its calibrated scale"
        within = f" from noise level {self.interval[0]:g} to {self.interval[1]:g}" if self.interval else ""
        if self.classifier is not None:
            return f"{model}, guided by classifier {self.classifier} {scale}{within}"
        if self.guide is not None:
            guide = {"unlabelled": "itself without label", "score": "the main score model"}
            return f"{model}, guided by {guide.get(self.guide, f'score model {self.guide}')} {scale}{within}"
        return f"{model} alone"


class Method(Guidance):
    """One way of sampling: by a score model, guided or not, or by the generator in one step."""

    generator: bool = False
    sampler: SamplerName = "heun"
    steps: int = Field(default=18, ge=2, description="points of the time grid")
    grid: GridName = "karras"

    @model_validator(mode="after")
    def _one_way(self) -> "Method":
        if self.generator and (self.score, self.classifier, self.guide) != (None, None, None):
            raise ValueError("the generator stands alone: leave out score, classifier and guide, or the generator")
        return self


class SampleStage(Settings):
    """Samples of one method: sample i has label i and seed + i."""

    method: Method
    labels: tuple[int, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    batch: int = Field(default=250, gt=0)


class SampleRecipe(Settings):
    """Which samples to draw."""

    per_class: int = Field(gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    batch: int = Field(default=250, gt=0)
    methods: dict[Name, Method] = Field(min_length=1)


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
    seed: int = Field(default=0, ge=0, lt=2**32)

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


class DiagnoseStage(Settings):
    """A comparison of scores with the oracle's."""

    diagnose: DiagnoseRecipe
    methods: dict[str, Guidance] = Field(min_length=1, description="row names and what they stand for")


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
    generator: GeneratorRecipe | None = None
    sample: SampleRecipe | None = None
    evaluate: bool = True
    diagnose: DiagnoseRecipe | None = None
    calibrate: CalibrateRecipe | None = Field(default=None, description="measure every classifier on held-out data")

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
            if method.generator and self.generator is None:
                raise ValueError(f"method {name!r} uses the generator, and the recipe trains none")
        for name, guidance in (self.diagnose.methods if self.diagnose else {}).items():
            self._check_guidance(name, guidance)
        low, high = self.schedule.noise_range
        for level in (self.calibrate.levels if self.calibrate else None) or ():
            if not low <= level <= high * (1 + 1e-12):
                raise ValueError(f"calibrate: noise level {level:g} is outside the schedule's, {low:g} to {high:g}")
        grid = self.diagnose.grid if self.diagnose else None
        for level in (*(self.diagnose.levels if self.diagnose else ()), *(grid.levels if grid else ())):
            if not low <= level <= high * (1 + 1e-12):
                raise ValueError(f"diagnose: noise level {level:g} is outside the schedule's, {low:g} to {high:g}")
        return self

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

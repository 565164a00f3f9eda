"""What a recipe may say: one settings class a part, and one a stage of work."""

from typing import Annotated

from pydantic import Field, PositiveFloat, model_validator

from condgen.classifier import ClassifierObjective
from condgen.data import AnyData
from condgen.generator import GeneratorObjective
from condgen.nets import AnyClassifierNet, AnyDenoiserNet, AnyGeneratorNet
from condgen.noise import AnyDensity, AnySchedule, GridName, LogNormal
from condgen.sampling import SamplerName
from condgen.settings import Settings
from condgen.training import TrainingSettings

__all__ = [
    "ClassifierRecipe",
    "ClassifierStage",
    "DiagnoseRecipe",
    "DiagnoseStage",
    "EvaluateStage",
    "GeneratorRecipe",
    "GeneratorStage",
    "Method",
    "Recipe",
    "SampleRecipe",
    "SampleStage",
    "ScoreRecipe",
    "ScoreStage",
]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class ScoreRecipe(Settings):
    """How to train the unconditional score model."""

    network: AnyDenoiserNet
    density: AnyDensity = LogNormal()
    training: TrainingSettings


class ClassifierRecipe(Settings):
    """How to train a noise-aware classifier."""

    network: AnyClassifierNet
    objective: ClassifierObjective = ClassifierObjective()
    density: AnyDensity = LogNormal()
    training: TrainingSettings


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


class Method(Settings):
    """One way of sampling: by the score model, guided or not, or by the generator in one step."""

    classifier: str | None = None
    generator: bool = False
    scale: float = 1.0
    interval: tuple[float, float] | None = Field(default=None, description="noise levels where guidance acts")
    sampler: SamplerName = "heun"
    steps: int = Field(default=18, ge=2, description="points of the time grid")
    grid: GridName = "karras"

    @model_validator(mode="after")
    def _one_way(self) -> "Method":
        if self.generator and self.classifier is not None:
            raise ValueError("a method uses a classifier or the generator, not both")
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise ValueError(f"the interval runs from low to high, which {self.interval} does not")
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

    @model_validator(mode="after")
    def _levels_differ(self) -> "DiagnoseRecipe":
        for levels in (self.levels, self.grid.levels if self.grid else ()):
            if len(set(levels)) < len(levels):
                raise ValueError(f"a noise level stands twice in {levels}")
        return self


class EvaluateStage(Settings):
    """A comparison of samples with real data."""

    seed: int = Field(default=0, ge=0, lt=2**32)


class DiagnoseStage(Settings):
    """A comparison of scores with the oracle's."""

    diagnose: DiagnoseRecipe
    rescaled: tuple[str, ...] = Field(default=(), description="classifiers shown at their best constant scale as well")


class Recipe(Settings):
    """A whole run."""

    name: Name
    seed: int = Field(default=0, ge=0, lt=2**32)
    threads: int | None = Field(default=None, gt=0, description="CPU threads of torch; by default all cores")
    data: AnyData
    schedule: AnySchedule
    score: ScoreRecipe
    classifiers: dict[Name, ClassifierRecipe] = Field(default_factory=dict)
    generator: GeneratorRecipe | None = None
    sample: SampleRecipe | None = None
    evaluate: bool = True
    diagnose: DiagnoseRecipe | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        for name, method in (self.sample.methods if self.sample else {}).items():
            if method.classifier is not None and method.classifier not in self.classifiers:
                known = ", ".join(self.classifiers) or "none"
                raise ValueError(f"method {name!r} uses classifier {method.classifier!r}, which is not among: {known}")
            if method.generator and self.generator is None:
                raise ValueError(f"method {name!r} uses the generator, and the recipe trains none")
        low, high = self.schedule.noise_range
        grid = self.diagnose.grid if self.diagnose else None
        for level in (*(self.diagnose.levels if self.diagnose else ()), *(grid.levels if grid else ())):
            if not low <= level <= high * (1 + 1e-12):
                raise ValueError(f"diagnose: noise level {level:g} is outside the schedule's, {low:g} to {high:g}")
        return self

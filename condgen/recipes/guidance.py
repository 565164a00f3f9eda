"""How samples are drawn: which score model, guided by what, by which sampler."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt, model_validator

from condgen.errors import UserError
from condgen.oracle import Oracle
from condgen.samplers.base import Sampler
from condgen.samplers.catalogue import ADAPTIVE, build_sampler, grid_for, options_of
from condgen.schedules import GridName, Schedule
from condgen.score import Labels
from condgen.settings import Settings, parse
from condgen.training.settings import Precision

_MOST_STEPS = 100_000  # of a sampler: a time grid is a table

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class Guidance(Settings):
    """A score model, and what guides it to a class: its own labels, a classifier, or another score model."""

    score: Name | None = Field(default=None, description="one of `scores`; the main score model by default")
    classifier: str | None = Field(default=None, description="adds scale times its likelihood score")
    guide: str | None = Field(
        default=None,
        description="'unlabelled': the model without its label (classifier-free guidance), or one of `scores`, or "
        "'score', the main one (autoguidance). Scale 1 is no guidance.",
    )
    scale: float | Literal["calibrated"] = Field(default=1.0, description="1 is Bayes' rule; or 'calibrated'")
    interval: tuple[float, float] | None = Field(default=None, description="noise levels where guidance acts")

    @model_validator(mode="after")
    def _one_guidance(self) -> "Guidance":
        if self.classifier is not None and self.guide is not None:
            raise ValueError("a classifier or a guide leads the way, not both: leave one of the two out")
        if self.scale == "calibrated" and self.classifier is None:
            raise ValueError("scale: calibrated belongs to a classifier: name one, or give the scale as a number")
        if not self.is_guided and (self.scale != 1 or self.interval is not None):
            raise ValueError("scale and interval have nothing to act on: name a classifier or a guide")
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise ValueError(f"the interval runs from low to high, which {self.interval} does not")
        return self

    @property
    def is_guided(self) -> bool:
        return self.classifier is not None or self.guide is not None

    def check_labels(self, labels: Labels, who: str) -> None:
        """UserError where a score model that knows labels in this way cannot be guided so."""
        if self.guide == "unlabelled" and labels != "embedding":
            embedding = "labels: embedding (condgen train-score --conditional)"
            raise UserError(f"{who}: guide 'unlabelled' needs {embedding}, this one has {labels}")
        if self.classifier is not None and labels == "separate":
            raise UserError(f"{who}: a classifier guides an unconditional score, which labels: separate does not give")

    def in_words(self) -> str:
        model = f"score model {self.score}" if self.score else "the score model"
        if not self.is_guided:
            return f"{model} alone"
        names = {None: f"classifier {self.classifier}", "unlabelled": "itself without label"}
        guide = (names | {"score": "the main score model"}).get(self.guide, f"score model {self.guide}")
        scale = "at its calibrated scale" if self.scale == "calibrated" else f"at scale {self.scale:g}"
        within = f" from noise level {self.interval[0]:g} to {self.interval[1]:g}" if self.interval else ""
        return f"{model}, guided by {guide} {scale}{within}"


class Method(Guidance):
    """How samples are drawn: by a score model, guided or not, and a sampler, or by a generator in one step."""

    generator: str | None = Field(default=None, description="one of `generators`, which draws in one step")
    sampler: str = Field(default="unipc", description="one of condgen samplers, or package.module:Class")
    options: dict[str, bool | int | float | str | None] = Field(default={}, description="see condgen samplers NAME")
    steps: int | None = Field(default=None, ge=2, le=_MOST_STEPS, description="points of the time grid")
    nfe: PositiveInt | None = Field(default=None, le=_MOST_STEPS, description="in place of steps: evaluations at most")
    grid: GridName | None = Field(default=None, description="how they are spaced; by default as suits the sampler")
    precision: Precision = Field(default="float32", description="inside networks other than classifiers")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "Method":
        given = sorted(self.model_dump(exclude={"generator", "precision"}, exclude_defaults=True))
        if self.generator is not None and given:
            raise ValueError(f"the generator stands alone, and draws in one step: leave out {', '.join(given)}")
        if self.steps is not None and self.nfe is not None:
            raise ValueError("steps and nfe both say how many evaluations to make: leave one of the two out")
        if self.sampler in ADAPTIVE and (self.steps, self.nfe, self.grid) != (None, None, None):
            raise ValueError(f"{self.sampler} chooses its own steps: set its option relative, not steps, nfe or grid")
        if ":" in self.sampler:  # imported, and its options checked, when samples are drawn
            return self
        try:
            parse(options_of(self.sampler), self.options, f"sampler {self.sampler}")
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    def check_grid(self, schedule: Schedule, who: str) -> None:
        point = Oracle(schedule, torch.zeros(1, 1), torch.zeros(1, dtype=torch.long), 1)  # stands for any model
        try:
            sampler = build_sampler(self.sampler, point, self.options)
            if isinstance(sampler, Sampler):
                grid_for(sampler, self.steps, self.grid, self.nfe)
        except UserError as error:
            raise UserError(f"{who}: {error}") from error

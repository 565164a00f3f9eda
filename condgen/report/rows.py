"""The tidy rows that run folders hold: one fact a row, checked before anything is made of it."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from condgen.errors import UserError
from condgen.metrics import Reading

__all__ = [
    "CLASSES",
    "LARGEST",
    "ClassRow",
    "ClassifierRow",
    "CostRow",
    "ErrorRow",
    "LookRow",
    "MetricRow",
    "NearRow",
    "NeighbourRow",
    "Quantity",
    "RawRow",
    "StageRow",
    "TrajectoryRow",
    "Weighting",
    "looks_of",
    "parse_rows",
]

Quantity: TypeAlias = Literal["D", "D_P", "D_L"]
Weighting: TypeAlias = Literal["data", "grid"]
CLASSES = 1_000_000  # more are a fault of the file
Label: TypeAlias = Annotated[int, Field(alias="class", ge=0, lt=CLASSES)]
LARGEST = 1e100  # of a number that is drawn: with it, sums, squares and axes still have numbers
RawRow: TypeAlias = Mapping[str, Any]


def _is_too_large(value: object) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_too_large, value))
    return isinstance(value, float) and math.isfinite(value) and abs(value) > LARGEST


class _Row(BaseModel):
    # Rows may carry more than a report prints, so an unknown key is no error here as it is in settings.
    model_config = ConfigDict(frozen=True, extra="ignore")

    @field_validator("*")
    @classmethod
    def _can_be_drawn(cls, value: object) -> object:
        if _is_too_large(value):
            raise ValueError(f"it holds a number beyond {LARGEST:g}")
        return value


class ErrorRow(_Row):
    """A mean score error at one noise level, in units of the score."""

    method: str
    sigma: float = Field(gt=0)
    weighting: Weighting
    quantity: Quantity
    mean: float
    sd: float | None = None
    n: int = Field(ge=1)
    exact: float | None = None  # mean length of the exact score; absent from runs of before it was written

    @property
    def standard_error(self) -> float | None:
        """Of the mean, sd / sqrt(n)."""
        return None if self.sd is None else self.sd / math.sqrt(self.n)


class MetricRow(_Row):
    """A figure of merit of one method's samples, with its interval and with the same figure of real data."""

    method: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    features: str | None = None
    reference: str | None = None
    floor: float | None = None
    floor_n: int | None = None
    seed: int | None = None


class ClassRow(_Row):
    """What one class adds to a figure that is a mean over classes."""

    metric: str
    method: str
    label: Label
    name: str
    value: float


class CostRow(_Row):
    """What sampling by one method took."""

    method: str
    images: int | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    evaluations_per_image: float | None = None
    sampler: str | None = None
    steps: int | None = None
    scale: float | None = None
    guide: str | None = None


class ClassifierRow(_Row):
    """A classifier on held-out data at one noise level; see `condgen.diagnostics.classifier_errors.LevelRow`."""

    classifier: str
    sigma: float = Field(gt=0)
    n: int = Field(ge=1)
    draws: int = Field(ge=1)
    accuracy: float
    cross_entropy: float
    ece: float
    norm: float
    gain: float | None = None
    gain_se: float | None = None
    scale: float | None = None
    scale_se: float | None = None
    scale_gain: float | None = None
    z: float | None = None


class LookRow(_Row):
    """A look at a generator in training; see `condgen.metrics.Reading`."""

    generator: str
    step: int
    std_ratio: float
    recall: float
    accuracy: float
    n: int = Field(ge=1)
    judge: float = 1.0

    @property
    def reading(self) -> Reading:
        """The measures as the gauge gave them, which knows what a collapse is."""
        return Reading(self.std_ratio, self.recall, self.accuracy, self.n, self.judge)


class TrajectoryRow(_Row):
    """A sample on its way from noise; see `condgen.runs.trajectories`."""

    method: str
    label: Label
    name: str
    seed: int | None = None
    noise: tuple[float, ...] = Field(min_length=1)
    x_t: str | tuple[tuple[float, ...], ...]  # the file of a strip of pictures, or points
    denoised: str | tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _has_points_of_the_plane(self) -> "TrajectoryRow":
        ways = [way for way in (self.x_t, self.denoised) if not isinstance(way, str)]
        if any(not way or any(len(point) != 2 for point in way) for way in ways):
            raise ValueError("x_t and denoised are the files of pictures, or points of the plane")
        return self


class NearRow(_Row):
    """A training sample near a generated one."""

    index: int
    label: Label
    name: str
    distance: float
    file: str | None = None


class NeighbourRow(_Row):
    """A sample and the training data nearest to it, the nearest first."""

    method: str
    label: Label
    name: str
    seed: int | None = None
    file: str | None = None
    x: tuple[float, ...] | None = None
    authentic: bool | None = None
    elsewhere: float | None = None  # the distance of the nearest training sample to its own nearest other
    neighbours: tuple[NearRow, ...] = ()


class StageRow(_Row):
    """One stage of a recipe's run."""

    stage: str
    folder: str | None = None
    seconds: float | None = None
    what: str = ""


_R = TypeVar("_R", bound=_Row)


def parse_rows(model: type[_R], rows: Iterable[RawRow], where: str) -> list[_R]:
    """Rows as read from JSON, checked against `model`.

    Args:
        model: the kind of row.
        rows: mappings, as JSON gives them.
        where: what the rows are called in an error.

    Raises:
        UserError: a row lacks a key or holds a value of the wrong kind.
    """
    parsed = []
    for index, row in enumerate(rows):
        try:
            parsed.append(model.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the row"
            reason = first["msg"].removeprefix("Value error, ")
            raise UserError(f"{where}, row {index}: {key}: {reason}; write the file anew") from error
    return parsed


def looks_of(rows: Iterable[RawRow]) -> dict[str, list[LookRow]]:
    """Checked looks by generator, steps rising."""
    out: dict[str, list[LookRow]] = {}
    for row in parse_rows(LookRow, rows, "looks at generators"):
        out.setdefault(row.generator, []).append(row)
    return {name: sorted(looks, key=lambda look: look.step) for name, looks in out.items()}

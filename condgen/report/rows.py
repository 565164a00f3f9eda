"""The schema of every JSON row in a run folder, checked once, when the folder is read."""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from condgen.errors import UserError
from condgen.metrics import REAL, Reading
from condgen.report.estimates import Estimate

Quantity: TypeAlias = Literal["D", "D_P", "D_L"]
Weighting: TypeAlias = Literal["data", "grid"]
Point: TypeAlias = tuple[float, float]
_Label: TypeAlias = Annotated[int, Field(alias="class", ge=0, lt=1_000_000)]
_NOTHING = 1e-6  # of the unconditional score: a likelihood score shorter than that is rounding to the networks


class Row(BaseModel):
    """A row; keys that no report shows are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StageRow(Row):
    """A stage of a run."""

    stage: str
    folder: str | None = None
    seconds: float | None = None
    what: str = ""


class ErrorRow(Row):
    """A mean score error at one noise level, in units of the score."""

    method: str
    sigma: float = Field(gt=0)
    weighting: Weighting
    quantity: Quantity
    mean: float
    sd: float | None = None
    n: int = Field(ge=1)
    exact: float | None = None  # mean length of the exact score
    low: float | None = None  # of the mean over several seeds, in a comparison
    high: float | None = None
    seeds: int = 1

    @property
    def estimate(self) -> Estimate:
        """The mean with its interval over seeds, or ± two standard errors; of a grid nothing is sampled."""
        if self.seeds > 1 or self.sd is None or self.weighting == "grid":
            return Estimate(self.mean, self.low, self.high)
        half = 2 * self.sd / math.sqrt(self.n)
        return Estimate(self.mean, self.mean - half, self.mean + half)


class MetricRow(Row):
    """A metric of one method's samples, with its interval and its floor: the same of real held-out data."""

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
    seeds: int = 1  # over which a comparison has averaged


class ClassRow(Row):
    """A metric of one class."""

    metric: str
    method: str
    label: _Label
    name: str
    value: float


class CostRow(Row):
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


class ClassifierRow(Row):
    """A classifier on held-out data at one noise level; see `condgen.diagnostics.classifier_errors`."""

    classifier: str = ""
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


class PreviewRow(Row):
    """Measures of a generator in training; see `condgen.metrics.Reading`."""

    step: int
    std_ratio: float
    recall: float
    accuracy: float
    n: int = Field(ge=1)
    judge: float = 1.0

    @property
    def reading(self) -> Reading:
        """The measures, which know what a collapse is."""
        return Reading(self.std_ratio, self.recall, self.accuracy, self.n, self.judge)


class SampleRow(Row):
    """A line of a manifest: an image file or a point."""

    label: _Label
    name: str = ""
    seed: int | None = None
    file: str | None = None
    x: tuple[float, ...] | None = None


class FieldRow(Row):
    """Likelihood scores of every class on a grid, by method, each of shape (classes, len(y), len(x), 2), and data."""

    sigma: float
    x: tuple[float, ...] = Field(min_length=2)
    y: tuple[float, ...] = Field(min_length=2)
    names: tuple[str, ...]
    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    fields: dict[str, Any]


class NearRow(Row):
    """A training sample near a generated one."""

    index: int
    label: _Label
    name: str
    distance: float
    file: str | None = None


class NeighbourRow(Row):
    """A sample and the training data nearest to it, the nearest first."""

    method: str
    label: _Label
    name: str
    seed: int | None = None
    file: str | None = None
    x: tuple[float, ...] | None = None
    elsewhere: float | None = None  # the distance of the nearest training sample to its own nearest other
    neighbours: tuple[NearRow, ...] = ()


_R = TypeVar("_R", bound=BaseModel)


def parse_rows(model: type[_R], rows: object, where: str) -> list[_R]:
    """Rows as JSON gives them, checked.

    Raises:
        UserError: they are no list of such rows; it names `where`, the row and the key.
    """
    try:
        return TypeAdapter(list[model]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors()[0]
        index, *key = first["loc"] or ("all",)
        place = f"row {index}: {'.'.join(map(str, key)) or 'the row'}"
        raise UserError(f"{where}, {place}: {first['msg']}; write the file anew") from error


def is_real(method: str) -> bool:
    """Whether the samples of a method are real held-out data, of one run or of several."""
    return method.startswith(REAL)


def metric_estimates(rows: Iterable[MetricRow]) -> dict[str, dict[str, Estimate]]:
    """Estimates by metric and method."""
    out: dict[str, dict[str, Estimate]] = {}
    for row in rows:
        found = out.setdefault(row.metric, {})
        if row.method in found:
            raise UserError(f"metrics: two rows for {row.metric} of {row.method}; evaluate the run anew")
        if row.value is not None:
            found[row.method] = Estimate(row.value, row.low, row.high)
    return out


def error_estimates(
    rows: Sequence[ErrorRow], weighting: Weighting, quantity: Quantity, *, relative: bool = False
) -> dict[str, dict[float, Estimate]]:
    """Score errors by method and noise level.

    Args:
        rows: of which those of the weighting and quantity are taken.
        weighting: see `rows`.
        quantity: see `rows`.
        relative: divided by the mean length of the exact score; left out where that is nothing or unknown.
    """
    rows = [row for row in rows if row.weighting == weighting]
    unconditional = {row.sigma: row.exact or 0.0 for row in rows if row.quantity == "D"}
    out: dict[str, dict[float, Estimate]] = {}
    for row in rows:
        if row.quantity != quantity:
            continue
        found, one = out.setdefault(row.method, {}), row.estimate
        if row.sigma in found:
            raise UserError(f"diagnostics: two rows for {quantity} of {row.method} at sigma {row.sigma}; diagnose anew")
        if relative:
            if row.exact is None or not row.exact > _NOTHING * unconditional.get(row.sigma, 0.0):
                continue
            ends = (end if end is None else end / row.exact for end in (one.low, one.high))
            one = Estimate(one.value / row.exact, *ends)
        found[row.sigma] = one
    return {method: found for method, found in out.items() if found}

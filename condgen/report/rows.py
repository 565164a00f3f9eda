"""The rows that reports alone read; the others are defined where they are measured."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

from pydantic import Field, RootModel

from condgen.diagnostics.held_out import HeldOutRow
from condgen.diagnostics.score_errors import ErrorRow
from condgen.metrics import REAL, MetricRow, Reading
from condgen.rows import Estimate, Row

_Label: TypeAlias = Annotated[int, Field(alias="class", ge=0, lt=1_000_000)]


class StageRow(Row):
    stage: str
    folder: str | None = None
    seconds: float | None = None
    what: str = ""


class DiagnosticRow(RootModel[Annotated[ErrorRow | HeldOutRow, Field(discriminator="quantity")]]):
    """A row of `diagnostics.json`."""


class ClassRow(Row):
    metric: str
    method: str
    label: _Label
    name: str
    value: float


class CostRow(Row):
    method: str
    images: int | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    evaluations_per_image: float | None = None
    sampler: str | None = None
    steps: int | None = None
    scale: float | None = None
    guide: str | None = None


class PreviewRow(Reading):
    step: int


class FieldRow(Row):
    """Likelihood scores of every class on a grid, by method, each of shape (classes, len(y), len(x), 2), and data."""

    sigma: float
    x: tuple[float, ...] = Field(min_length=2)
    y: tuple[float, ...] = Field(min_length=2)
    names: tuple[str, ...]
    points: tuple[tuple[float, float], ...] = ()
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


def is_real(method: str) -> bool:
    """Whether the samples of a method are real held-out data, of one run or of several."""
    return method.startswith(REAL)


def metric_estimates(rows: Iterable[MetricRow]) -> dict[str, dict[str, Estimate]]:
    """Estimates by metric and method."""
    out: dict[str, dict[str, Estimate]] = {}
    for row in rows:
        found = out.setdefault(row.metric, {})
        if row.value is not None:
            found[row.method] = Estimate(row.value, row.low, row.high)
    return out


def by_level(
    rows: Iterable[ErrorRow | HeldOutRow], unit: float = 1.0, **fields: object
) -> dict[str, dict[float, Estimate]]:
    """Estimates in a unit by method and rising noise level, of the rows whose fields have these values."""
    out: dict[str, dict[float, Estimate]] = {}
    for row in sorted(rows, key=lambda row: row.sigma):
        if all(getattr(row, name) == value for name, value in fields.items()):
            out.setdefault(row.method, {})[row.sigma] = row.estimate.over(unit)
    return out

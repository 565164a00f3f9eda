"""Rows of the JSON files in a run folder: checked once, where they are made and where they are read again."""

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from condgen.errors import UserError
from condgen.settings import SettingsType, parse


class Estimate(NamedTuple):
    """A value and, where known, the ends of its interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def over(self, unit: float) -> "Estimate":
        """The same in a unit, a number above zero."""
        return Estimate(*(end if end is None else end / unit for end in self))  # type: ignore[arg-type]

    @classmethod
    def within(cls, value: float, half: float | None) -> "Estimate":
        return cls(value) if half is None else cls(value, value - half, value + half)


class Row(BaseModel):
    """A row; keys that it does not know are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


class AveragedRow(Row):
    """A row of one run, or the mean of several runs that differ in their seeds, in a comparison."""

    low: float | None = None  # the ends of its interval: of several runs, mean ± sd
    high: float | None = None
    seeds: int = 1

    def interval(self, mean: float, half: float | None) -> Estimate:
        """The mean with its interval over seeds; of one run, ± a half width, where it has one."""
        return Estimate.within(mean, half) if self.seeds == 1 else Estimate(mean, self.low, self.high)


def parse_rows(model: type[SettingsType], rows: object, where: str) -> list[SettingsType]:
    """Rows as JSON gives them, checked; a UserError names `where`, the row and the key."""
    if not isinstance(rows, list):
        raise UserError(f"{where} is no list of rows: write the file anew")
    return [parse(model, row, f"{where}, row {number}") for number, row in enumerate(rows)]

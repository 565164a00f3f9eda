"""Updates that were skipped because a number was not finite: counted, named, and too many of them in a row.

A row `{"step", "not_finite": {network: {"step", "rows", "of", "noise_level", "class"}}}` in `log.jsonl` says where the
last one was. Where the device is a processor, every step is looked at; elsewhere those that are logged, since a look
waits for the device.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from condgen.errors import UserError
from condgen.runs.stage import StageFolder
from condgen.training import Known, Record, State, TrainingSettings, in_words

__all__ = ["SkippedUpdates", "all_finite"]

_STOPPED = "stopped"  # in stage.json: why training ended early


class SkippedUpdates:
    """What has been skipped in one training, and what is said of it.

    Args:
        stage: that trains.
        settings: of its training.
        state: as it begins.
        names: of the classes.
    """

    def __init__(self, stage: StageFolder, settings: TrainingSettings, state: State, names: Sequence[str]) -> None:
        self.stage, self.settings, self.names = stage, settings, names
        self.counted = self.logged = sum(total for total, _ in _counts(state).values())
        self.cheap = all(tensor.device.type == "cpu" for tensor in state.skipped.values())

    def refuse_to_repeat(self, state: State) -> None:
        """Raises what ended this training before, if that is how it ended: the same settings would do the same."""
        if self._stuck(state):
            before = self.stage.record.get(_STOPPED)
            raise UserError(str(before or self._stop(state, None)))
        if _STOPPED in self.stage.record:  # with another skip_limit
            self.stage.record.pop(_STOPPED)
            self.stage.note()

    def take(self, record: Record, state: State) -> tuple[str, str]:
        """Looks at a step: why training should end, and what a person should be told; empty where there is nothing."""
        due = record.step % self.settings.log_every == 0 or record.step == self.settings.steps
        if not (self.cheap or due):
            return "", ""
        total, told = sum(total for total, _ in _counts(state).values()), self.counted
        self.counted = total
        stop = self._stop(state, record) if total and self._stuck(state) else ""
        message = self._say_first(record, total - told) if total > told == 0 and not stop else ""
        if total > self.logged and (due or stop):
            self.logged = total
            known = {name: spoilt.read() for name, spoilt in record.spoilt.items()}
            places = {name: self._plain(one) for name, one in known.items() if one is not None}
            self.stage.log({"step": record.step, "skipped": total, "not_finite": places})
        return stop, message

    def remember(self, reason: str) -> None:
        """Keeps why training has ended early, for those who start it again."""
        self.stage.note(**{_STOPPED: reason})

    def _stuck(self, state: State) -> list[str]:
        """The networks that have not moved for too long; at the end, less is enough: half of the training."""
        limit = self.settings.skip_limit
        if state.step >= self.settings.steps:
            limit = min(limit, max(1, self.settings.steps // 2))
        return [name for name, (_, in_a_row) in _counts(state).items() if in_a_row >= limit]

    def _plain(self, known: Known) -> dict[str, Any]:
        row = {"step": known.step, "rows": known.rows, "of": known.of, "noise_level": known.noise_level}
        return {name: value for name, value in row.items() if value is not None} | {"class": self.names[known.label]}

    def _last(self, record: Record, networks: Sequence[str]) -> Known | None:
        known = [one for name in networks if (one := record.spoilt[name].read()) is not None]
        return max(known, key=lambda one: one.step, default=None)

    def _say_first(self, record: Record, count: int) -> str:
        known = self._last(record, list(record.spoilt))
        where = f" ({in_words(known, self.names)})" if known is not None else ""
        step = known.step if known is not None else record.step
        updates = "an update was" if count == 1 else f"{count:,} updates were"
        return (
            f"{self.stage.name}, step {step:,}: {_culprit(record)} is not a finite number{where}, and {updates} "
            "skipped; log.jsonl counts them from here on"
        )

    def _stop(self, state: State, record: Record | None) -> str:
        stuck, settings = self._stuck(state), self.settings
        in_a_row = _counts(state)[stuck[0]][1]
        known = self._last(record, stuck) if record is not None else None
        where = f" ({in_words(known, self.names)})" if known is not None else ""
        bad = _culprit(record) if record is not None else "the gradient"
        advice = [f"lower the learning rate (training.lr is {settings.lr:g})"]
        if settings.precision != "float32":
            advice.append("train in float32")
        if bad in ("dlsm", "gain"):
            advice.append("look at the score model that it builds on")
        kept = "keeps the last good weights" if all_finite(state.models) else "keeps the last saved state"
        return (
            f"{self.stage.name}: {bad} is not a finite number at step {state.step}{where}, and the last {in_a_row} "
            f"updates were skipped: {', '.join(advice)} or look for bad values in the data; {self.stage.folder} "
            f"{kept}, and a training.skip_limit above {in_a_row} goes on from there"
        )


def all_finite(models: dict[str, nn.Module]) -> bool:
    """Whether all weights are finite; waits for the device."""
    found = [p.isfinite().all() for model in models.values() for p in model.parameters()]
    return bool(torch.stack(found).all()) if found else True


def _counts(state: State) -> dict[str, tuple[int, int]]:
    """Updates that were skipped, in all and in a row until now, by network."""
    return {name: (int(total), int(row)) for name, (total, row) in ((n, s.tolist()) for n, s in state.skipped.items())}


def _culprit(record: Record) -> str:
    """Which of the losses is not finite: the parts of a loss say more than the whole."""
    bad = [name for name, value in record.metrics.items() if not math.isfinite(float(value))]
    return next((name for name in bad if name != "loss"), "loss" if bad else "the gradient")

"""What is measured on held-out data while a model trains, for `log.jsonl` alone: the weights do not depend on it."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from condgen.classifier import Classifier, ClassifierConfig
from condgen.data import LabelledSet, stratified_order
from condgen.diagnostics.classifier_errors import measure_classifier, spread_levels
from condgen.rng import device_of, keyed_generator
from condgen.score import ScoreModel

_LEVELS, _IMAGES, _SEED = 8, 512, 0


class Look(NamedTuple):
    """What a monitor has seen.

    Attributes:
        row: for `log.jsonl`.
        note: for the progress bar.
        warning: that training goes wrong; empty where it does not.
        pictures: whether there are new pictures to draw.
    """

    row: dict[str, Any]
    note: str = ""
    warning: str = ""
    pictures: bool = False


class Monitor(ABC):
    """Measures a model every so many steps, and after the last of `steps`."""

    def __init__(self, every: int, steps: int) -> None:
        self.every, self.steps = every, steps

    def is_due(self, step: int) -> bool:
        """Whether the model is to be looked at after a step."""
        return step % self.every == 0 or step == self.steps

    @abstractmethod
    def look(self, model: nn.Module, step: int) -> Look:
        """Measures the averaged weights. Draws no global random number."""


class ClassifierMonitor(Monitor):
    """Measures a classifier at a few noise levels, always with the same images and noise.

    Args:
        every: steps between looks.
        steps: of the training.
        config: of the classifier.
        held_out: the images.
        prior: a score model, with which the gain of guidance is measured too.
    """

    def __init__(
        self, every: int, steps: int, config: ClassifierConfig, held_out: LabelledSet, prior: ScoreModel | None
    ) -> None:
        super().__init__(every, steps)
        chosen = stratified_order(held_out.y, keyed_generator(_SEED))[:_IMAGES]
        self.x: Tensor = held_out.floats(chosen)
        self.y: Tensor = held_out.y[chosen]
        self.levels = spread_levels(config.schedule, config.sigma_data, _LEVELS)
        fits = prior is not None and (prior.config.shape, prior.schedule) == (config.shape, config.schedule)
        self.prior = prior if fits and prior is not None and prior.config.labels != "separate" else None

    def look(self, model: nn.Module, step: int) -> Look:
        """The measures at each level where they are finite numbers, and the other levels."""
        assert isinstance(model, Classifier)
        device = device_of(model)
        rows = [
            row.as_dict()
            for row in measure_classifier(
                *(model, self.prior, self.x.to(device), self.y.to(device), self.levels),
                generator=keyed_generator(_SEED),
                batch=_IMAGES,
            )
        ]
        good = [row for row in rows if torch.tensor(list(row.values()), dtype=torch.float64).isfinite().all()]
        bad = {"not_finite_at": [row["sigma"] for row in rows if row not in good]} if len(good) < len(rows) else {}
        return Look({"levels": good, **bad})

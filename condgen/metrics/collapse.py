"""Whether a generator makes different samples of a class: losses and accuracy do not show it, spread and recall do."""

from pydantic import Field
from torch import Tensor

from condgen.data.labelled import LabelledSet, stratified_order
from condgen.metrics.features import extract, pixels
from condgen.metrics.judge import Judge
from condgen.metrics.neighbours import nearest_radii, prdc
from condgen.metrics.variety import class_spread
from condgen.rng import keyed_generator
from condgen.rows import Row

_NEIGHBOUR = 5
_SEED = 0  # of the draw of real samples: every gauge of a data set has the same
_JUDGED = 2000  # real samples that the judge learns from, and is tested on: enough to see a collapse
_SURE, _NARROW = 0.5, 0.3  # accuracy above, in that of real data, and spread below which a generator has collapsed


class Reading(Row):
    std_ratio: float  # standard deviation within a class, over that of real data: features and classes averaged
    recall: float  # the fraction of as many real samples that lie among the generated ones (k = 5)
    accuracy: float  # the fraction in which a judge sees the class that was asked for
    n: int = Field(ge=1)
    judge: float = 1.0  # its accuracy on held-out real data

    def warning(self) -> str:
        return (
            f"the generator has collapsed within classes: {self.accuracy:.0%} of its samples are of the class asked "
            f"for, but their spread within a class is {self.std_ratio:.2f} of the data's. Slow it down (training.lr), "
            "or let its opponents learn more (critic_steps and critic_lr, denoiser_steps and denoiser_lr)"
        )

    @property
    def collapsed(self) -> bool:
        """Whether one sample stands for each class, and the judge sees the classes (early on, it sees none)."""
        return self.accuracy >= _SURE * self.judge and self.std_ratio < _NARROW


class Gauge:
    def __init__(self, train: LabelledSet, test: LabelledSet, n: int) -> None:
        chosen = stratified_order(train.y, keyed_generator(_SEED))[:n]
        self._extractor = pixels(train.shape)
        self._real = extract(self._extractor, train.floats(chosen))
        self._radii = nearest_radii(self._real, min(_NEIGHBOUR, len(self._real) - 1))
        self._spread = class_spread(self._real, train.y.cpu()[chosen], train.n_classes).value
        learnt, tested = (split.at_most(_JUDGED, keyed_generator(_SEED)) for split in (train, test))
        self._judge = Judge(extract(self._extractor, learnt.floats()), learnt.y) if len(learnt.y.unique()) > 1 else None
        self._judge_accuracy = self._accuracy(extract(self._extractor, tested.floats()), tested.y)

    def read(self, x: Tensor, y: Tensor) -> Reading:
        features = extract(self._extractor, x)
        std_ratio, _ = class_spread(features, y, len(self._spread)).over(self._spread)
        overlap = prdc(self._real, features, min(_NEIGHBOUR, len(self._real) - 1, len(x) - 1), self._radii)
        accuracy = self._accuracy(features, y)
        recall = float(overlap.recall.mean())
        return Reading(std_ratio=std_ratio, recall=recall, accuracy=accuracy, n=len(x), judge=self._judge_accuracy)

    def _accuracy(self, features: Tensor, y: Tensor) -> float:
        return 1.0 if self._judge is None else self._judge.accuracy(features, y)

"""Trained models in their folders, and the denoisers that guidance makes of them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.classifier import Classifier, ClassifierConfig
from condgen.data import LabelledSet
from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.guidance import ClassifierGuided, DenoiserGuided, Scale, ScaleCurve
from condgen.recipes import GeneratorRecipe, Guidance, Method
from condgen.runs.folder import file_key, read_json
from condgen.runs.layout import calibration_file
from condgen.schedules import Schedule
from condgen.score import ScoreConfig, ScoreModel

__all__ = [
    "Evaluations",
    "Folders",
    "Load",
    "Models",
    "check_fits",
    "check_levels",
    "count_evaluations",
    "load_anew",
    "open_guided",
    "read_calibration",
]


ModelConfig: TypeAlias = ScoreConfig | ClassifierConfig
Model = TypeVar("Model", ScoreModel, Classifier, Generator)


class Load(Protocol):
    """How a model comes from its folder: read anew, or kept from the last time."""

    def __call__(self, kind: type[Model], folder: Path, device: torch.device) -> Model:
        """The model, ready to be evaluated."""


def load_anew(kind: type[Model], folder: Path, device: torch.device) -> Model:
    """Reads a model from its folder."""
    return kind.load(folder, device)


class Models(NamedTuple):
    """The folders of the models that a method may need."""

    score: Path | None = None
    classifier: Path | None = None
    generator: Path | None = None
    guide: Path | None = None
    likelihood: Path | None = None  # a classifier whose opinion trains a generator

    def keys(self, guidance: Guidance) -> list[str]:
        """Content hashes of the files that a method reads, in a fixed order; empty for those that it does not."""
        one_step = isinstance(guidance, Method) and guidance.generator is not None
        classifier = self.classifier if guidance.classifier is not None else None
        used = (
            None if one_step else self.score,
            classifier,
            self.generator if one_step else None,
            self.guide if guidance.guide not in (None, "unlabelled") else None,
        )
        keys = [file_key(path / MODEL_FILE) if path is not None else "" for path in used]
        if guidance.scale == "calibrated" and classifier is not None:
            keys.append(file_key(_existing_calibration(classifier)))
        return keys


class Folders(NamedTuple):
    """All models of a run, by the names that its methods use."""

    score: Path
    scores: Mapping[str, Path] = {}
    classifiers: Mapping[str, Path] = {}
    generators: Mapping[str, Path] = {}

    def models(self, guidance: Guidance) -> Models:
        """The folders that one method needs.

        Raises:
            UserError: for a name that is not among them.
        """
        guide = None
        if guidance.guide == "score":
            guide = self.score
        elif guidance.guide is not None and guidance.guide != "unlabelled":
            guide = _named("score model", self.scores, guidance.guide)
        return Models(
            score=_named("score model", self.scores, guidance.score) if guidance.score else self.score,
            classifier=_named("classifier", self.classifiers, guidance.classifier) if guidance.classifier else None,
            generator=self._generator(guidance),
            guide=guide,
        )

    def _generator(self, guidance: Guidance) -> Path | None:
        name = guidance.generator if isinstance(guidance, Method) else None
        return None if name is None else _named("generator", self.generators, name)

    def taught_by(self, generator: GeneratorRecipe) -> Models:
        """The folders that a generator's training needs."""
        models = self.models(generator.teacher) if generator.teacher is not None else Models()
        if generator.likelihood is None:
            return models
        return models._replace(likelihood=_named("classifier", self.classifiers, generator.likelihood.classifier))


def _named(what: str, folders: Mapping[str, Path], name: str) -> Path:
    if name not in folders:
        raise UserError(f"there is no {what} {name!r} among: {', '.join(folders) or 'none'}")
    return folders[name]


def _existing_calibration(classifier: Path) -> Path:
    path = calibration_file(classifier)
    if not path.is_file():
        raise UserError(
            f"{classifier} has no calibration: run 'condgen calibrate --classifier {classifier} --score DIR' first"
        )
    return path


def read_calibration(classifier: Path, score: Path) -> ScaleCurve:
    """The guidance scale that was calibrated for a classifier together with a score model.

    Raises:
        UserError: where it was not calibrated, or for other models, or the file is damaged.
    """
    path = _existing_calibration(classifier)
    found = read_json(path)
    for model in (classifier, score):
        read_description(model / MODEL_FILE)  # a large file that is no model need not be read to its end
    if found.get("models") != {"classifier": file_key(classifier / MODEL_FILE), "score": file_key(score / MODEL_FILE)}:
        raise UserError(
            f"{path} was measured with another score model or an earlier classifier: run 'condgen calibrate "
            f"--classifier {classifier} --score {score}' first"
        )
    try:
        return ScaleCurve.model_validate(found.get("curve"))
    except ValidationError as error:
        raise UserError(f"{path} holds no scale curve ({error.errors()[0]['msg']}): calibrate again") from error


def open_guided(
    guidance: Guidance, models: Models, device: torch.device, load: Load = load_anew
) -> tuple[Denoiser, ScoreModel]:
    """The denoiser of a method, and the score model that it is built around.

    Raises:
        UserError: where a folder is missing, or models do not go together.
    """
    if models.score is None:
        raise UserError("sampling needs a score model: name its folder with --score (or a generator with --generator)")
    score = load(ScoreModel, models.score, device)
    if guidance.classifier is not None:
        if models.classifier is None:
            raise UserError("guided sampling needs a classifier: name its folder with --classifier")
        score.require_unconditional(models.score, "which a classifier could guide")
        classifier = load(Classifier, models.classifier, device)
        check_fits(models.classifier, classifier.config, score.config, models.score)
        scale = read_calibration(models.classifier, models.score) if guidance.scale == "calibrated" else guidance.scale
        return ClassifierGuided(score, classifier, _as_scale(scale), guidance.interval), score
    if guidance.guide is None:
        return score, score
    if guidance.guide == "unlabelled":
        if score.null_label is None:
            raise UserError(
                f"{models.score} knows no 'no label', so it cannot guide itself unlabelled: train it with "
                "labels: embedding (condgen train-score --conditional)"
            )
        return DenoiserGuided(score, None, _as_scale(guidance.scale), guidance.interval), score
    if models.guide is None:
        raise UserError("autoguidance needs the folder of a weaker score model: name it with --guide")
    if models.guide.resolve() == models.score.resolve():
        raise UserError(f"{models.guide} cannot guide itself; did you mean --guide unlabelled?")
    guide = load(ScoreModel, models.guide, device)
    check_fits(models.guide, guide.config, score.config, models.score)
    return DenoiserGuided(score, guide, _as_scale(guidance.scale), guidance.interval), score


def _as_scale(scale: float | str | ScaleCurve) -> Scale:
    assert not isinstance(scale, str)  # settings allow "calibrated" beside a classifier alone
    return scale


def check_fits(
    folder: Path, config: ModelConfig, like: ModelConfig | LabelledSet, other: object, schedule: Schedule | None = None
) -> None:
    """Raises where a model in a folder has not the data shape, the classes and the schedule of what it goes with.

    Args:
        folder: of the model.
        config: of the model.
        like: what it goes with.
        other: its name.
        schedule: of data, if any is asked for; configurations have their own.
    """
    wanted = schedule or (config.schedule if isinstance(like, LabelledSet) else like.schedule)
    if (config.shape, config.names, config.schedule) != (like.shape, like.names, wanted):
        raise UserError(
            f"{folder} was trained on {config.shape} of {len(config.names)} classes with {config.schedule!r}, but "
            f"{other} has {like.shape} of {len(like.names)} with {wanted!r}: use one data set and schedule for both"
        )


def check_levels(levels: Iterable[float], schedule: Schedule) -> None:
    """Raises where a noise level is outside a schedule."""
    low, high = schedule.noise_range
    if outside := [level for level in levels if not low <= level <= high * (1 + 1e-12)]:
        raise UserError(f"noise level {outside[0]:g} is outside the schedule's range, {low:g} to {high:g}")


class Evaluations:
    """How many samples have gone through a model, and through the networks in it: those of a guide are more.

    Attributes:
        asked: through the model as a whole.
        count: through its score models, or its generator.
    """

    asked = 0
    count = 0

    def of(self, evaluations: float) -> float:
        """How many evaluations of networks stand behind so many of the model."""
        return evaluations * self.count / self.asked if self.asked else 0.0


@contextmanager
def count_evaluations(model: nn.Module) -> Iterator[Evaluations]:
    """Counts the samples that go through the score models or the generator within a model, a guide's included."""
    evaluations = Evaluations()

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        evaluations.count += len(inputs[0])

    def note_all(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        evaluations.asked += len(inputs[0])

    handles = [m.register_forward_pre_hook(note) for m in model.modules() if isinstance(m, ScoreModel | Generator)]
    handles.append(model.register_forward_pre_hook(note_all))
    try:
        yield evaluations
    finally:
        for handle in handles:
            handle.remove()

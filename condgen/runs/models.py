"""From what a recipe says of guidance, and from model folders, to a denoiser that any sampler drives."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.classifier import Classifier
from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.guidance import ClassifierGuided, DenoiserGuided, Scale, ScaleCurve
from condgen.recipes import GeneratorRecipe, Guidance, Method
from condgen.runs.folder import file_key, read_json
from condgen.runs.layout import calibration_file
from condgen.score import ScoreModel

__all__ = [
    "Evaluations",
    "Folders",
    "Load",
    "Models",
    "count_evaluations",
    "load_anew",
    "open_guided",
    "read_calibration",
]


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
        _check_pair(models.score, score.config, models.classifier, classifier.config)
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
    _check_pair(models.score, score.config, models.guide, guide.config)
    return DenoiserGuided(score, guide, _as_scale(guidance.scale), guidance.interval), score


def _as_scale(scale: float | str | ScaleCurve) -> Scale:
    assert not isinstance(scale, str)  # settings allow "calibrated" beside a classifier alone
    return scale


def _check_pair(first: Path, one: Any, second: Path, other: Any) -> None:  # noqa: ANN401 - any two configurations
    """Raises where two models are not of one data shape, schedule and set of classes."""
    if (one.shape, one.schedule, one.names) != (other.shape, other.schedule, other.names):
        raise UserError(
            f"{second} was trained on {other.shape} of {len(other.names)} classes with {other.schedule!r}, but {first} "
            f"on {one.shape} of {len(one.names)} with {one.schedule!r}: use models of one recipe"
        )


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

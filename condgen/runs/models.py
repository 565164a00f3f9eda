"""Trained models in their folders, and the denoisers that guidance makes of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.classifier import Classifier, ClassifierConfig
from condgen.data.labelled import LabelledSet, list_some
from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.guidance import ClassifierGuided, DenoiserGuided, ScaleCurve
from condgen.hub import model_folder
from condgen.recipes.guidance import Guidance, Method
from condgen.recipes.schema import Recipe, is_place
from condgen.runs.folder import file_key, read_json
from condgen.runs.layout import SCORE, calibration_file
from condgen.schedules import Schedule
from condgen.score import ScoreConfig, ScoreModel
from condgen.settings import parse

_Config: TypeAlias = ScoreConfig | ClassifierConfig

Load: TypeAlias = Callable[..., Any]
"""`load(kind, folder, device)` is a model of a class, ready to be evaluated: read anew, or kept from the last time."""


def load_anew(kind: type[Any], folder: Path, device: torch.device) -> Any:  # noqa: ANN401 - of that class
    return kind.load(folder, device)


class Folders(NamedTuple):
    """The models that stages build on, by the names that settings use; UserError for a name that is not among them."""

    main: Path | None = None  # the main score model
    scores: Mapping[str, Path] = {}
    classifiers: Mapping[str, Path] = {}
    generators: Mapping[str, Path] = {}

    @classmethod
    def of_run(cls, recipe: Recipe, run: Path) -> "Folders":
        return cls(
            run / SCORE,
            {name: run / f"{SCORE}-{name}" for name in recipe.scores},
            {name: run / f"classifier-{name}" for name in recipe.classifiers},
            {name: run / f"generator-{name}" for name in recipe.generators},
        )

    def score(self, name: str | None = None) -> Path:
        """A score model; None and "score" are the main one."""
        if name not in (None, SCORE):
            return _named("score model", self.scores, str(name))
        if self.main is None:
            raise UserError("there is no score model: name its folder with --score (or a generator with --generator)")
        return self.main

    def classifier(self, name: str) -> Path:
        return _named("classifier", self.classifiers, name)

    def generator(self, name: str) -> Path:
        return _named("generator", self.generators, name)

    def start(self, kind: str, name: str) -> Path:
        """The model from whose weights one of a kind starts: one of these, or at a place elsewhere."""
        if is_place(name):
            return model_folder(name)
        folders = {"score": self.scores, "classifier": self.classifiers, "generator": self.generators}[kind]
        if name == SCORE and kind != "generator" and name not in folders:
            return self.score()
        return _named(f"{kind} to start from, --init,", folders, name)

    def files(self, guidance: Guidance) -> list[Path]:
        """The files that a method reads, in a fixed order."""
        if isinstance(guidance, Method) and guidance.generator is not None:
            return [self.generator(guidance.generator) / MODEL_FILE]
        found = [self.score(guidance.score) / MODEL_FILE]
        if guidance.classifier is not None:
            found.append(self.classifier(guidance.classifier) / MODEL_FILE)
        if guidance.guide not in (None, "unlabelled"):
            found.append(self.score(guidance.guide) / MODEL_FILE)
        if guidance.classifier is not None and guidance.scale == "calibrated":
            found.append(calibration_file(self.classifier(guidance.classifier)))
        return found


def _named(what: str, folders: Mapping[str, Path], name: str) -> Path:
    if name not in folders:
        raise UserError(f"there is no {what} {name!r} among: {', '.join(folders) or 'none'}")
    return folders[name]


def read_calibration(classifier: Path, score: Path) -> ScaleCurve:
    """The guidance scale by noise level for a classifier and a score model; UserError where it is not of these."""
    path = calibration_file(classifier)
    command = f"run 'condgen calibrate --classifier {classifier} --score {score}' first"
    if not path.is_file():
        raise UserError(f"{classifier} has no calibration: {command}")
    found = read_json(path)
    for model in (classifier, score):
        read_description(model / MODEL_FILE)  # a large file that is no model need not be read to its end
    if found.get("models") != {"classifier": file_key(classifier / MODEL_FILE), "score": file_key(score / MODEL_FILE)}:
        raise UserError(f"{path} was measured with another score model or an earlier classifier: {command}")
    return parse(ScaleCurve, found.get("curve"), f"{path} holds no scale curve, calibrate again")


def open_guided(
    guidance: Guidance, folders: Folders, device: torch.device, load: Load = load_anew
) -> tuple[Denoiser, ScoreModel]:
    """The denoiser of a method, and the score model in it; UserError where models are missing or do not fit."""
    place, scale, interval = folders.score(guidance.score), guidance.scale, guidance.interval
    score: ScoreModel = load(ScoreModel, place, device)
    guidance.check_labels(score.config.labels, str(place))
    if guidance.classifier is not None:
        folder = folders.classifier(guidance.classifier)
        classifier = load(Classifier, folder, device)
        check_fits(folder, classifier.config, score.config, place)
        curve = read_calibration(folder, place) if isinstance(scale, str) else scale
        return ClassifierGuided(score, classifier, curve, interval), score
    if guidance.guide is None:
        return score, score
    assert not isinstance(scale, str)  # settings allow "calibrated" for a classifier alone
    guide = None
    if guidance.guide != "unlabelled":
        weaker = folders.score(guidance.guide)
        if weaker.resolve() == place.resolve():
            raise UserError(f"{weaker} cannot guide itself; did you mean --guide unlabelled?")
        guide = load(ScoreModel, weaker, device)
        check_fits(weaker, guide.config, score.config, place)
    return DenoiserGuided(score, guide, scale, interval), score


def check_fits(
    folder: Path, config: _Config, like: _Config | LabelledSet, other: object, schedule: Schedule | None = None
) -> None:
    """Raises UserError, naming the differences, where a model has not the shape, classes and schedule of another."""
    wanted = schedule or (config.schedule if isinstance(like, LabelledSet) else like.schedule)
    found = []
    if config.shape != like.shape:
        found.append(f"samples of shape {config.shape} against {like.shape}")
    if config.names != like.names:
        pairs = (config.names, like.names), (like.names, config.names)
        own, others = (", ".join(list_some(name for name in a if name not in b)) for a, b in pairs)
        classes = f"{own or 'none'} only in the former, {others or 'none'} only in the latter"
        found.append(f"of the classes, {classes}" if own or others else "the same classes in another order")
    if getattr(config, "head", "categorical") != "categorical":
        found.append("numbers or attributes, which Python alone guides to, against classes")
    if config.schedule != wanted:
        here, there = dict(config.schedule), dict(wanted)
        keys = [key for key in here | there if here.get(key) != there.get(key)]
        noise = (", ".join(f"{key} {each[key]}" for key in keys if key in each) for each in (here, there))
        found.append(f"noise of {' against '.join(noise)}")
    if found:
        problem = f"{folder} does not go with {other}: {'; '.join(found)}"
        raise UserError(f"{problem}. Use one data set and one schedule for both")


def data_fields(data: LabelledSet) -> dict[str, Any]:
    return {"shape": data.shape, "names": data.names, "sigma_data": data.standard_deviation()}

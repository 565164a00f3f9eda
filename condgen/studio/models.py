"""The models, methods and classes that a folder offers, and a cache of loaded models."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, Field, PositiveInt

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.classifier import Classifier
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.recipes import Guidance, Method, Recipe, read_yaml
from condgen.runs import Folders
from condgen.runs.layout import RECIPE_FILE, SCORE, SNAPSHOTS, calibration_file, model_folders
from condgen.score import ScoreModel
from condgen.settings import parse

__all__ = ["SCORE", "ModelCache", "Offer", "file_stamp", "read_offer"]

_KEPT = 8  # models in memory

Model = TypeVar("Model", ScoreModel, Classifier, Generator)


@dataclass(frozen=True)
class Offer:
    """What can be drawn from a folder.

    Attributes:
        name: what the page is called.
        folder: the run folder, or that of a single model.
        names: of the classes, by label.
        shape: of one sample.
        score: the main score model; None where there are generators alone.
        scores: further score models and snapshots, by name.
        classifiers: by name.
        generators: by name.
        labels: how each score model learns of labels ("none", "embedding", "separate"), the main one's under "score".
        methods: ready-made ways of sampling, by name.
    """

    name: str
    folder: Path
    names: tuple[str, ...]
    shape: tuple[int, ...]
    score: Path | None = None
    scores: Mapping[str, Path] = field(default_factory=dict)
    classifiers: Mapping[str, Path] = field(default_factory=dict)
    generators: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, Method] = field(default_factory=dict)

    @property
    def is_images(self) -> bool:
        """Whether samples are images rather than points."""
        return len(self.shape) == 3

    @property
    def folders(self) -> Folders:
        """Those of all its models."""
        return Folders(self.score, self.scores, self.classifiers, self.generators)

    def knows_labels(self, guidance: Guidance) -> bool:
        """Whether a method's samples are of the class that is asked for."""
        if isinstance(guidance, Method) and guidance.generator is not None:
            return True
        return guidance.classifier is not None or self.labels.get(guidance.score or SCORE, "none") != "none"

    def calibrated(self) -> list[str]:
        """The classifiers whose scale has been calibrated."""
        return [name for name, place in self.classifiers.items() if calibration_file(place).is_file()]


def read_offer(folder: Path) -> Offer:
    """What a run folder, or the folder of a single score model or generator, offers.

    Raises:
        UserError: where there is no such folder, or it holds no model that could draw.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: name a folder that condgen run or condgen train-... has written")
    if (folder / MODEL_FILE).is_file():
        return _single(folder)
    score = folder / SCORE if (folder / SCORE / MODEL_FILE).is_file() else None
    scores = model_folders(folder, "score") | (_snapshots(score) if score is not None else {})
    generators = model_folders(folder, "generator")
    models = [*([score] if score is not None else []), *scores.values(), *generators.values()]
    if not models:
        raise UserError(
            f"{folder} holds no trained score model or generator: name the folder of a run whose training has finished "
            "(condgen run RECIPE), or of a single model"
        )
    about = _about(models[0])
    offer = Offer(
        name=folder.resolve().name,
        folder=folder,
        names=about.names,
        shape=about.shape,
        score=score,
        scores=scores,
        classifiers=model_folders(folder, "classifier"),
        generators=generators,
        labels=_labels(score, scores),
    )
    return _with_methods(offer, _methods_of_recipe(folder))


class _About(BaseModel):
    """What every model says of its data."""

    names: tuple[str, ...] = Field(min_length=1)
    shape: tuple[PositiveInt, ...] = Field(min_length=1)


def _about(folder: Path) -> _About:
    path = folder / MODEL_FILE
    return parse(_About, read_description(path), f"{path} describes no model of this version")


def _single(folder: Path) -> Offer:
    kind = read_description(folder / MODEL_FILE).get("kind", "something unnamed")
    named: dict[str, Any] = {"name": folder.resolve().name, "folder": folder}
    if kind in ("generator", "score model"):
        about = _about(folder)
        named |= {"names": about.names, "shape": about.shape}
    if kind == "generator":
        generators = {folder.resolve().name: folder}
        return _with_methods(Offer(**named, generators=generators), {})
    if kind == "score model":
        scores = _snapshots(folder)
        return _with_methods(Offer(**named, score=folder, scores=scores, labels=_labels(folder, scores)), {})
    raise UserError(
        f"{folder} holds a {kind}, which draws nothing by itself: name the run folder that it is part of, or the "
        "folder of a score model or a generator"
    )


def _snapshots(score: Path) -> dict[str, Path]:
    """States of a score model along its training, which show how it grew and can guide it as weaker ones."""
    places = [place for place in (score / SNAPSHOTS).glob("*") if (place / MODEL_FILE).is_file()]
    return {f"snapshot-{place.name}": place for place in sorted(places, key=lambda place: place.name.zfill(12))}


def _labels(score: Path | None, scores: Mapping[str, Path]) -> dict[str, str]:
    models = {**({SCORE: score} if score is not None else {}), **scores}
    return {name: str(read_description(place / MODEL_FILE).get("labels", "none")) for name, place in models.items()}


def _methods_of_recipe(folder: Path) -> dict[str, Method]:
    """The methods that a run was sampled with; none where its recipe is of another version."""
    try:
        recipe = parse(Recipe, read_yaml(folder / RECIPE_FILE), str(folder / RECIPE_FILE))
    except UserError:
        return {}
    return dict(recipe.sample.methods) if recipe.sample is not None else {}


def _with_methods(offer: Offer, methods: Mapping[str, Method]) -> Offer:
    """The offer with those methods whose models are there, or else with what its models suggest."""
    suggested: dict[str, Method] = {name: Method(generator=name) for name in offer.generators}
    if offer.score is not None:
        suggested["score model"] = Method()
        if offer.labels[SCORE] == "embedding":
            suggested["classifier-free"] = Method(guide="unlabelled", scale=2.0)
        if offer.labels[SCORE] != "separate":
            suggested |= {name: Method(classifier=name) for name in offer.classifiers}
    suggested |= {name: Method(score=name) for name in offer.scores if name not in suggested}
    ready = {name: method for name, method in methods.items() if _has_models(offer, method)}
    return replace(offer, methods=ready or suggested)


def _has_models(offer: Offer, method: Method) -> bool:
    try:
        offer.folders.files(method)
    except UserError:
        return False
    return method.scale != "calibrated" or method.classifier in offer.calibrated()


class ModelCache:
    """Models by folder, the last few kept in memory. A file that has changed since is read again."""

    def __init__(self) -> None:
        self._load = lru_cache(maxsize=_KEPT)(lambda kind, folder, device, stamp: kind.load(folder, device))

    def __call__(self, kind: type[Model], folder: Path, device: torch.device) -> Model:
        """The model of a folder."""
        model: Model = self._load(kind, folder, device, file_stamp(folder / MODEL_FILE))
        return model


def file_stamp(file: Path) -> tuple[int, int]:
    """Time of modification in ns, and size; zeros where there is no file."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size

"""What a folder offers to draw: models, classes and methods, also as the plain JSON that the page is built from."""

import contextlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.recipes.compose import read_yaml
from condgen.recipes.guidance import Method
from condgen.recipes.schema import Recipe
from condgen.runs.layout import RECIPE_FILE, SCORE, SNAPSHOTS, calibration_file, model_folders
from condgen.runs.models import Folders
from condgen.samplers.base import Sampler, evaluations_on
from condgen.samplers.catalogue import ADAPTIVE, SAMPLERS, build_sampler, grid_for, options_of
from condgen.score import ScoreModel
from condgen.settings import parse


@dataclass(frozen=True)
class Offer:
    name: str  # what the page is called
    names: tuple[str, ...]  # of the classes, by label
    shape: tuple[int, ...]  # of one sample
    folders: Folders  # of the models
    labels: Mapping[str, str]  # none, embedding or separate by score model, the main one under "score"
    methods: Mapping[str, Method] = field(default_factory=dict)  # ready-made, by name

    def knows_labels(self, method: Method) -> bool:
        """Whether a method's samples are of the class that is asked for."""
        chooses = method.generator is not None or method.classifier is not None
        return chooses or self.labels[method.score or SCORE] != "none"


def read_offer(folder: Path) -> Offer:
    """What a run folder, or that of a single model, offers; a UserError where no model draws."""
    kind = read_description(folder / MODEL_FILE).get("kind") if _has_model(folder) else None
    if kind == "generator":
        folders = Folders(generators={folder.resolve().name: folder})
    elif kind == "score model":
        folders = Folders(folder, _snapshots(folder))
    else:
        main = folder / SCORE if _has_model(folder / SCORE) else None
        scores = model_folders(folder, "score") | _snapshots(folder / SCORE)
        folders = Folders(main, scores, model_folders(folder, "classifier"), model_folders(folder, "generator"))
    scores = ({SCORE: folders.main} if folders.main is not None else {}) | dict(folders.scores)
    models = dict(folders.generators) | scores
    about = {name: read_description(place / MODEL_FILE) for name, place in models.items()}
    if not about:
        raise UserError(f"{folder} holds no trained model that could draw: name a run, a score model or a generator")
    first = next(iter(about.values()))
    with blamed_on(folder):
        classes, shape = tuple(map(str, first["names"])), tuple(map(int, first["shape"]))
    labels = {name: str(about[name].get("labels", "none")) for name in scores}
    offer = Offer(folder.resolve().name, classes, shape, folders, labels)
    return replace(offer, methods=_methods_of_recipe(folder, folders) or _suggested(offer))


def _has_model(folder: Path) -> bool:
    return (folder / MODEL_FILE).is_file()


def _snapshots(score: Path) -> dict[str, Path]:
    """Earlier states of a score model, which can guide it."""
    places = sorted(filter(_has_model, (score / SNAPSHOTS).glob("*")), key=lambda place: place.name.zfill(12))
    return {f"snapshot-{place.name}": place for place in places}


def _methods_of_recipe(folder: Path, folders: Folders) -> Mapping[str, Method]:
    """Those of a run whose models are there; none where its recipe is of another version."""
    found = {}
    with contextlib.suppress(UserError):
        recipe = parse(Recipe, read_yaml(folder / RECIPE_FILE), str(folder / RECIPE_FILE))
        for name, method in (recipe.sample.methods if recipe.sample else {}).items():
            with contextlib.suppress(UserError):
                if method.sampler in SAMPLERS and all(file.is_file() for file in folders.files(method)):
                    found[name] = method
    return found


def _suggested(offer: Offer) -> dict[str, Method]:
    methods = {name: Method(generator=name) for name in offer.folders.generators}
    if SCORE in offer.labels:
        methods["score model"] = Method()
        if offer.labels[SCORE] == "embedding":
            methods["classifier-free"] = Method(guide="unlabelled", scale=2.0)
        if offer.labels[SCORE] != "separate":
            methods |= {name: Method(classifier=name) for name in offer.folders.classifiers}
    return {name: Method(score=name) for name in offer.labels if name != SCORE} | methods


def describe_offer(offer: Offer, score: ScoreModel | None) -> dict[str, Any]:
    folders = offer.folders

    def about(method: Method) -> str:
        return f"generator {method.generator}" if method.generator else f"{method.in_words()}; {method.sampler}"

    return {
        "shape": offer.shape,
        "images": len(offer.shape) == 3,
        "classes": offer.names,
        "noise": (0.0, 0.0) if score is None else score.schedule.noise_range,
        "blank": Method().model_dump(mode="json"),
        "methods": [
            {"name": name, "method": method.model_dump(mode="json"), "about": about(method)}
            for name, method in offer.methods.items()
        ],
        "scores": [
            {"name": None if name == SCORE else name, "labels": labels, "guides": _guides(offer, name, labels)}
            for name, labels in offer.labels.items()
        ],
        "calibrated": [name for name, place in folders.classifiers.items() if calibration_file(place).is_file()],
        "generators": list(folders.generators),
        "samplers": [_describe_sampler(name, score) for name in SAMPLERS] if score is not None else [],
    }


def _guides(offer: Offer, name: str, labels: str) -> list[dict[str, str]]:
    classifiers = offer.folders.classifiers if labels != "separate" else ()
    others = [other for other in offer.labels if other != name]
    return [{"kind": "classifier", "name": classifier} for classifier in classifiers] + [
        {"kind": "guide", "name": guide} for guide in (["unlabelled"] if labels == "embedding" else []) + others
    ]


def _describe_sampler(name: str, score: ScoreModel) -> dict[str, Any]:
    facts = {
        "name": name,
        "about": (inspect.getdoc(SAMPLERS[name]) or "").partition("\n\n")[0].replace("\n", " "),
        "noise": SAMPLERS[name].info.noise,
        "adaptive": name in ADAPTIVE,
        "options": options_of(name).model_json_schema().get("properties", {}),
    }
    with contextlib.suppress(UserError):  # its default options do not suit this schedule; others may
        sampler = build_sampler(name, score)
        if isinstance(sampler, Sampler):
            facts["evaluations"] = evaluations_on(sampler, grid_for(sampler, None))
            facts["least"] = evaluations_on(sampler, grid_for(sampler, 2))
    return facts

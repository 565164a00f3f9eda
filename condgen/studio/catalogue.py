"""What a page is told once: classes, methods, models, samplers and their options, limits. Plain JSON."""

import inspect
from typing import Any, get_args, get_origin

import torch
from pydantic.fields import FieldInfo

from condgen import __version__
from condgen.errors import UserError
from condgen.recipes import Method
from condgen.runs.layout import SCORE
from condgen.samplers import FIXED, SAMPLERS, Sampler, build_sampler, evaluations_on, grid_for, options_of
from condgen.score import ScoreModel
from condgen.studio.ask import Limits
from condgen.studio.models import ModelCache, Offer

__all__ = ["describe_offer"]


def describe_offer(offer: Offer, limits: Limits, cache: ModelCache, device: torch.device) -> dict[str, Any]:
    """All that a page needs to build its controls."""
    place = offer.score or next(iter(offer.scores.values()), None)
    score = cache(ScoreModel, place, device) if place is not None else None
    low, high = score.schedule.noise_range if score is not None else (0.0, 0.0)
    return {
        "name": offer.name,
        "condgen": __version__,
        "shape": list(offer.shape),
        "images": offer.is_images,
        "classes": list(offer.names),
        "limits": {"samples": limits.most(offer.shape), "evaluations": limits.evaluations, "seconds": limits.seconds},
        "noise": [low, high],
        "blank": Method().model_dump(mode="json"),
        "methods": [
            {"name": name, "method": method.model_dump(mode="json"), "about": _in_words(method)}
            for name, method in offer.methods.items()
        ],
        "scores": [
            {"name": None if name == SCORE else name, "labels": labels, "guides": _guides(offer, name, labels)}
            for name, labels in offer.labels.items()
        ],
        "calibrated": offer.calibrated(),
        "generators": list(offer.generators),
        "samplers": [_describe_sampler(name, score) for name in SAMPLERS] if score is not None else [],
    }


def _in_words(method: Method) -> str:
    if method.generator is not None:
        return f"generator {method.generator}, in one step"
    return f"{method.in_words()}; {method.sampler}"


def _guides(offer: Offer, name: str, labels: str) -> list[dict[str, str]]:
    """What may guide a score model, by the setting that says so."""
    guides = []
    if labels != "separate":
        guides += [{"kind": "classifier", "name": classifier} for classifier in offer.classifiers]
    if labels == "embedding":
        guides.append({"kind": "guide", "name": "unlabelled"})
    return guides + [{"kind": "guide", "name": other} for other in offer.labels if other != name]


def _describe_sampler(name: str, score: ScoreModel) -> dict[str, Any]:
    info = SAMPLERS[name].info
    facts: dict[str, Any] = {
        "name": name,
        "about": (inspect.getdoc(SAMPLERS[name]) or "").partition("\n\n")[0].replace("\n", " "),
        "noise": info.noise,
        "adaptive": name not in FIXED,
        "options": [_describe_option(option, field) for option, field in options_of(name).model_fields.items()],
    }
    return facts | _counts(name, score)


def _counts(name: str, score: ScoreModel) -> dict[str, int]:
    """How many evaluations a sampler makes by default, and at least; nothing where it finds out on the way."""
    try:
        sampler = build_sampler(name, score)
        if not isinstance(sampler, Sampler):
            return {}
        counts = {"evaluations": None, "least": sampler.least_points}
        return {what: evaluations_on(sampler, grid_for(sampler, points)) for what, points in counts.items()}
    except UserError:  # its default options do not suit this schedule; others may
        return {}


def _describe_option(name: str, field: FieldInfo) -> dict[str, Any]:
    choices = list(get_args(field.annotation)) if get_origin(field.annotation) is not None else []
    plain = [choice for choice in choices if not isinstance(choice, type)]
    kind = "choice" if plain else "number"
    if field.annotation is bool:
        kind = "switch"
    bounds = {
        bound: getattr(constraint, sign)
        for constraint in field.metadata
        for sign, bound in (("ge", "low"), ("gt", "low"), ("le", "high"), ("lt", "high"))
        if hasattr(constraint, sign)
    }
    whole = field.annotation is int
    facts = {"name": name, "kind": kind, "default": field.default, "help": field.description or "", "whole": whole}
    return facts | bounds | ({"choices": plain} if plain else {})

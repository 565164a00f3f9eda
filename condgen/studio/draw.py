"""From a page's request to samples, those of `condgen sample` bit for bit, their cost, and its command line."""

import base64
import json
import math
import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from pydantic import Field, field_validator

from condgen.data.labelled import class_index
from condgen.errors import UserError, explain
from condgen.files import parse_json
from condgen.recipes.guidance import Method
from condgen.recipes.schema import SampleStage
from condgen.runs.models import Load, load_anew
from condgen.runs.sample import open_light, tell_unusable
from condgen.runs.sample_folder import encode_samples
from condgen.samplers.base import Finished, Sampler, evaluations_on
from condgen.samplers.catalogue import SAMPLERS, options_of
from condgen.settings import Settings, parse
from condgen.studio.offer import Offer

Tell: TypeAlias = Callable[[int, int | None], None]
SAMPLES = 250  # in one batch of `condgen sample`, so that pictures are the same bit for bit
EVALUATIONS = 2000  # of a sampler on a time grid, a sample
_NUMBERS = 2**24  # of all samples together: 250 pictures of 3 x 149 x 149
_LARGEST_OPTION = 10_000  # of those that count something: steps, points, repeats


class Ask(Settings):
    label: int | None = Field(default=None, ge=0, description="of a class; null is all of them")
    per_class: int = Field(default=8, ge=1, description="samples of each class that is asked for")
    seed: int = Field(default=0, ge=0, lt=2**32, description="sample i has seed + i")
    method: Method = Field(default_factory=Method)

    @field_validator("method")
    @classmethod
    def _is_bounded(cls, method: Method) -> Method:
        if method.sampler not in SAMPLERS:
            raise ValueError("a request names a built-in sampler: nothing is imported for it")
        for name, value in parse(options_of(method.sampler), method.options, f"sampler {method.sampler}"):
            if isinstance(value, int) and value > _LARGEST_OPTION:
                raise ValueError(f"option {name} is at most {_LARGEST_OPTION:,} here (it is {value:,})")
        return method


def parse_ask(text: bytes | str, offer: Offer) -> Ask:
    """What a request's JSON asks for; a UserError where it is wrong, or not offered."""
    with explain("the request is not JSON", 'send an object such as {"label": 3}', ValueError):
        tree = parse_json(text)
    ask = parse(Ask, tree, "request")
    stage_of(ask, offer)
    return ask


def most_samples(shape: Sequence[int]) -> int:
    return max(1, min(SAMPLES, _NUMBERS // math.prod(shape)))


def stage_of(ask: Ask, offer: Offer) -> SampleStage:
    """The stage that draws what is asked for, all classes in turn where none is chosen; UserError for others."""
    classes = range(len(offer.names))
    if ask.label is not None and ask.label not in classes:
        raise UserError(f"request: label: there is no class {ask.label}: labels go from 0 to {len(classes) - 1}")
    offer.folders.files(ask.method)
    knows, chosen = offer.knows_labels(ask.method), classes if ask.label is None else [ask.label]
    total, most = ask.per_class * (len(chosen) if knows else 1), most_samples(offer.shape)
    if total > most:
        raise UserError(f"request: per_class: {total:,} samples are too many at once: at most {most}")
    tree = {"method": ask.method, "classes": tuple(chosen if knows else classes), "n": total, "seed": ask.seed}
    return parse(SampleStage, tree, "request")


def command_line(ask: Ask, offer: Offer) -> str:
    method, folders, names = ask.method, offer.folders, offer.names
    models = {
        "--generator": folders.generator(method.generator) if method.generator is not None else None,
        "--score": folders.score(method.score) if method.generator is None else None,
        "--classifier": folders.classifier(method.classifier) if method.classifier is not None else None,
        "--guide": folders.score(method.guide) if method.guide not in (None, "unlabelled") else method.guide,
    }
    words = [str(word) for option, place in models.items() if place is not None for word in (option, place)]
    knows = offer.knows_labels(method)
    if knows and ask.label is not None:
        word = names[ask.label]
        if word.strip(" -") != word or "," in word or word == "all" or class_index(names, word) != ask.label:
            word = str(ask.label)
        words += ["--class", word]
    words += ["--per-class" if knows else "--n", str(ask.per_class), "--seed", str(ask.seed)]
    for key in ("sampler", "steps", "nfe", "scale", "interval", "options", "grid", "precision"):
        value = getattr(method, key)
        if value != getattr(Method(), key):
            text = value if isinstance(value, str) else json.dumps(value)
            is_option = key in ("sampler", "steps", "nfe", "scale")
            words += [f"--{key}", text] if is_option else ["--set", f"method.{key}={text}"]
    return shlex.join(["condgen", "sample", *words, "--out", "runs/samples"])


def draw_ask(ask: Ask, offer: Offer, load: Load, device: torch.device, tell: Tell) -> dict[str, Any]:
    """Draws what is asked for: samples, cost and command, as plain JSON; a UserError says what cannot be drawn.

    `load` keeps models. `tell` is called before every evaluation of a denoiser with those so far and those that there
    will be, where that is known; it may raise to stop.
    """
    stage = stage_of(ask, offer)
    # In bfloat16 a network is changed in place, so that one is not kept.
    source = open_light(stage, offer.folders, device, load if ask.method.precision == "float32" else load_anew)
    expected = None
    if isinstance(source.model, Sampler) and source.grid is not None:
        expected = evaluations_on(source.model, source.grid)
        if expected > EVALUATIONS:
            raise UserError(f"request: method: {expected:,} evaluations a sample are too many: at most {EVALUATIONS:,}")
    n, done, finished = stage.n, 0, list[Finished]()
    labels, seeds = [stage.label(place) for place in range(n)], range(stage.seed, stage.seed + n)

    def count(*_: object) -> None:
        nonlocal done
        tell(done, expected)
        done += 1

    handle = source.network.register_forward_hook(count)
    try:
        with source.counted() as evaluations:
            started = time.perf_counter()
            for found in source.draw(labels, seeds, n):
                finished += found
            finished.sort(key=lambda sample: sample.number)
            x = torch.stack([sample.x for sample in finished])
            seconds = time.perf_counter() - started
    finally:
        handle.remove()
    if lost := [(sample.number, sample.problem) for sample in finished if sample.problem is not None]:
        raise UserError(f"request: {tell_unusable(lost, stage, source.names, n - len(lost))}")
    pairs = zip(labels, seeds, strict=True)
    rows = [{"class": label, "name": source.names[label], "seed": seed} for label, seed in pairs]
    asked = sum(sample.evaluations for sample in finished)
    return {
        "samples": [
            row if picture is None else row | {"png": base64.b64encode(picture).decode()}
            for row, picture in encode_samples(range(n), x, rows)
        ],
        "labelled": offer.knows_labels(ask.method),
        "cost": {
            "samples": n,
            "evaluations": round(asked / n, 1),
            "network": round(evaluations(asked) / n, 1),
            "seconds": round(seconds, 4),
        },
        "command": command_line(ask, offer),
    }

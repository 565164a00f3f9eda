"""What the page may ask for, checked before any work, and the command line that draws the same."""

import json
import math
import shlex
from collections.abc import Sequence

from pydantic import Field, field_validator

from condgen.data import class_index
from condgen.errors import UserError
from condgen.files import parse_json
from condgen.recipes import Method, SampleStage
from condgen.samplers import SAMPLERS, options_of
from condgen.settings import Settings, parse
from condgen.studio.offer import Offer

SAMPLES = 250  # in one batch of `condgen sample`, so that pictures are the same bit for bit
EVALUATIONS = 2000  # of a sampler on a time grid, a sample
_NUMBERS = 2**24  # of all samples together: 250 pictures of 3 x 149 x 149
_LARGEST_OPTION = 10_000  # of those that count something: steps, points, repeats


class Ask(Settings):
    """A set of samples."""

    label: int | None = Field(default=None, ge=0, description="of a class; null is all of them")
    per_class: int = Field(default=8, ge=1, description="samples of each class that is asked for")
    seed: int = Field(default=0, ge=0, lt=2**32, description="sample i has seed + i")
    method: Method = Field(default_factory=Method)

    @field_validator("method")
    @classmethod
    def _is_bounded(cls, method: Method) -> Method:
        if method.sampler not in SAMPLERS:
            raise ValueError("a request names a built-in sampler: nothing is imported for it")
        options = parse(options_of(method.sampler), method.options, f"sampler {method.sampler}")
        for name, value in options:
            if isinstance(value, int) and value > _LARGEST_OPTION:
                raise ValueError(f"option {name} is at most {_LARGEST_OPTION:,} here (it is {value:,})")
        for name in ("steps", "nfe"):
            if (getattr(method, name) or 0) > EVALUATIONS:
                raise ValueError(f"{name}: at most {EVALUATIONS:,} here")
        return method


def parse_ask(text: bytes | str) -> Ask:
    """What a request's JSON asks for.

    Raises:
        UserError: one line that names the setting that is wrong.
    """
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise UserError('the request is not JSON: send an object such as {"label": 3}') from error
    return parse(Ask, tree, "request")


def most_samples(shape: Sequence[int]) -> int:
    """Samples of this shape that one request may ask for."""
    return max(1, min(SAMPLES, _NUMBERS // math.prod(shape)))


def stage_of(ask: Ask, offer: Offer) -> SampleStage:
    """The settings of the sampling stage that draws what is asked for.

    Where a method does not choose a class, classes take turns, as in `condgen sample --n`.

    Raises:
        UserError: for a class, a model or a size that is not offered.
    """
    classes = range(len(offer.names))
    if ask.label is not None and ask.label not in classes:
        raise UserError(f"request: label: there is no class {ask.label}: labels go from 0 to {len(classes) - 1}")
    offer.folders.files(ask.method)
    chosen = [ask.label] if ask.label is not None else classes
    total, spread = ask.per_class * len(chosen), chosen
    if not offer.knows_labels(ask.method):
        total, spread = ask.per_class, classes
    most = most_samples(offer.shape)
    if total > most:
        raise UserError(f"request: per_class: {total:,} samples are too many at once: at most {most}")
    return parse(SampleStage, {"method": ask.method, "classes": tuple(spread), "n": total, "seed": ask.seed}, "request")


def command_line(ask: Ask, offer: Offer) -> str:
    """The `condgen sample` that draws the same pictures."""
    method, folders, words = ask.method, offer.folders, ["condgen", "sample"]
    if method.generator is not None:
        words += ["--generator", str(folders.generator(method.generator))]
    else:
        words += ["--score", str(folders.score(method.score))]
    if method.classifier is not None:
        words += ["--classifier", str(folders.classifier(method.classifier))]
    if method.guide is not None:
        words += ["--guide", "unlabelled" if method.guide == "unlabelled" else str(folders.score(method.guide))]
    if not offer.knows_labels(method):
        words += ["--n", str(ask.per_class)]
    else:
        words += ["--class", _class_word(offer.names, ask.label)] if ask.label is not None else []
        words += ["--per-class", str(ask.per_class)]
    words += ["--seed", str(ask.seed)]
    for key in ("sampler", "steps", "nfe", "scale", "interval", "options", "grid", "precision"):
        value = getattr(method, key)
        if value != Method.model_fields[key].get_default(call_default_factory=True):
            text = value if isinstance(value, str) else json.dumps(value)
            words += (
                [f"--{key}", text] if key in ("sampler", "steps", "nfe", "scale") else ["--set", f"method.{key}={text}"]
            )
    return shlex.join([*words, "--out", "runs/samples"])


def _class_word(names: Sequence[str], label: int) -> str:
    """A class by its name where that is clear, or else by its number."""
    name = names[label]
    plain = "," not in name and name.strip() == name and name != "all" and not name.startswith("-")
    return name if plain and class_index(names, name) == label else str(label)

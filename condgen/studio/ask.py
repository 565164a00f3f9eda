"""What a page may ask for, checked before any work, and the command line that asks for the same."""

import json
import math
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from condgen.data import class_index
from condgen.errors import UserError
from condgen.files import parse_json
from condgen.recipes import Method, SampleStage, labels_spread
from condgen.samplers import SAMPLERS, options_of
from condgen.settings import Settings, parse
from condgen.studio.models import Offer

__all__ = ["Ask", "Limits", "command_line", "parse_ask", "stage_of"]

_LARGEST_OPTION = 10_000  # of those that count something: steps, points, repeats


class Limits(NamedTuple):
    """What one request may cost."""

    samples: int = 250  # in one batch of `condgen sample`, so that pictures are the same bit for bit
    evaluations: int = 2000  # of a sampler on a time grid, per sample
    numbers: int = 2**24  # of all samples together: 250 pictures of 3 x 149 x 149
    seconds: float = 60.0  # of drawing
    waiting: int = 32  # requests in line, beside the one being drawn
    body: int = 16_384  # bytes of a request

    def most(self, shape: Sequence[int]) -> int:
        """Samples of this shape that one request may ask for."""
        return max(1, min(self.samples, self.numbers // max(1, math.prod(shape))))


class Ask(Settings):
    """A set of samples."""

    label: int | None = Field(default=None, ge=0, description="of a class; null is all of them")
    per_class: int = Field(default=8, ge=1, description="samples of each class that is asked for")
    seed: int = Field(default=0, ge=0, lt=2**32, description="sample i has seed + i")
    method: Method = Field(default_factory=Method)

    @field_validator("method")
    @classmethod
    def _options_bounded(cls, method: Method, _: ValidationInfo) -> Method:
        if method.sampler not in SAMPLERS:
            raise ValueError("a request names a built-in sampler: nothing is imported for it")
        for name, value in method.options.items():
            if isinstance(value, str) and len(value) > 40:
                raise ValueError(f"option {name} is too long")
        # As the sampler will have them: 1e9, and even "1000000000", is a whole number there.
        options = parse(options_of(method.sampler), method.options, f"sampler {method.sampler}")
        for name in type(options).model_fields:
            value = getattr(options, name)
            if isinstance(value, int) and value > _LARGEST_OPTION:
                raise ValueError(f"option {name} is at most {_LARGEST_OPTION:,} here (it is {value:,})")
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
    if not isinstance(tree, dict):
        raise UserError('the request is not a JSON object: send one such as {"label": 3}')
    return parse(Ask, tree, "request")


def stage_of(ask: Ask, offer: Offer, limits: Limits) -> SampleStage:
    """The settings of the sampling stage that draws it.

    Where a method does not choose a class, labels are as `condgen sample --n` spreads them: its samples do not depend
    on them.

    Raises:
        UserError: for a class, a model or a size that is not offered.
    """
    if ask.label is not None and ask.label >= len(offer.names):
        raise UserError(f"request: label: there is no class {ask.label}: labels go from 0 to {len(offer.names) - 1}")
    offer.folders.files(ask.method)
    chosen = [ask.label] if ask.label is not None else list(range(len(offer.names)))
    if not offer.knows_labels(ask.method):
        total, spread = ask.per_class, list(range(len(offer.names)))
    else:
        total, spread = ask.per_class * len(chosen), chosen
    most = limits.most(offer.shape)
    if total > most:  # before any list of so many is made
        each = most // len(chosen)
        hint = f"at most {each} of each of {len(chosen)} classes" if each else "choose a class"
        if len(chosen) == 1 or total == ask.per_class:
            hint = f"at most {most}"
        raise UserError(f"request: per_class: {total:,} samples are too many at once: {hint}")
    labels = labels_spread(total, spread)
    for what in ("steps", "nfe"):
        if (getattr(ask.method, what) or 0) > limits.evaluations:
            raise UserError(f"request: method.{what}: at most {limits.evaluations:,} here")
    labels = labels_spread(total, spread)  # after it is known how many: a request may name any number
    return parse(SampleStage, {"method": ask.method, "labels": labels, "seed": ask.seed}, "request")


def command_line(ask: Ask, offer: Offer) -> str:
    """The `condgen sample` that draws the same pictures."""
    method, folders = ask.method, offer.folders
    words: list[str] = ["condgen", "sample"]
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
        if ask.label is not None:
            words += _class_words(offer.names, ask.label)
        words += ["--per-class", str(ask.per_class)]
    words += ["--seed", str(ask.seed)]
    if method.generator is None:
        words += _how(method)
    if method.precision != "float32":
        words += ["--set", f"method.precision={method.precision}"]
    return shlex.join([*words, "--out", "runs/samples"])


def _how(method: Method) -> list[str]:
    words = ["--sampler", method.sampler]
    for name, value in method.options.items():
        words += ["--option", f"{name}={json.dumps(value)}"]
    given: list[tuple[str, Any]] = [("--steps", method.steps), ("--nfe", method.nfe)]
    if method.grid is not None:
        given.append(("--set", f"method.grid={method.grid}"))
    if method.classifier is not None or method.guide is not None:
        given.append(("--scale", f"{method.scale:g}" if isinstance(method.scale, float) else method.scale))
    words += [word for flag, value in given if value is not None for word in (flag, str(value))]
    if method.interval is not None:
        words += ["--interval", *(repr(level) for level in method.interval)]
    return words


def _class_words(names: Sequence[str], label: int) -> list[str]:
    """A class by its name where that is clear, or else by its number."""
    name = names[label]
    plain = "," not in name and name.strip() == name and name != "all" and class_index(names, name) == label
    return [f"--class={name}"] if plain and name.startswith("-") else ["--class", name if plain else str(label)]

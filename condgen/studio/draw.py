"""From a request to samples and what they cost.

Samples come about by the code of `condgen sample`, in one batch: the same settings, models and seed give the same
pictures, bit for bit.
"""

import base64
import time
from collections.abc import Callable
from typing import Any

import torch

from condgen.errors import UserError
from condgen.generator import Generator
from condgen.runs.models import Load, load_anew
from condgen.runs.sample import Source, open_light, tell_unusable, unusable
from condgen.runs.sample_folder import encode_samples
from condgen.samplers import Finished, Sampler, evaluations_on
from condgen.studio.ask import EVALUATIONS, Ask, command_line, stage_of
from condgen.studio.offer import Offer

Tell = Callable[[int, int | None], None]  # evaluations so far, and how many there will be where that is known


def draw_ask(ask: Ask, offer: Offer, load: Load, device: torch.device, tell: Tell = lambda *_: None) -> dict[str, Any]:
    """Draws what is asked for: samples, cost and command, as plain JSON.

    `load` keeps the models that were used before; `tell` is called before every evaluation of a denoiser is used, and
    may raise to stop.

    Raises:
        UserError: where it cannot be drawn as asked.
    """
    stage = stage_of(ask, offer)
    # In bfloat16 a network is changed in place, so that one is not kept.
    source = open_light(stage, offer.folders, device, load if ask.method.precision == "float32" else load_anew)
    n, expected, done, finished = stage.n, _expected(source), 0, list[Finished]()

    labels = [stage.label(place) for place in range(n)]

    def count(*_: object) -> None:
        nonlocal done
        tell(done, expected)
        done += 1

    model = source.model if isinstance(source.model, Generator) else source.model.denoiser
    handle = model.register_forward_hook(count)
    try:
        with source.counted() as evaluations:
            started = time.perf_counter()
            for found in source.draw(labels, range(stage.seed, stage.seed + n), n):
                finished += found
            finished.sort(key=lambda sample: sample.number)
            x = torch.stack([sample.x for sample in finished]).cpu()
            seconds = time.perf_counter() - started
    finally:
        handle.remove()
    lost = [unusable(sample, stage, sample.number) for sample in finished if sample.problem is not None]
    if lost:
        raise UserError(f"request: {tell_unusable(lost, source.names, n - len(lost))}")
    rows = [
        {"class": label, "name": source.names[label], "seed": stage.seed + place} for place, label in enumerate(labels)
    ]
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
            "network": round(evaluations.of(asked) / n, 1),
            "seconds": round(seconds, 4),
        },
        "command": command_line(ask, offer),
    }


def _expected(source: Source) -> int | None:
    """Evaluations that every sample will take; None where its sampler finds out on the way."""
    if not isinstance(source.model, Sampler) or source.grid is None:
        return None
    expected = evaluations_on(source.model, source.grid)
    if expected > EVALUATIONS:
        raise UserError(
            f"request: method: these settings make {expected:,} evaluations a sample, more than {EVALUATIONS:,}: ask "
            "for fewer"
        )
    return expected

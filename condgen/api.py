"""Three calls for a notebook: load a model, draw samples, measure scores against the exact ones of a data set."""

from collections.abc import Mapping, Sequence
from itertools import chain
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.classifier import Classifier
from condgen.denoiser import Denoiser, Likelihood, evaluated
from condgen.diagnostics.score_errors import ErrorRow, draw_queries, join_errors, measure_levels, summarise
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.hub import model_folder
from condgen.model import Model
from condgen.oracle import Oracle
from condgen.rng import device_of, keyed_generator
from condgen.samplers.adaptive.loop import AdaptiveSampler
from condgen.samplers.base import Sampler
from condgen.samplers.catalogue import build_sampler, grid_for
from condgen.samplers.draw import draw
from condgen.score import ScoreModel

_MODELS: dict[str, type[Model[Any]]] = {model.kind: model for model in (ScoreModel, Classifier, Generator)}


def load(source: str | Path, device: torch.device | str = "cpu", *, trust: bool = False) -> Any:  # noqa: ANN401
    """The frozen model in a folder, or at `hf:owner/name[/sub-folder]`, which may name code to import with `trust`."""
    folder = model_folder(source)
    kind = str(read_description(folder / MODEL_FILE).get("kind"))
    if kind not in _MODELS:
        raise UserError(f"{folder} holds a {kind}, where one of these is needed: {', '.join(_MODELS)}")
    return _MODELS[kind].load(folder, device, trust=trust)


@torch.no_grad()
def sample(
    model: Denoiser | Generator,
    y: Tensor | Sequence[int] | None = None,
    n: int | None = None,
    *,
    sampler: str = "unipc",
    nfe: int | None = None,
    seed: int | Sequence[int] = 0,
    shape: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    batch: int = 256,
) -> Tensor:
    """Samples, (n, *shape), each of which depends on its own seed and label alone: images range from -1 to 1.

    Args:
        model: a denoiser, guided or not, or a generator.
        y: a label for each sample, (n,), or what a guiding classifier's head takes; None for a model that needs none.
        n: how many samples, where y is None.
        sampler: a name that `condgen samplers` lists; a generator takes one step instead.
        nfe: denoiser evaluations for each sample at most; by default what suits the sampler.
        seed: of the first sample, and the next number for each further one; or a seed for each.
        shape: of one sample, where the model does not know it.
        options: of the sampler.
        batch: samples under way at once.

    Raises:
        ValueError: arguments do not go together.
        UserError: an option is out of its bounds, or a sample is not finite.
    """
    if not isinstance(model, Denoiser | Generator):
        raise TypeError(f"sample takes a denoiser or a generator, not {type(model).__name__}: put it in ScoreModel")
    device = device_of(model)
    labels = None if y is None else torch.as_tensor(y, device=device)
    heads = {getattr(part, "head", "categorical") for part in model.modules() if isinstance(part, Likelihood)}
    whole = labels is not None and labels.ndim == 1 and not (labels.is_floating_point() and len(labels))
    if labels is not None and not whole and (labels.ndim == 0 or not heads):
        raise TypeError(f"y holds a whole number for each sample, (n,), not {labels.dtype} {tuple(labels.shape)}")
    count = n if labels is None else len(labels)
    if count is None or n not in (None, count):
        raise ValueError(f"give y, a label for each sample, or n, how many samples, not {count} labels and n = {n}")
    seeds = range(int(seed), int(seed) + count) if isinstance(seed, int | Integral) else list(seed)
    if len(seeds) != count:
        raise ValueError(f"there are {len(seeds)} seeds for {count} samples: give one number, or a seed for each")
    models = [module for module in model.modules() if isinstance(module, Model)]
    classes = next((len(part.names) for part in models if part.names), None)
    if labels is not None and whole and heads <= {"categorical"}:
        labels = labels.long()
        if classes is not None and any(not 0 <= label < classes for label in labels.tolist()):
            raise ValueError(f"labels lie in 0 to {classes - 1}, which {labels.tolist()[:8]} do not")
    solver = model if isinstance(model, Generator) else build_sampler(sampler, model, options)
    grid = grid_for(solver, nfe=nfe) if isinstance(solver, Sampler) else None
    if isinstance(solver, AdaptiveSampler) and nfe is not None:
        raise ValueError(f"{sampler} chooses its own steps: leave nfe out, or set its tolerance by options")
    known = (tuple(part.shape) for part in model.modules() if hasattr(part, "shape"))  # type: ignore[arg-type]
    if (shape := shape or next(known, None)) is None:
        raise ValueError("this denoiser does not know the shape of a sample: give shape=")
    with evaluated(model):
        drawn = chain.from_iterable(draw(solver, grid, seeds, labels, shape, batch, device))
        finished = sorted(drawn, key=lambda one: one.number)
    if bad := [one for one in finished if one.problem is not None]:
        raise UserError(f"{len(bad)} of {count} samples cannot be used; seed {seeds[bad[0].number]}: {bad[0].problem}")
    return torch.stack([one.x for one in finished]) if finished else torch.empty(0, *shape, device=device)


def diagnose(
    score: Denoiser,
    methods: Mapping[str, Denoiser],
    x: Tensor,
    y: Tensor,
    *,
    levels: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0),
    n: int = 500,
    seed: int = 0,
) -> list[ErrorRow]:
    """Errors of estimated scores at noised data, against the exact scores of the data set itself.

    The exact scores are those of the noised training set (`Oracle`): data x (N, ...), floats as the models see them or
    bytes, with labels y (N,). Errors are in units of one over x_t at `n` noised data a level, sigma / alpha: D of the
    unconditional score, and of the guided or conditional methods D_P and, where a classifier guides, D_L.
    """
    oracle = Oracle(score.schedule, x, y, int(y.max()) + 1)
    queries = draw_queries(oracle, n, keyed_generator(seed))
    parts = [queries.at(slice(start, start + oracle.at_once)) for start in range(0, n, oracle.at_once)]
    with evaluated(score, *methods.values()):
        found = [list(measure_levels(oracle, score, methods, levels, part)) for part in parts]
    errors = [join_errors(of_level) for of_level in zip(*found, strict=True)]
    return [row for level, of_level in zip(levels, errors, strict=True) for row in summarise(level, "data", of_level)]

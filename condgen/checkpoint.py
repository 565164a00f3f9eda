"""Model files: safetensors with a JSON description that suffices to rebuild the network with no recipe.

Nothing is ever unpickled.
"""

import json
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from condgen.errors import UserError
from condgen.files import is_file, parse_json, write_atomically
from condgen.settings import imported_targets

__all__ = [
    "MODEL_FILE",
    "TooLargeError",
    "load_into",
    "load_model",
    "load_tensors",
    "read_description",
    "read_shapes",
    "save_tensors",
    "trusted_imports",
    "within_reason",
]

MODEL_FILE = "model.safetensors"
_FACTOR, _ADDED, _NUMBERS = 4, 100, 10**6  # of what building may make for each that stays: some is replaced at once
_FLOATS = ("F64", "F32", "F16", "BF16")

Model = TypeVar("Model", bound=nn.Module)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Writes tensors and a JSON description to one safetensors file, atomically."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(ready, metadata={"condgen": json.dumps(description)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_tensors` wrote.

    Raises:
        UserError: where the file is missing, cut short, damaged, or not one of condgen's.
    """
    with _opened(path) as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, _description(file, path)


def read_description(path: Path) -> dict[str, Any]:
    """What a model file says of its model, read without the tensors; raises what `load_tensors` does."""
    with _opened(path) as file:
        return _description(file, path)


def read_shapes(path: Path) -> list[tuple[int, ...]]:
    """Shapes of the weights in a safetensors file of others, read without the weights.

    Raises:
        UserError: the file is missing or damaged, or holds what are no weights: tensors of no real numbers.
    """
    with _opened(path) as file:
        found = [(name, file.get_slice(name)) for name in file.keys()]  # noqa: SIM118
        for name, tensor in found:
            if tensor.get_dtype() not in _FLOATS:
                raise UserError(f"{path} holds {tensor.get_dtype()} in {name}, where weights are needed: save it again")
        return [tuple(tensor.get_shape()) for _, tensor in found]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not is_file(path):
        raise UserError(f"{path} does not exist: name a folder that a condgen command has written and finished")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is damaged or cut short ({error}): copy it again, or delete it and train again"
        ) from error


def _description(file: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401 - safe_open has no type of its own
    try:
        description = parse_json((file.metadata() or {})["condgen"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} was not written by condgen: it carries no description of the model") from error
    if not isinstance(description, dict):
        raise UserError(f"{path} was not written by condgen: its description is no JSON object")
    return description


_TRUSTED: ContextVar[frozenset[str]] = ContextVar("trusted_imports", default=frozenset())
_ANY = "*"


@contextmanager
def trusted_imports(*targets: str) -> Iterator[None]:
    """Inside, model files may name these import paths, as `package.module:Name`; without any, every one."""
    token = _TRUSTED.set(_TRUSTED.get() | (set(targets) or {_ANY}))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def load_model(
    folder: Path,
    kind: str,
    build: Callable[[Mapping[str, Any]], Model],
    device: torch.device | str = "cpu",
    *,
    trust: bool = False,
) -> Model:
    """Rebuilds the model of a run folder from its description, frozen and ready to be evaluated.

    Args:
        folder: the run folder.
        kind: the kind of model that is needed.
        build: makes the module from the description.
        device: where it goes.
        trust: whether the description may name code to import, as that of a network of one's own does.

    Raises:
        UserError: where there is no such model, it is of another kind, names code that is not trusted, or is damaged.
    """
    path = folder / MODEL_FILE
    tensors, description = load_tensors(path)
    found = description.get("kind", "something unnamed")
    if found != kind:
        raise UserError(f"{path} holds a {found}, where a {kind} is needed: check which folder goes with which option")
    named = sorted(set(imported_targets(description)) - _TRUSTED.get())
    if named and not (trust or _ANY in _TRUSTED.get()):
        raise UserError(
            f"{path} names code to run, {named[0]}, which is not part of condgen: if you trust whoever made it, pass "
            "--trust (in Python trust=True)"
        )
    model = _built(build, description, tensors, path)
    load_into(model, tensors, path)
    return model.to(device).eval().requires_grad_(False)


class TooLargeError(Exception):
    """A network has turned out larger than it may be."""


def _built(
    build: Callable[[Mapping[str, Any]], Model],
    description: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    path: Path,
) -> Model:
    """The network that is described, if it is about as large as what the file holds.

    A few bytes can describe a network of any size, so it is not finished, and its memory not touched, once it is
    larger: what a layer allocates is written to after it is known to the network.
    """
    try:
        with within_reason([tensor.shape for tensor in tensors.values()]):
            return build(description)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{path} describes a model that this version cannot build ({key}): train it again") from error
    except TooLargeError as error:
        raise UserError(f"{path} describes a far larger model than it holds: copy it again, or train again") from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} describes a model that cannot be built ({reason}): train it again") from error


@contextmanager
def within_reason(held: Collection[Sequence[int]]) -> Iterator[None]:
    """Ends the building of a network by this thread once it is far larger than the tensors that are to fill it.

    Args:
        held: their shapes.

    Raises:
        TooLargeError: it is.
    """
    left = [_FACTOR * len(held) + _ADDED, _FACTOR * sum(map(math.prod, held)) + _NUMBERS]
    ours = threading.get_ident()

    def note(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        if parameter is not None and threading.get_ident() == ours:
            left[0] -= 1
            left[1] -= parameter.numel()
            if min(left) < 0:
                raise TooLargeError

    handle = register_module_parameter_registration_hook(note)
    try:
        yield
    finally:
        handle.remove()


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fills a module with exactly these tensors; a missing, surplus or misshapen one is an error that names it."""
    _check(module, tensors, path)
    module.load_state_dict(dict(tensors))


def _check(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    wrong = [
        *(f"missing {name}" for name in own.keys() - tensors.keys()),
        *(f"unknown {name}" for name in tensors.keys() - own.keys()),
        *(
            f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
            for name in own.keys() & tensors.keys()
            if own[name].shape != tensors[name].shape
        ),
        *(
            f"{name} holds {tensors[name].dtype}, not {own[name].dtype}"
            for name in own.keys() & tensors.keys()
            if own[name].is_floating_point() != tensors[name].is_floating_point()
        ),
    ]
    if wrong:
        raise UserError(f"{path} does not fit the architecture it describes: {sorted(wrong)[0]} ({len(wrong)} in all)")
    bad = sorted(name for name, tensor in tensors.items() if not bool(tensor.isfinite().all()))
    if bad:
        raise UserError(
            f"{path} holds weights that are not finite numbers, first in {bad[0]} ({len(bad)} of {len(tensors)} "
            "tensors): it is damaged, or its training went wrong; take another checkpoint, or train it again"
        )

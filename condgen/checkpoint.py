"""Model files: safetensors with a JSON description that rebuilds the network. Nothing is ever unpickled."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from condgen.errors import UserError, explain
from condgen.files import blamed_on, parse_json, write_atomically
from condgen.settings import imported_targets

MODEL_FILE = "model.safetensors"
_TRUSTED: ContextVar[frozenset[str]] = ContextVar("trusted_imports", default=frozenset())


def save_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    # Clones, since networks may share weights, and a file may not.
    ready = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(ready, metadata={"condgen": json.dumps(description)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; UserError where the file is missing or damaged."""
    with _opened(path) as (file, description):
        return {name: file.get_tensor(name) for name in file.keys()}, description  # noqa: SIM118


def read_description(path: Path) -> dict[str, Any]:
    with _opened(path) as (_, description):
        return description


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    if not os.path.isfile(path):  # `Path.is_file` raises for some paths
        raise UserError(f"{path} does not exist: name a folder that a condgen command has written and finished")
    damaged = f"{path} is damaged or cut short", "copy it again, or train again"
    with explain(*damaged, SafetensorError, OSError), safe_open(path, framework="pt") as file:
        with blamed_on(path):
            description = dict(parse_json((file.metadata() or {})["condgen"]))
        yield file, description


@contextmanager
def trusted_imports(targets: Iterable[str] = ("*",)) -> Iterator[None]:
    """Inside, model files may name these import paths, as `package.module:Name`; by default every one."""
    token = _TRUSTED.set(_TRUSTED.get() | set(targets))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def require_trust(description: Mapping[str, Any], path: Path, *, trust: bool) -> None:
    named = sorted(set(imported_targets(description)) - _TRUSTED.get())
    if named and not (trust or "*" in _TRUSTED.get()):
        raise UserError(f"{path} names code to run, {named[0]}: if you trust its maker, pass --trust (trust=True)")


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """UserError where a tensor is missing, surplus, of another shape, or not finite."""
    for name, tensor in tensors.items():
        if tensor.is_complex() or not bool(tensor.isfinite().all()):
            raise UserError(f"{path} holds weights that are not finite numbers, in {name}: take another or train again")
    with explain(f"{path} does not fit the architecture it describes", "take another or train again", RuntimeError):
        module.load_state_dict(dict(tensors))

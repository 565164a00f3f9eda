r"""The gradient of a batch, a part of its rows at a time.

All draws are made before, for the whole batch. The loss of a batch is a mean over its rows, so that its gradient is a
sum over parts,

.. math:: \nabla \tfrac1n \sum_{i=1}^n L_i = \sum_{\text{parts}} \nabla \tfrac1n \sum_{i \in \text{part}} L_i,

and parts change it by rounding alone, or by other dropout masks. What a forward pass in training changes (the vectors
of spectral normalisation) changes in the first part only, as with the whole batch.

Each process chooses its own parts: gradients are averaged over processes only after all parts are through, so that a
process that is short of memory needs nobody's consent.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import psutil
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from condgen.errors import UserError
from condgen.losses import Losses

__all__ = ["Accumulation", "LossFunction"]

LossFunction: TypeAlias = Callable[..., Losses]
"""Rows of tensors, each (b, ...), to their losses."""

_PROBED = (2, 4)  # rows, from whose difference the memory that a row takes is told
_GREEDY = 0.5  # of the free memory that may be taken
_BEYOND = 2.0  # what a backward pass needs at most, in units of what the forward pass keeps for it


class Accumulation:
    """Gradients of mean losses.

    Args:
        models: all networks that are in training, by name.
        size: rows at a time; "auto" for as many as memory takes; None for all.
        equal: whether all parts must have one number of rows, as compiled networks like it. The last one is then filled
            up with copies of its last row, whose losses do not count.

    Attributes:
        sizes: rows at a time, by network, once they are known.
        losses: of the rows of the last call, (n,), without a graph.
    """

    losses: Tensor

    def __init__(
        self, models: Mapping[str, nn.Module], size: int | Literal["auto"] | None, *, equal: bool = False
    ) -> None:
        self.models, self.size, self.equal = models, size, equal
        self.parameters = {name: list(model.parameters()) for name, model in models.items()}
        self.sizes: dict[str, int] = {}
        self._normalisations = [
            module for model in models.values() for module in model.modules() if isinstance(module, ParametrizationList)
        ]

    def __call__(
        self, name: str, losses: LossFunction, tensors: Sequence[Tensor], seed: int
    ) -> tuple[list[Tensor | None], dict[str, Tensor]]:
        """The gradient in a network's parameters, None where there is none, and the means of all losses.

        Args:
            name: of the network.
            losses: to be differentiated.
            tensors: rows, each (n, ...).
            seed: of dropout.

        Raises:
            UserError: the device has not memory enough.
        """
        n = len(tensors[0])
        if name not in self.sizes:
            self.sizes[name] = self._size(name, losses, tensors, seed)
        while True:
            size, before = min(self.sizes[name], n), self._buffers()
            try:
                torch.manual_seed(seed)
                return self._in_parts(name, losses, tensors, size)
            except torch.OutOfMemoryError as error:
                if self.size != "auto" or size == 1:
                    hint = "take bfloat16 or a smaller network" if size == 1 else "set training.micro_batch to auto"
                    raise UserError(f"there is not memory for {size} rows of a batch at a time: {hint}") from error
            # Beyond the handler, which would hold on to the tensors of the frames that failed.
            self.sizes[name] = -(-size // 2)
            for buffer, value in before:
                buffer.copy_(value)
            torch.cuda.empty_cache()

    def _in_parts(
        self, name: str, losses: LossFunction, tensors: Sequence[Tensor], size: int
    ) -> tuple[list[Tensor | None], dict[str, Tensor]]:
        n, parameters = len(tensors[0]), self.parameters[name]
        count = -(-n // size)
        each = -(-n // count)  # as even as can be
        gradients: list[Tensor | None] = [None] * len(parameters)
        means: dict[str, Tensor] = {}
        losses_of_parts: list[Tensor] = []
        for start in range(0, n, each):
            with self._frozen_normalisations(start > 0):
                found, rows = self._part(losses, tensors, start, start + each)
                loss = found["loss"].mean() if rows == n else found["loss"].sum() / n
                new = torch.autograd.grad(loss, parameters, allow_unused=True)
            gradients = [
                own if other is None else other if own is None else own + other
                for own, other in zip(gradients, new, strict=True)
            ]
            losses_of_parts.append(found["loss"].detach())
            for key, value in found.items():
                mean = value.detach().mean() if rows == n else value.detach().sum() / n
                means[key] = means[key] + mean if key in means else mean
        self.losses = torch.cat(losses_of_parts) if count > 1 else losses_of_parts[0]
        return gradients, means

    def _part(self, losses: LossFunction, tensors: Sequence[Tensor], start: int, stop: int) -> tuple[Losses, int]:
        """The losses of some rows, and how many there are."""
        part = [tensor[start:stop] for tensor in tensors]
        rows = len(part[0])
        lacking = stop - start - rows
        if lacking and self.equal:
            part = [torch.cat((tensor, tensor[-1:].expand(lacking, *tensor.shape[1:]))) for tensor in part]
        found = losses(*part)
        return {name: value[:rows] for name, value in found.items()} if lacking else found, rows

    @contextmanager
    def _frozen_normalisations(self, frozen: bool) -> Iterator[None]:
        """Inside, if so, parametrisations that learn from every forward pass stay as they are."""
        learning = [module for module in self._normalisations if module.training] if frozen else []
        for module in learning:
            module.eval()
        try:
            yield
        finally:
            for module in learning:
                module.train()

    def _buffers(self) -> list[tuple[Tensor, Tensor]]:
        """Buffers of all networks with copies, where a part may have to be tried again."""
        if self.size != "auto":
            return []
        return [(buffer, buffer.clone()) for module in self._normalisations for buffer in module.buffers()]

    def _size(self, name: str, losses: LossFunction, tensors: Sequence[Tensor], seed: int) -> int:
        """Rows to begin with. On a CPU memory is not refused but taken from others, so that it must be told before."""
        n = len(tensors[0])
        if self.size != "auto":
            return self.size or n
        if self.parameters[name][0].device.type != "cpu" or n <= max(_PROBED):
            return n
        before, found = self._buffers(), list[int]()
        for rows in _PROBED:
            torch.manual_seed(seed)
            with torch.compiler.set_stance("force_eager"), _Kept(self.models) as kept:
                losses(*(tensor[:rows] for tensor in tensors))
            found.append(kept.bytes)
        for buffer, value in before:
            buffer.copy_(value)
        row = max(1.0, (found[1] - found[0]) / (_PROBED[1] - _PROBED[0]))
        always = max(0.0, found[0] - _PROBED[0] * row)  # such as the weights of frozen networks, and casts of weights
        free = _GREEDY * _free_memory() / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return max(1, min(n, int((free / _BEYOND - always) / row)))


class _Kept:
    """Counts the bytes that forward passes keep for the backward pass, parameters left out."""

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self._known = {p.untyped_storage().data_ptr() for model in models.values() for p in model.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor)
        self._held: list[Tensor] = []  # so that no storage is freed, and its address taken by another
        self.bytes = 0

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self._held.append(tensor.detach())
            self.bytes += storage.nbytes()
        return tensor

    def __enter__(self) -> "_Kept":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)
        self._held.clear()


def _free_memory() -> int:
    """Bytes of main memory that can be had: what the machine has left, or this container."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return free
    cached = int(facts.get("inactive_file", 0))  # counts as used, and is given up when it is needed
    return free if limit == "max" else min(free, max(0, int(limit) - int(used) + cached))

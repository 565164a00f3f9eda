"""What a piece of work costs beside time: floating-point operations, and memory."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

__all__ = ["Live", "Operations"]


class Operations(TorchDispatchMode):
    """Counts floating-point operations of matrix products, convolutions and attention, derivatives of any order too.

    A multiplication and an addition are two. The formulas are those of `torch.utils.flop_counter`, whose own mode
    follows modules too and cannot do so through gradients in the input, and knows no attention on CPUs.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Does what is asked for, and counts it."""
        out = func(*args, **(kwargs or {}))
        operation = func._overloadpacket
        if (formula := flop_registry.get(operation)) is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=out))
        elif operation is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
            self.total += int(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
        elif operation is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
            self.total += int(sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4])))
        return out


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made meanwhile and live on: now, and at most.

    A view counts with what it views, and what was there before does not count. What an operation needs within itself
    is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._counted = set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Does what is asked for, and counts what comes of it."""
        given = {_place(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (place := _place(tensor)) not in given | self._counted:
                storage = tensor.untyped_storage()
                self._counted.add(place)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._let_go, place, storage.nbytes())
        return out

    def _let_go(self, place: int, size: int) -> None:
        self._counted.discard(place)
        self.now -= size


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)

"""Many processes, behind one small class (accelerate underneath).

The total batch is the recipe's unit. Every process draws the whole batch's randomness, which is cheap, and keeps its
own rows; gradients are averaged after the backward pass. The gradient is therefore that of one process, up to rounding,
however many there are, and no module is wrapped: names, second derivatives and pairs of networks stay as they are.
"""

from collections.abc import Iterable

import torch
from accelerate import PartialState
from torch import Tensor, nn

__all__ = ["Processes"]


class Processes:
    """The processes of this run; one where no launcher was used."""

    def __init__(self, cpu: bool = False) -> None:
        self._state = PartialState(cpu=cpu)
        self.rank: int = self._state.process_index
        self.count: int = self._state.num_processes
        self.device: torch.device = self._state.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """This process's share of `total` rows, as even as can be."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def average_gradients(self, parameters: Iterable[nn.Parameter], weight: float) -> None:
        """Replaces each gradient by the sum over processes of `weight` times it.

        Args:
            parameters: the parameters that were differentiated.
            weight: this process's share of the batch, rows / total.
        """
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients]) * weight
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def average(self, value: Tensor, weight: float) -> Tensor:
        """The sum over processes of `weight` times a metric."""
        if self.count == 1:
            return value
        value = value * weight
        torch.distributed.all_reduce(value)
        return value

    def gather_rows(self, part: Tensor, total: int) -> Tensor:
        """The rows of all processes, (total, ...), from this one's share of them.

        Args:
            part: rows `self.rows(total)`, on this process's device.
            total: how many there are in all.
        """
        if self.count == 1:
            return part
        whole = part.new_zeros(total, *part.shape[1:])
        whole[self.rows(total)] = part
        torch.distributed.all_reduce(whole)
        return whole

    def wait(self) -> None:
        """Returns once every process is here."""
        self._state.wait_for_everyone()

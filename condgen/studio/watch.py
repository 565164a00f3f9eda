"""What samples pass through while they are drawn: noised states and denoised estimates, at no evaluation more.

A page draws its samples once, by the very code of `condgen sample`, and a watcher of their denoiser looks on. Here is
whose way it keeps, and where a drawing tells how far it is and can be stopped.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from condgen.samplers import AdaptiveSampler, Recorder, Sampler, TrajectoryPoint, thin_out

__all__ = ["FRAMES", "Watch", "interruptible"]

FRAMES = 10  # of a trajectory, at most
_PIXELS = 2**20  # numbers of all frames that a page is sent
_PACE = 0.1  # seconds between two looks within an evaluation


@contextmanager
def interruptible(model: nn.Module, look: Callable[[], None]) -> Iterator[None]:
    """Meanwhile, looks up before the layers of a model too, ten times a second: an evaluation may take long.

    Args:
        model: at work.
        look: may raise to stop.
    """
    last = time.monotonic()

    def before(_: nn.Module, _inputs: tuple[Any, ...]) -> None:
        nonlocal last
        if time.monotonic() - last > _PACE:
            look()
            last = time.monotonic()

    handles = [part.register_forward_pre_hook(before) for part in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Watch:
    """Looks on as samples are drawn.

    Attributes:
        followed: the samples whose way is kept, of all classes in turn.

    Args:
        sampler: which draws.
        labels: of the samples, all of which are in the first batch.
        shape: of one sample.
        tell: called with the number of evaluations so far, before each next one is used; may raise to stop.
    """

    def __init__(
        self,
        sampler: Sampler | AdaptiveSampler,
        labels: Sequence[int],
        shape: Sequence[int],
        tell: Callable[[int], None],
    ) -> None:
        numbers = math.prod(shape)
        most = max(1, _PIXELS // (2 * FRAMES * numbers))
        places: dict[int, int] = {}
        turns = []
        for number, label in enumerate(labels):
            places[label] = places.get(label, -1) + 1
            turns.append((places[label], number))
        self.followed = sorted(number for _, number in sorted(turns)[:most])
        self.schedule = sampler.schedule
        self._watcher = Recorder(self.schedule, len(labels), self.followed, FRAMES)
        self._denoiser, self._tell, self._asked = sampler.denoiser, tell, 0
        self.leave = self._watcher.leave

    @property
    def asked(self) -> int:
        """Evaluations so far."""
        return self._asked

    @contextmanager
    def on(self) -> Iterator[None]:
        """Looks on meanwhile."""
        handle = self._denoiser.register_forward_hook(self._count)
        try:
            with self._watcher.on(self._denoiser):
                yield
        finally:
            handle.remove()

    def _count(self, _: nn.Module, _inputs: tuple[Any, ...], _denoised: Tensor) -> None:
        self._tell(self._asked)
        self._asked += 1

    def path(self, number: int) -> list[TrajectoryPoint]:
        """The way of a sample that was followed: at most `FRAMES` frames, noise falling, the last estimate the sample.

        They are on the CPU.
        """
        chosen = thin_out(self._watcher.points[number], FRAMES)
        return [frame._replace(x_t=frame.x_t.cpu(), denoised=frame.denoised.cpu()) for frame in chosen]

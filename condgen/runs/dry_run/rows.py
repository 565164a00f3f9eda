"""What a dry run finds out."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Estimate", "Reuse", "StageEstimate", "gigabytes"]

Reuse: TypeAlias = Literal["finished", "begun", "to do"]


@dataclass(frozen=True)
class StageEstimate:
    """One stage of a recipe, before it is run.

    Args:
        stage: its name, as the run will show it.
        reuse: whether the run folder holds it already, whole or in part.
        done: steps, samples or noise levels that are there.
        total: how many there will be.
        unit: what is counted.
        parameters: of the network that is shipped; None where the stage trains none.
        flops: floating-point operations of matrix products and convolutions in one training step.
        seconds: what is left to do takes, on this machine as it is now.
        memory: bytes on the device at the peak; 0 where nothing is left to do.
        disk: bytes that are still to be written.
        note: what else there is to know.
    """

    stage: str
    reuse: Reuse
    done: int
    total: int
    unit: str
    parameters: int | None = None
    flops: float | None = None
    seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """A whole recipe, before it is run.

    Args:
        recipe: its name.
        device: what it would run on, in words.
        stages: in the order in which they would run.
        free_memory: bytes of the device, or of the machine where that is the device.
        free_disk: bytes where the run folder lies, or would.
        notes: what the user should know, a line each.
    """

    recipe: str
    device: str
    stages: tuple[StageEstimate, ...]
    free_memory: int
    free_disk: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of all stages together."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def memory(self) -> int:
        """Of the stage that needs most: they run one after another."""
        return max((stage.memory for stage in self.stages), default=0)

    @property
    def disk(self) -> int:
        """Of all stages together."""
        return sum(stage.disk for stage in self.stages)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What will not do, a line each."""
        found = []
        if self.memory > self.free_memory:
            hungry = max(self.stages, key=lambda stage: stage.memory)
            found.append(
                f"{hungry.stage} needs {gigabytes(self.memory)} of memory, and {gigabytes(self.free_memory)} are free: "
                "choose a smaller batch or network"
            )
        if self.disk > self.free_disk:
            found.append(
                f"the run writes {gigabytes(self.disk)}, and {gigabytes(self.free_disk)} are free: "
                "choose another disk with --out, or draw fewer samples"
            )
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """The estimate as plain JSON, with its totals."""
        totals = {"seconds": self.seconds, "memory": self.memory, "disk": self.disk, "warnings": list(self.warnings)}
        return asdict(self) | {"total": totals}


def gigabytes(size: float) -> str:
    """Bytes in words."""
    if size >= 2**29:
        return f"{size / 2**30:,.2g} GB" if size < 100 * 2**30 else f"{size / 2**30:,.0f} GB"
    return f"{size / 2**20:.3g} MB" if size >= 2**20 else f"{size / 2**10:.3g} kB"

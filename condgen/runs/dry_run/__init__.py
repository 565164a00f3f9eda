"""What a recipe would take, before it is run: time, memory, disk, and what is there already."""

from condgen.runs.dry_run.rows import Estimate, StageEstimate, gigabytes
from condgen.runs.dry_run.stages import estimate

__all__ = ["Estimate", "StageEstimate", "estimate", "gigabytes"]

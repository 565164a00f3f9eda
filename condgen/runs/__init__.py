"""Run folders, and the stages that fill them."""

from condgen.runs.calibrate import Calibrate
from condgen.runs.diagnose import Diagnose, loss_of, with_defaults
from condgen.runs.environment import cache_folder, describe_environment, keep_freed_memory, usable_cores
from condgen.runs.evaluate import Evaluate
from condgen.runs.folder import each_row, file_key, read_json, read_rows, read_settings, recorded_data, write_json
from condgen.runs.import_diffusers import Import, find_diffusers
from condgen.runs.models import Folders, open_guided
from condgen.runs.plan import plan, run_recipe, run_seeds, states
from condgen.runs.sample import Sample
from condgen.runs.sample_folder import picture_side, read_samples
from condgen.runs.stage import Progress, Work, lock
from condgen.runs.train import Train

__all__ = [
    "Calibrate",
    "Diagnose",
    "Evaluate",
    "Folders",
    "Import",
    "Progress",
    "Sample",
    "Train",
    "Work",
    "cache_folder",
    "describe_environment",
    "each_row",
    "file_key",
    "find_diffusers",
    "keep_freed_memory",
    "lock",
    "loss_of",
    "open_guided",
    "picture_side",
    "plan",
    "read_json",
    "read_rows",
    "read_samples",
    "read_settings",
    "recorded_data",
    "run_recipe",
    "run_seeds",
    "states",
    "usable_cores",
    "with_defaults",
    "write_json",
]

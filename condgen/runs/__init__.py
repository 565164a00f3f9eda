"""Run folders, and the stages that fill them."""

from condgen.runs.calibrate import calibrate_stage, gather_calibrations
from condgen.runs.diagnose import default_methods_in, diagnose_stage
from condgen.runs.environment import cache_folder, describe_environment, keep_freed_memory, usable_cores
from condgen.runs.estimate import Estimate, estimate
from condgen.runs.evaluate import evaluate_stage
from condgen.runs.folder import each_row, file_key, read_json, read_rows, read_settings, write_json
from condgen.runs.import_diffusers import find_diffusers, import_stage
from condgen.runs.layout import MANIFEST, SNAPSHOTS, TRAJECTORIES, TRAJECTORIES_FOLDER
from condgen.runs.models import Folders, Models, open_guided, read_calibration
from condgen.runs.plan import plan, run_recipe
from condgen.runs.sample import sample_stage
from condgen.runs.sample_folder import read_samples, sample_folders, shard_folder, shards_within
from condgen.runs.seeds import run_seeds
from condgen.runs.stage import Progress, Work, in_main, lock
from condgen.runs.train import train_stage
from condgen.runs.trajectories import trajectory_stage

__all__ = [
    "MANIFEST",
    "SNAPSHOTS",
    "TRAJECTORIES",
    "TRAJECTORIES_FOLDER",
    "Estimate",
    "Folders",
    "Models",
    "Progress",
    "Work",
    "cache_folder",
    "calibrate_stage",
    "default_methods_in",
    "describe_environment",
    "diagnose_stage",
    "each_row",
    "estimate",
    "evaluate_stage",
    "file_key",
    "find_diffusers",
    "gather_calibrations",
    "import_stage",
    "in_main",
    "keep_freed_memory",
    "lock",
    "open_guided",
    "plan",
    "read_calibration",
    "read_json",
    "read_rows",
    "read_samples",
    "read_settings",
    "run_recipe",
    "run_seeds",
    "sample_folders",
    "sample_stage",
    "shard_folder",
    "shards_within",
    "train_stage",
    "trajectory_stage",
    "usable_cores",
    "write_json",
]

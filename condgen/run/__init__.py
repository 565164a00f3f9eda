"""Run folders, and the stages that fill them."""

from condgen.run.environment import describe_environment, usable_cores
from condgen.run.folder import Progress, Work, file_key, lock, read_json, read_rows, write_json
from condgen.run.measure import diagnose_stage, evaluate_stage
from condgen.run.pipeline import run_recipe
from condgen.run.sample import MANIFEST, Models, read_samples, sample_stage
from condgen.run.train import train_stage

__all__ = [
    "MANIFEST",
    "Models",
    "Progress",
    "Work",
    "describe_environment",
    "diagnose_stage",
    "evaluate_stage",
    "file_key",
    "lock",
    "read_json",
    "read_rows",
    "read_samples",
    "run_recipe",
    "sample_stage",
    "train_stage",
    "usable_cores",
    "write_json",
]

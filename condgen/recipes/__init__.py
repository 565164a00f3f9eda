"""Recipes: YAML files that say everything about a run, checked before anything runs."""

from condgen.recipes.composing import load_recipe
from condgen.recipes.defaults import (
    GENERATOR_PRESETS,
    GeneratorPreset,
    default_adversary,
    default_recipe,
    taught,
)
from condgen.recipes.generators import GeneratorRecipe, GeneratorStage
from condgen.recipes.loading import apply_overrides, content_key, parse_yaml, read_yaml, to_yaml
from condgen.recipes.methods import Guidance, Method
from condgen.recipes.models import (
    CalibrateRecipe,
    CalibrateStage,
    ClassifierRecipe,
    ClassifierStage,
    DiagnoseRecipe,
    DiagnoseStage,
    EvaluateStage,
    ImportStage,
    Promise,
    Recipe,
    ScoreRecipe,
    ScoreStage,
)
from condgen.recipes.samples import SampleRecipe, SampleStage, Shard, TrajectoryStage, labels_spread

__all__ = [
    "GENERATOR_PRESETS",
    "CalibrateRecipe",
    "CalibrateStage",
    "ClassifierRecipe",
    "ClassifierStage",
    "DiagnoseRecipe",
    "DiagnoseStage",
    "EvaluateStage",
    "GeneratorPreset",
    "GeneratorRecipe",
    "GeneratorStage",
    "Guidance",
    "ImportStage",
    "Method",
    "Promise",
    "Recipe",
    "SampleRecipe",
    "SampleStage",
    "ScoreRecipe",
    "ScoreStage",
    "Shard",
    "TrajectoryStage",
    "apply_overrides",
    "content_key",
    "default_adversary",
    "default_recipe",
    "labels_spread",
    "load_recipe",
    "parse_yaml",
    "read_yaml",
    "taught",
    "to_yaml",
]

"""Recipes: YAML files that say everything about a run, checked before anything runs."""

from condgen.recipe.defaults import (
    GENERATOR_PRESETS,
    GeneratorPreset,
    default_adversary,
    default_recipe,
    taught,
)
from condgen.recipe.loading import apply_overrides, content_key, load_recipe, read_yaml, to_yaml
from condgen.recipe.methods import Guidance, Method
from condgen.recipe.models import (
    CalibrateRecipe,
    CalibrateStage,
    ClassifierRecipe,
    ClassifierStage,
    DiagnoseRecipe,
    DiagnoseStage,
    EvaluateStage,
    GeneratorRecipe,
    GeneratorStage,
    Recipe,
    SampleRecipe,
    SampleStage,
    ScoreRecipe,
    ScoreStage,
)

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
    "Method",
    "Recipe",
    "SampleRecipe",
    "SampleStage",
    "ScoreRecipe",
    "ScoreStage",
    "apply_overrides",
    "content_key",
    "default_adversary",
    "default_recipe",
    "load_recipe",
    "read_yaml",
    "taught",
    "to_yaml",
]

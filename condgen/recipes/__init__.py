"""Recipes: YAML files that say everything about a run, checked before anything runs."""

from condgen.recipes.compose import (
    apply_overrides,
    compose,
    content_key,
    find_recipe,
    load_recipe,
    parse_yaml,
    read_yaml,
    shipped_recipes,
    to_yaml,
)
from condgen.recipes.defaults import (
    default_adversary,
    default_recipe,
)
from condgen.recipes.guidance import Guidance, Method
from condgen.recipes.schema import (
    CalibrateRecipe,
    ClassifierRecipe,
    DiagnoseRecipe,
    GeneratorRecipe,
    Promise,
    Recipe,
    SampleRecipe,
    ScoreRecipe,
    check_levels,
)
from condgen.recipes.stages import (
    ClassifierStage,
    EvaluateStage,
    GeneratorStage,
    ImportStage,
    SampleStage,
    ScoreStage,
    TrainStage,
    labels_spread,
)

__all__ = [
    "CalibrateRecipe",
    "ClassifierRecipe",
    "ClassifierStage",
    "DiagnoseRecipe",
    "EvaluateStage",
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
    "TrainStage",
    "apply_overrides",
    "check_levels",
    "compose",
    "content_key",
    "default_adversary",
    "default_recipe",
    "find_recipe",
    "labels_spread",
    "load_recipe",
    "parse_yaml",
    "read_yaml",
    "shipped_recipes",
    "to_yaml",
]

"""Recipes: YAML files that say everything about a run, checked before anything runs."""

from condgen.recipes.compose import (
    apply_overrides as apply_overrides,
    compose as compose,
    content_key as content_key,
    find_recipe as find_recipe,
    load_recipe as load_recipe,
    parse_yaml as parse_yaml,
    read_yaml as read_yaml,
    shipped_recipes as shipped_recipes,
    to_yaml as to_yaml,
)
from condgen.recipes.defaults import default_adversary as default_adversary, default_recipe as default_recipe
from condgen.recipes.guidance import Guidance as Guidance, Method as Method
from condgen.recipes.schema import (
    CalibrateRecipe as CalibrateRecipe,
    ClassifierRecipe as ClassifierRecipe,
    DiagnoseRecipe as DiagnoseRecipe,
    GeneratorRecipe as GeneratorRecipe,
    Recipe as Recipe,
    SampleRecipe as SampleRecipe,
    ScoreRecipe as ScoreRecipe,
    TrainedRecipe as TrainedRecipe,
    check_levels as check_levels,
    is_place as is_place,
)
from condgen.recipes.stages import (
    ClassifierStage as ClassifierStage,
    EvaluateStage as EvaluateStage,
    GeneratorStage as GeneratorStage,
    ImportStage as ImportStage,
    SampleStage as SampleStage,
    ScoreStage as ScoreStage,
    TrainStage as TrainStage,
)

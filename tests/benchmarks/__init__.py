"""How figures are made: each bench is a function that yields progress and ends in tidy rows."""

from benchmarks.recipes import repeat_recipe, summarise_seeds

__all__ = ["repeat_recipe", "summarise_seeds"]

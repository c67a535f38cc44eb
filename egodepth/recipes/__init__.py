"""Named, typed configurations, a file for each training scheme."""

from egodepth.recipes.recipe import Recipe
from egodepth.recipes.table import RECIPES, build, recipe_named

__all__ = ["RECIPES", "Recipe", "build", "recipe_named"]

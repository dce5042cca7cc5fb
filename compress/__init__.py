"""Techniques that make a model smaller or faster, and the recipes that order them."""

from ._compressed import Compressed, compress
from ._recipe import Recipe, Step, load_recipe, parse_recipe, shipped_recipes
from ._technique import Parameters, Result, Technique, VariableReport, Work, get, names

__all__ = [
    "Compressed",
    "Parameters",
    "Recipe",
    "Result",
    "Step",
    "Technique",
    "VariableReport",
    "Work",
    "compress",
    "get",
    "load_recipe",
    "names",
    "parse_recipe",
    "shipped_recipes",
]

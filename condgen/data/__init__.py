"""Labelled sets: what they are, how a recipe names them, where they come from."""

from condgen.data.sets import load

load_data = load  # condgen.load_data

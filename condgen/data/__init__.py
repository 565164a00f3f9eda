"""Labelled sets: what they are, how a recipe names them, where they come from."""

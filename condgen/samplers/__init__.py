"""Samplers on time grids and samplers that choose their own steps, by name or import path."""

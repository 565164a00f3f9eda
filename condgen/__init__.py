"""Class-conditional image generation with score models, and exact measures of how wrong the scores are."""

__version__ = "0.1.0"

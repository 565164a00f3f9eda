"""Errors of scores against exact ones, and of classifiers on held-out data."""

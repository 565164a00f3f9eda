"""Hostile and broken files: thousands of them, made from valid ones, and read by the code that reads foreign files."""

"""Samplers that choose their own steps, for every sample by itself."""

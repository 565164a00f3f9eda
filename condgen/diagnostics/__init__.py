"""How wrong the scores are, where an exact answer is known."""

from condgen.diagnostics.score_errors import ErrorRow, best_constant_scale, likelihood_fields, measure, summarise

__all__ = ["ErrorRow", "best_constant_scale", "likelihood_fields", "measure", "summarise"]

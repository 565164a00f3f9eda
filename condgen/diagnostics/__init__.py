"""How wrong the scores are, where an exact answer is known."""

from condgen.diagnostics.score_errors import ErrorRow, likelihood_fields, measure, summarise

__all__ = ["ErrorRow", "likelihood_fields", "measure", "summarise"]

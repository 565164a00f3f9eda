"""Training: a state, a loop that yields, many processes."""

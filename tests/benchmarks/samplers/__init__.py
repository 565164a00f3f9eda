"""How good and how fast the samplers are, in parts that share one file of rows."""

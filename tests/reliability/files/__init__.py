"""Hostile and broken files: thousands, made from valid ones, and read as what others wrote is.

`mutate` and `pictures` spoil what `valid` has made; `kinds` is the table of what there is to spoil, and of who reads
it. A `worker` makes and reads the cases, under a `guard` that hears of every file that is opened to be written; it is
watched from outside (`watch`). All chance of a case comes from its kind, a seed and its number, so that each can be
had again. Hypothesis is not used for that: its examples depend on those before.
"""

from reliability.files.rows import file_rows, replay

__all__ = ["file_rows", "replay"]

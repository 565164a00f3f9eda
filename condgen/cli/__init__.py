"""The command line: one thin function per verb."""

from condgen.cli.app import app, main

__all__ = ["app", "main"]

"""The command line: one thin function per verb."""

from condgen.cli.app import app as app, main as main

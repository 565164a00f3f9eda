import sys

import pytest

from condgen.cli import main


@pytest.fixture
def condgen(monkeypatch, capsys):
    """Runs a command in this process; returns exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["condgen", "--threads", "1", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call

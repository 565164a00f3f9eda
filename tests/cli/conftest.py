import contextlib
import io
import sys
from unittest import mock

import pytest

from condgen.cli.app import main

SMALL = "network={kind: mlp, width: 16, depth: 1, embedding: 8}"
RECIPE = """
name: tiny
threads: 1
data: {kind: digits}
schedule: {kind: edm}
score: {NET, training: {steps: 4, batch: 16, snapshots: [2]}}
scores:
  told: {NET, labels: embedding, training: {steps: 3, batch: 16}}
classifiers:
  ce: {NET, objective: {loss: ce}, training: {steps: 3, batch: 16}}
  dlsm: {NET, objective: {loss: dlsm}, training: {steps: 3, batch: 16}}
generators:
  sid: {NET, objective: {loss: sid, NET}, training: {steps: 3, batch: 16}}
calibrate: {draws: 1, levels: [0.5, 2]}
sample:
  per_class: 3
  methods:
    unguided: {steps: 3}
    dlsm: {classifier: dlsm, steps: 3}
    free: {score: told, guide: unlabelled, scale: 2, steps: 3}
    one-step: {generator: sid}
diagnose: {levels: [1, 5], draws: 1, most: 20, queries: 10, oracle: true}
""".replace("NET", "network: {kind: mlp, width: 16, depth: 1, embedding: 8}")


def call(*arguments):
    """Runs a command in this process; returns exit code, standard output and standard error."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    words = ["condgen", "--threads", "1", *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.object(sys, "argv", words):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue(), err.getvalue()


def good(*arguments):
    """Runs a command that must succeed; returns its standard output."""
    code, out, err = call(*arguments)
    assert code == 0, err
    return out


def bad(*arguments):
    """Runs a command that must end in one line on standard error; returns that line."""
    code, _, err = call(*arguments)
    assert (code, err[:7], err.count("\n")) == (2, "error: ", 1), err
    return err


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def digits(recipe, tmp_path_factory):
    """A finished run with every kind of model; not to be changed."""
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    good("run", recipe, "--out", folder)
    return folder

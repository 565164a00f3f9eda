"""That what the README promises of equal bits names tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "README.md").read_text())


def test_promises_are_found():
    assert len(NAMED) >= 12


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_promise_has_its_test(file, test):
    assert f"def {test}(" in (ROOT / file).read_text()

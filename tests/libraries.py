import warnings

import pytest


def library(name):
    """A module of others, without the warnings of its import; what needs it is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed")

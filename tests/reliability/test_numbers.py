"""Every sampler at an absurd guidance scale, in whole commands: what is not finite is named and never drawn.

uv run pytest -m slow tests/reliability/test_numbers.py
"""

import re

import pytest
from reliability.commands import run

from condgen.samplers.catalogue import SAMPLERS


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_absurd_guidance_scale_is_reported_and_nothing_bad_is_drawn(sampler, digits_of_few_steps, tmp_path):
    models = ("--score", digits_of_few_steps / "score", "--classifier", digits_of_few_steps / "classifier-ce")
    chosen = ("--scale", "1e6", "--class", "3,4,5", "--per-class", 2, "--sampler", sampler)
    ended = run("sample", *models, *chosen, "--out", tmp_path / "s")
    bad = re.search(r"(\d+) of 6 samples cannot be used", ended.out + ended.err)
    assert ended.code == (2 if bad else 0)
    assert len(list((tmp_path / "s").glob("[0-9]*.png"))) == 6 - (int(bad[1]) if bad else 0)

"""What a page shows is what the commands write, picture for picture."""

import base64
import shlex
import sys

import pytest

from condgen.cli.app import main
from condgen.errors import UserError

FREE = {"score": "told", "guide": "unlabelled", "scale": 1.7}
METHODS = ("unguided", "ce", "calibrated", "own-steps", "one-step")


def pictures(drawn):
    return {sample["file"]: base64.b64decode(sample["png"]) for sample in drawn["samples"]}


@pytest.mark.parametrize("method", METHODS)
def test_the_samples_of_a_run_come_again_bit_for_bit(digits_of_few_steps, drawn, method):
    folder = digits_of_few_steps / "samples" / method
    n = 20 if method == "unguided" else 2  # of which a page asks as many in all, and of the others of each class
    assert pictures(drawn(method, n=n)) == {
        path.name: path.read_bytes() for path in folder.glob("*.png") if path.name != "grid.png"
    }


@pytest.mark.parametrize(
    ("method", "label"),
    [
        ("ce", 3),
        ("one-step", 3),
        ("unguided", None),
        (FREE | {"sampler": "edm", "options": {"gamma": 0.1}, "nfe": 9}, 4),
        ({"guide": "snapshot-3", "scale": 1.7, "sampler": "unipc", "options": {"variant": "bh1"}, "steps": 4}, None),
        ({"classifier": "ce", "scale": 2.5, "interval": (0.1, 3), "sampler": "ddim", "nfe": 4}, 5),
        ({"score": "snapshot-3", "sampler": "adaptive-ode", "options": {"relative": 0.1}}, 1),
    ],
)
def test_the_command_that_is_shown_draws_the_same(drawn, tmp_path, monkeypatch, method, label):
    shown = drawn(method, label, n=3, seed=40)
    words = shlex.split(shown["command"])
    words[words.index("--out") + 1] = str(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["condgen", "--threads", "1", *words[1:]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert shown["samples"]
    for name, content in pictures(shown).items():
        assert content == (tmp_path / "out" / name).read_bytes(), name


def test_the_cost_counts_what_a_guide_is_asked(drawn):
    most = drawn("one-step", 3, n=250)  # that a page may ask for
    assert len(most["samples"]) == 250
    assert most["cost"] | {"seconds": 0} == {"samples": 250, "evaluations": 1, "network": 1, "seconds": 0}
    cost = drawn({"score": "told", "guide": "unlabelled", "scale": 2, "nfe": 6}, 3)["cost"]
    assert (cost["evaluations"], cost["network"]) == (6, 12)


def test_it_tells_how_far_it_is_and_can_be_stopped(drawn):
    told = []

    def tell(done, expected):
        told.append((done, expected))
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        drawn("ce", 3, tell=tell)
    assert told == [(done, 5) for done in range(4)]
    drawn("ce", 3)  # and nothing of the stopped one is left behind: no hook that would stop this one
    assert len(told) == 4


@pytest.mark.parametrize(
    ("method", "label", "n", "words"),
    [
        ("ce", 10, 1, "there is no class 10"),
        ("ce", None, 26, "at most 250"),
        ("ce", 3, 251, "at most 250"),
        ("unguided", None, 251, "at most 250"),
        ({"classifier": "nobody"}, 3, 1, "nobody"),
        ({"score": "nobody"}, 3, 1, "nobody"),
        ({"generator": "nobody"}, 3, 1, "nobody"),
        ({"guide": "../../etc"}, 3, 1, "../../etc"),
        ({"nfe": 5000}, 3, 1, "5,000 evaluations a sample are too many: at most 2,000"),
        ({"sampler": "annealed-langevin", "options": {"repeats": 9000}}, 3, 1, "evaluations a sample"),
        ({"classifier": "ce", "scale": 1e30}, 3, 1, "cannot be used"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_line(drawn, method, label, n, words):
    with pytest.raises(UserError, match=words):
        drawn(method, label, n)

"""The list of commands, their help, and one line for every mistake."""

import subprocess
import sys

import pytest

from condgen.cli.app import VERBS
from tests.cli.conftest import bad, call, good


def test_the_list_of_commands_needs_no_torch():
    script = (
        "import sys; from condgen.cli.app import main; sys.argv = ['condgen', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.rstrip().endswith("False")
    for verb in VERBS:
        assert f" {verb} " in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_fits_a_screen(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert 5 < len(good(verb, "--help").splitlines()) <= 60


def test_a_misspelt_command_is_suggested():
    code, _, err = call("sampl")
    assert code == 2
    assert "sample" in err


def test_doctor():
    out = good("doctor")
    for word in ("torch", "threads", "free disk", "data: digits", "1,295 training samples"):
        assert word in out, word


def test_an_unexpected_error_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("condgen.data.labelled.LabelledSet.__init__", None, raising=False)
    code, _, err = call("train-score", "--out", tmp_path)
    assert (code, err.count("\n"), "CONDGEN_DEBUG" in err) == (1, 1, True)


def test_a_missing_recipe_and_a_full_folder(recipe, tmp_path):
    assert "no recipe at none.yaml: condgen recipes lists" in bad("run", "none.yaml")
    (tmp_path / "mine.txt").write_text("mine")
    assert "files that condgen did not write" in bad("run", recipe, "--out", tmp_path)
    assert "mine.txt" in bad("run", recipe, "--out", tmp_path / "mine.txt")


def test_devices_that_are_not_there_are_refused():
    for device in ("cuda:99", "gpu", "cpu:x"):
        assert "there is no device" in bad("sample", "--device", device)

"""The README's Python runs as it stands, and what it adds of one's own works from a folder outside the repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import condgen as cg
from condgen.errors import UserError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
(YAML,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
(OWN,) = (block for block in PYTHON if "class Euler" in block)


@pytest.fixture
def folder(digits_of_few_steps, tmp_path, monkeypatch):
    shutil.copytree(digits_of_few_steps, tmp_path / "runs" / "digits")
    shutil.copytree(digits_of_few_steps / "classifier-ce", tmp_path / "runs" / "digits" / "classifier-dlsm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_size():
    assert len(README.encode()) <= 12_288


def test_snippets_run_in_order(folder, capsys):
    names = {}
    for block in PYTHON:
        if block != OWN:
            exec(block.replace("range(100)", "range(3)"), names)
    assert names["threes"].shape == (8, 1, 8, 8)
    assert names["loss"].item() > 0
    shown = capsys.readouterr().out
    assert all(f"{quantity:4} of" in shown for quantity in ("D", "D_L", "D_P"))


def test_the_recipes_show_when_a_class_is_decided(folder, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "recipes/README.md").read_text(), re.S)
    (block,) = (block for block in blocks if "cg.trajectory" in block)
    exec(block.replace("(500)", "(20)"), {})
    shown = capsys.readouterr().out.splitlines()
    assert (len(shown), shown[0][:17], shown[-1][:17]) == (18, "noise level 39.81", "noise level  0.05")


def test_parts_of_ones_own_from_another_folder(folder):
    (folder / "my_parts.py").write_text(OWN)
    (folder / "my.yaml").write_text(YAML.replace("steps: 500", "steps: 5"))
    command = [sys.executable, "-m", "condgen", "--threads", "1"]
    done = subprocess.run([*command, "run", "my.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "runs" / "mine" / "samples" / "mine").glob("[0-9]*.png"))) == 16
    with pytest.raises(UserError, match="trust"):
        cg.load("runs/mine/score")
    assert cg.load("runs/mine/score", trust=True).shape == (1, 8, 8)


@pytest.mark.parametrize(
    "name", ["README.md", "recipes/README.md", "assets/RESULTS.md", "CHANGELOG.md", "CONTRIBUTING.md"]
)
def test_files_that_documents_name_are_there(name):
    text = (ROOT / name).read_text()
    targets = re.findall(r"\]\((?!http|#)([^)#]+)", text)
    assert [target for target in targets if not (ROOT / name).parent.joinpath(target).exists()] == []
    assert [path for path in re.findall(r"`(?:uv run [^`]*)?(tests/[\w/.]+)", text) if not (ROOT / path).exists()] == []

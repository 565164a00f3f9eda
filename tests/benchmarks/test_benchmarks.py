"""Every benchmark runs, on as little as it takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = [f"{name}.training.steps=2" for name in ("score", "classifiers.ce", "classifiers.dlsm")]
TINY = {
    "adaptive_evaluations": ["--samples", "4", "--images", "100"],
    "balance": [
        *("{score}", "--steps", "2", "--images", "20", "--draws", "1", "--rounds", "1"),
        *("--only", "ce;dlsm", "--scales", "--out", "{folder}", "--picture", "{folder}/picture.png"),
    ],
    "conditions": ["{score}", "--picture", "{folder}/picture.png"],
    "dlsm": ["--rounds", "1", "--batch", "4"],
    "fixed_points": [],
    "growth": ["--most", "4"],
    "metrics": ["--rounds", "1", "--n", "200"],
    "oracle": ["--queries", "20"],
    "rules": ["{run}", "--classifier", "classifier-ce", "--n", "100", "--picture", "{folder}/picture.png"],
    "sampler_bias": [],
    "speed": ["--rounds", "1", "--batch", "2"],
    "table1": ["--per-class", "50", "--out", "{folder}/runs"]
    + [part for step in (*STEPS, "scores.per-class.training.steps=2") for part in ("--set", step)],
    "train": ["--rounds", "1"],
    "work_precision": ["--n", "20", "--out", "{folder}/runs", "--picture", "{folder}/picture.png"]
    + [part for step in STEPS for part in ("--set", step)],
}
PEERS = {
    "metrics": "torchmetrics",
    "speed": "k_diffusion",
    "train": "denoising_diffusion_pytorch",
}


def test_every_script_is_tried():
    scripts = {path.stem for path in Path(__file__).parent.glob("*.py")} - {"bench", "scaling", "sliced"}
    assert {name for name in scripts if not name.startswith("test_")} == TINY.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_runs_and_writes_rows(name, tmp_path, digits_of_few_steps):
    if name in PEERS:
        pytest.importorskip(PEERS[name])
    arguments = [
        part.format(folder=tmp_path, run=digits_of_few_steps, score=digits_of_few_steps / "score")
        for part in TINY[name]
    ]
    command = [sys.executable, f"tests/benchmarks/{name}.py", "--json", str(tmp_path / "rows.json"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found["what"]["command"].startswith(f"uv run tests/benchmarks/{name}.py")
    assert len(found["rows"]) >= 4
    assert all(row["value"] == row["value"] for row in found["rows"])
    if "--picture" in arguments:
        assert (tmp_path / "picture.png").stat().st_size > 10_000

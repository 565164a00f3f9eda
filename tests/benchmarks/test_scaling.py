import json
from pathlib import Path

import pytest
import torch

from benchmarks import scaling
from benchmarks.scaling import Job, Variant, scaling_rows, variants
from condgen.checkpoint import save_tensors
from condgen.errors import UserError

TWO = [Variant(1, 1), Variant(2, 1)]


def finished(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def commands(monkeypatch):
    """Commands that are not run, but leave what they would: two processes differ a little, and draw one other file."""
    called = []

    def run(variant, arguments, *, cpu):
        called.append((variant, arguments[0], cpu))
        out = Path(arguments[arguments.index("--out") + 1])
        out.mkdir(parents=True)
        many = variant.processes == 2
        if arguments[0] == "train-score":
            save_tensors(out / "model.safetensors", {"w": torch.tensor([-4.0, 1.0 + many])}, {})
            rates = [1.0, 1.0, 100.0 * variant.processes, 100.0 * variant.processes]
            rows = [{"step": i, "images_per_second": rate} for i, rate in enumerate(rates)]
            (out / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            rows = [{"file": f"{i}.png", "seed": i} for i in range(4)]
            for row in rows:
                (out / row["file"]).write_bytes(b"other" if many and row["seed"] == 3 else b"same")
            (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            (out / "stage.json").write_text(json.dumps({"images_per_second": 30.0 if many else 20.0}))

    monkeypatch.setattr(scaling, "_run", run)
    return called


def test_rows_tell_speed_and_whether_the_results_are_those_of_one_process(commands, tmp_path):
    rows = finished(scaling_rows(tmp_path / "out", TWO, Job(), 2, cpu=True))
    of = {(row["what"], row["processes"]): row["value"] for row in rows}
    assert of["training, speed-up", 2] == 2
    assert of["sampling, speed-up", 2] == 1.5
    assert of["greatest difference of a weight", 1] == 0
    assert of["greatest difference of a weight", 2] == 0.25
    assert (of["pictures equal byte for byte", 1], of["pictures equal byte for byte", 2]) == (1, 0.75)
    assert [call[0] for call in commands] == [TWO[0], TWO[0], TWO[1], TWO[1]] * 2  # they take turns
    with pytest.raises(UserError, match="name a new folder"):
        finished(scaling_rows(tmp_path / "out", TWO, Job(), 1, cpu=True))


def test_variants_are_powers_of_two_and_a_process_with_as_many_threads():
    assert variants(6, 8, cpu=True) == [*(Variant(n, 1) for n in (1, 2, 4, 6)), Variant(1, 6)]
    assert variants(4, 8, cpu=False) == [Variant(1, 8), Variant(2, 4), Variant(4, 2)]
    assert variants(1, 8, cpu=True) == [Variant(1, 1)]


@pytest.mark.slow
def test_processes_are_started_and_agree(tmp_path):
    rows = finished(scaling_rows(tmp_path / "out", TWO, Job(10, 64, 40, 10), 1, cpu=True))
    of = {(row["what"], row["processes"]): row["value"] for row in rows}
    assert of["pictures equal byte for byte", 2] == 1
    assert of["greatest difference of a weight", 2] < 1e-5
    assert all(row["value"] > 0 for row in rows if row["unit"] in ("s", "images/s"))


def test_a_command_that_fails_is_named(tmp_path):
    with pytest.raises(UserError, match=r"condgen train-score failed with 2 x 1 thread: training.batch is 1, and 2"):
        finished(scaling_rows(tmp_path / "out", TWO[1:], Job(batch=1), 1, cpu=True))

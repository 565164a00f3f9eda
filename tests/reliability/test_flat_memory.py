"""Long work, watched from outside: memory does not grow, the log can always be read, old states do not pile up.

uv run pytest -m slow tests/reliability/test_flat_memory.py
"""

import statistics
import time
from contextlib import suppress

import psutil
import pytest
from reliability.commands import Command

from condgen.errors import UserError
from condgen.runs.folder import read_rows


def watched(place, log, total, done, *arguments):
    """Looks at a command while it works, holding it still meanwhile: (progress, bytes), and the greatest memory."""
    command, looks = Command(*arguments, "--out", place), []
    process = psutil.Process(command.pid)
    while command.process.is_alive():
        with suppress(psutil.Error, FileNotFoundError):
            process.suspend()
            try:
                with suppress(UserError):  # no log yet
                    looks.append((done(read_rows(place / log)) / total, process.memory_info().rss))
                states = [path for path in place.rglob("*.safetensors*") if "snapshots" not in path.parts]
                assert len(states) <= 3
            finally:
                process.resume()
        time.sleep(0.05)
    ended = command.wait().check()
    settled = [memory for share, memory in looks if 0.2 <= share < 0.5]
    late = [memory for share, memory in looks if 0.9 <= share < 1]
    return statistics.median(late) / statistics.median(settled) - 1, ended.peak


@pytest.mark.slow
def test_training_and_sampling_stay_within_their_memory(tmp_path):
    def steps(rows):
        return max((row["step"] for row in rows if "step" in row), default=0)

    model = tmp_path / "score"
    training = ("train-score", "--data=digits", "--batch=256", "--set=score.training.save_every=500", "--steps=10000")
    growth, _ = watched(model, "log.jsonl", 10_000, steps, *training)
    assert growth < 0.02
    sampling = ("sample", f"--score={model}", "--batch=100", "--steps=4")
    growth, most = watched(tmp_path / "many", "manifest.jsonl", 20_000, len, *sampling, "--total=20000")
    assert growth < 0.02
    _, least = watched(tmp_path / "few", "manifest.jsonl", 5000, len, *sampling, "--total=5000")
    assert most / least < 1.1

"""Commands under launchers: real processes, started by torchrun or by hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from processes import start
from stages import NETWORK, small_stage, train

from condgen.checkpoint import load_tensors
from condgen.runs.folder import read_json, read_rows
from condgen.training.distributed import Processes
from tests.cli.conftest import bad, good

QUIET = os.environ | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
SECONDS = 600  # that a job may take on a busy machine


def torchrun(count, *arguments):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command = [sys.executable, *launcher, "-m", "condgen", "--threads", "1", *map(str, arguments)]
    return subprocess.Popen(command, env=QUIET, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(job):
    """Exit code, standard output, and what condgen, not the launcher, said on standard error."""
    out, err = job.communicate(timeout=SECONDS)
    return job.returncode, out, [line for line in err.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def score(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "score"
    list(train(folder, small_stage("score", labels="embedding")))
    return folder


def sampling(score, out):
    return ("sample", "--score", score, "--total", 50, "--batch", 8, "--steps", 3, "--out", out)


@pytest.fixture(scope="module")
def drawn(score, tmp_path_factory):
    """Samples from two processes."""
    folder = tmp_path_factory.mktemp("drawn") / "two"
    code, out, errors = end(torchrun(2, *sampling(score, folder)))
    assert code == 0, errors
    assert out.count("50 samples, 3 network evaluations each") == 1  # process 1 is silent
    return folder


def files(folder):
    kept = [path for path in folder.iterdir() if path.suffix == ".png" or path.name.endswith("manifest.jsonl")]
    return {path.name: path.read_bytes() for path in kept}


def test_two_processes_draw_the_very_files_of_one(drawn, score, tmp_path):
    good(*sampling(score, tmp_path))
    assert files(drawn) == files(tmp_path)
    one, two = (read_json(folder / "stage.json") for folder in (tmp_path, drawn))
    for cost in ("evaluations_per_image", "images", "finished", "key"):
        assert one[cost] == two[cost], cost


def test_one_process_goes_on_where_many_were_killed(drawn, score, tmp_path):
    """Manifests that were left behind are merged; lines cut short, and samples known twice, count for nothing."""
    place = shutil.copytree(drawn, tmp_path / "s")
    lines = [json.dumps(row) + "\n" for row in read_rows(place / "manifest.jsonl")]
    (place / "manifest.jsonl").write_text("".join(lines[:16]))
    (place / "stage.json").write_text(json.dumps(read_json(place / "stage.json") | {"finished": False}))
    (place / ".1-manifest.jsonl").write_text("".join(lines[32:40]) + lines[41][:20])
    (place / ".2-manifest.jsonl").write_text("".join(lines[:8]))
    good(*sampling(score, place))
    assert files(place) == files(drawn)


TRAINING = ("--steps", 120, "--batch", 33, "--set", f"score.network={json.dumps(NETWORK)}")
OFTEN = ("--set", "score.training.save_every=10", "--set", "score.training.log_every=10")


def training(out, count=2):
    return torchrun(count, "train-score", "--data", "digits", *TRAINING, *OFTEN, "--out", out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What two processes train that nobody stops."""
    folder = tmp_path_factory.mktemp("whole") / "score"
    code, out, errors = end(training(folder))
    assert code == 0, errors
    assert out.count("score: 120 of 120") == out.count("model: ") == 1  # process 1 is silent
    return folder


def ranks(job):
    """Process ids by rank."""
    children = psutil.Process(job.pid).children()
    return {int(child.environ()["RANK"]): child.pid for child in children if "RANK" in child.environ()}


def under_way(folder):
    """A training that has written some rows of its log."""
    job = training(folder)
    while len(read_rows(folder / "log.jsonl")) < 3:
        assert job.poll() is None, end(job)
        time.sleep(0.02)
    return job


def assert_goes_on(folder, whole):
    """The same command gives the same bits as if nothing had happened."""
    assert not read_json(folder / "stage.json")["finished"]
    code, _, errors = end(training(folder))
    assert code == 0, errors
    for file in ("model.safetensors", "state/state.safetensors"):
        assert (folder / file).read_bytes() == (whole / file).read_bytes()
    assert [row["step"] for row in read_rows(folder / "log.jsonl")] == list(range(10, 121, 10))


def test_a_signal_to_one_process_stops_all_at_one_step(tmp_path):
    script = f"""
import os, signal, sys
import condgen.runs.train as stages
from condgen.cli.app import main
steps = stages.train

def stopped(*arguments):
    for record in steps(*arguments):
        if record.step == 5 and os.environ["RANK"] == "1":
            signal.raise_signal(signal.SIGINT)
        yield record

stages.train = stopped
words = {["train-score", "--data", "digits", *map(str, TRAINING), "--out"]!r}
sys.argv = ["condgen", "--threads", "1", *words, "{tmp_path}/score"]
main()
"""
    jobs = [end(job) for job in start(["-c", script], 2)]
    assert [code for code, _, _ in jobs] == [128 + signal.SIGTERM, 128 + signal.SIGINT]
    assert [(out.count("stopped, nothing is lost"), errors) for _, out, errors in jobs] == [(1, []), (0, [])]
    assert 5 <= load_tensors(tmp_path / "score" / "state" / "state.safetensors")[1]["step"] < 120


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_stops_all_at_one_step(number, whole, tmp_path):
    folder = tmp_path / "score"
    job = under_way(folder)
    job.send_signal(number)
    code, out, errors = end(job)
    assert code != 0
    assert (out.count("stopped, nothing is lost"), errors) == (1, [])
    assert_goes_on(folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_job_in_words(rank, whole, tmp_path):
    folder = tmp_path / "score"
    job = under_way(folder)
    os.kill(ranks(job)[rank], signal.SIGKILL)
    code, _, errors = end(job)
    assert code != 0
    (error,) = errors
    assert "another of the 2 processes of this job is gone" in error
    assert "the same command goes on" in error
    assert_goes_on(folder, whole)


@pytest.mark.slow
def test_another_number_of_processes_goes_on(whole, tmp_path):
    folder = tmp_path / "score"
    job = under_way(folder)
    job.send_signal(signal.SIGINT)
    end(job)
    code, _, errors = end(training(folder, 3))
    assert code == 0, errors
    losses = [[row["loss"] for row in read_rows(place / "log.jsonl")] for place in (folder, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_the_one_process_that_fails_says_why(score, tmp_path):
    script = f"""
import os, sys
from condgen.cli.app import main
score = "{tmp_path}/nowhere" if os.environ["RANK"] == "1" else "{score}"
sys.argv = ["condgen", "sample", "--score", score, "--n", "4", "--steps", "3", "--out", "{tmp_path}/s"]
main()
"""
    found = [end(job) for job in start(["-c", script], 2)]
    assert [code for code, _, _ in found] == [2, 2]
    (first,), (second,) = (said for _, _, said in found)
    assert "another of the 2 processes of this job is gone" in first
    assert "nowhere/model.safetensors does not exist" in second
    assert not (tmp_path / "s" / "manifest.jsonl").exists()


@pytest.fixture
def launched(monkeypatch):
    """As a launcher starts the first of two processes; ending is seen."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "_exit", sys.exit)


def test_the_work_of_one_process_and_half_a_launcher_are_refused(launched, monkeypatch):
    assert "is the work of one process: leave the launcher out" in bad("samplers")
    monkeypatch.delenv("RANK")
    assert "RANK is not set" in bad("sample")


def test_a_launcher_that_asks_for_mixed_precision_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    Processes()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert "--set score.training.precision=auto" in bad("train-score", "--data", "digits")

"""Score errors of real model folders, by one process and by several."""

import json
import os
import socket
import subprocess
import sys

import pytest

from condgen.data import load, parse_data
from condgen.denoiser import Denoiser
from condgen.oracle import Oracle
from condgen.recipes import DiagnoseRecipe, Guidance, ScoreStage
from condgen.runs import Diagnose, Folders, Train
from condgen.schedules import EDM
from condgen.training import Processes

ALONE = Processes(cpu=True)

WORKER = """
import json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from condgen.data import load, parse_data
from condgen.schedules import EDM
from condgen.oracle import Oracle
from condgen.recipes import DiagnoseRecipe
from condgen.runs import Diagnose, Folders
from condgen.training import Processes
score, told, out, stage = sys.argv[1:]
Oracle.at_once = 3  # so that a share is more than one block
processes = Processes(cpu=True)
stage = DiagnoseRecipe.model_validate_json(stage)
place = Path(out) / str(processes.rank)  # process 0 writes, the others nothing
folders, train = Folders(Path(score), {"told": Path(told)}), load(parse_data("moons"), "train")
list(Diagnose("diagnose", place, stage, folders, train).run(processes))
processes.wait()
torch.distributed.destroy_process_group()
os._exit(0)  # an interpreter that is ending kills gloo's remaining threads, which now and then aborts the process
"""


def score_model(folder, data, labels="none"):
    network = {"kind": "mlp", "width": 16, "depth": 1, "embedding": 8}
    training = {"steps": 3, "batch": 16, "lr": 1e-3}
    about = {"data": {"kind": data}, "schedule": {"kind": "edm", "sigma_max": 20}}
    stage = ScoreStage.model_validate(about | {"score": {"network": network, "labels": labels, "training": training}})
    list(Train("score", folder, stage, load(parse_data(data), "train")).run(ALONE))
    return folder


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    root = tmp_path_factory.mktemp("moons")
    return score_model(root / "score", "moons"), score_model(root / "told", "moons", "embedding")


def shared_diagnosis(moons, stage, out, count):
    script = out.parent / "worker.py"
    script.write_text(WORKER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    workers = []
    for rank in range(count):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        environment = os.environ | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        environment |= {name: str(value) for name, value in ranks.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        arguments = [*map(str, moons), str(out), stage.model_dump_json()]
        command = [sys.executable, str(script), *arguments]
        workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors[-2000:]
    assert not any((out / str(rank) / "diagnostics.json").exists() for rank in range(1, count))
    return json.loads((out / "0" / "diagnostics.json").read_text())["rows"]


@pytest.mark.parametrize(("count", "queries"), [(2, 11), (3, 2)], ids=["shares", "fewer queries than processes"])
def test_many_processes_find_what_one_finds(count, queries, moons, tmp_path):
    grid = {"x": (-2, 2), "y": (-2, 2), "points": 5, "levels": (1.0,)}
    recipe = DiagnoseRecipe.model_validate({"levels": (0.5, 2.0), "queries": queries, "grid": grid})
    stage = recipe.model_copy(update={"methods": {"told": Guidance(score="told")}})
    folders = Folders(moons[0], {"told": moons[1]})
    list(Diagnose("diagnose", tmp_path / "alone", stage, folders, load(parse_data("moons"), "train")).run(ALONE))
    alone = json.loads((tmp_path / "alone" / "diagnostics.json").read_text())["rows"]
    together = shared_diagnosis(moons, stage, tmp_path / "together", count)
    assert len(alone) == len(together) == 3 * 4
    for one, other in zip(alone, together, strict=True):
        assert {key for key in one if one[key] != other[key]} <= {"mean", "sd", "exact"}
        for key in ("mean", "sd", "exact"):
            assert other[key] == pytest.approx(one[key], rel=1e-5, abs=1e-9), (key, one)


class Asked(Denoiser):
    """The exact denoiser, which counts what it is asked for."""

    def __init__(self, exact):
        super().__init__()
        self.exact, self.schedule, self.sizes = exact, exact.schedule, []

    def forward(self, x_t, t, y=None):
        self.sizes.append(len(x_t))
        return self.exact(x_t.double(), t, y)


def test_perfect_models_of_images_have_no_error_and_queries_come_in_blocks():
    data = load(parse_data("digits"), "train")
    oracle = Oracle(EDM(sigma_max=20), data.x, data.y, data.n_classes, held=100_000)
    assert oracle.at_once < 100
    perfect = Asked(oracle)
    stage = DiagnoseRecipe(levels=(0.1, 1.0, 10.0), queries=150, methods={"told": Guidance(score="told")})
    work = Diagnose("diagnose", None, stage, None, data)._on_data(oracle, perfect, {"told": perfect}, ALONE)
    progress = []
    while True:
        try:
            progress.append(next(work))
        except StopIteration as end:
            rows = end.value
            break
    assert max(perfect.sizes) <= oracle.at_once
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert (progress[0].done, progress[-1].done, progress[-1].total) == (0, 450, 450)
    assert {row.n for row in rows} == {150}
    for row in rows:
        if row.quantity == "D_L" or row.method == "zero guidance":
            continue
        assert row.mean <= 1e-6 * row.exact, row
    true = {row.sigma: row for row in rows if row.quantity == "D_L"}
    dimensions = data.x[0].numel()
    prior = {row.sigma: row.exact for row in rows if row.quantity == "D"}
    assert prior[0.1] == pytest.approx(dimensions**0.5 / 0.1, rel=0.05)  # at low noise the score is the noise alone
    assert true[0.1].mean < 1e-6 * prior[0.1]  # the classes leave no doubt there
    assert true[1.0].exact > 1e-3 * prior[1.0]

"""Score errors of real model folders, by one process and by several."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condgen.data import load, parse_data
from condgen.denoiser import Denoiser
from condgen.oracle import Oracle
from condgen.recipes import DiagnoseRecipe, Guidance, ScoreStage
from condgen.runs import Diagnose, Folders, Train
from condgen.schedules import EDM
from condgen.training import Processes

ALONE = Processes(cpu=True)


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


def work(score, told, out, *stages):
    """What each of several processes does: process 0 writes, the others nothing."""
    torch.set_num_threads(1)
    Oracle.at_once = 3  # so that a share is more than one block
    processes = Processes(cpu=True)
    folders, train = Folders(Path(score), {"told": Path(told)}), load(parse_data("moons"), "train")
    for number, text in enumerate(stages):
        place = Path(out) / f"{processes.rank}-{number}"
        stage = DiagnoseRecipe.model_validate_json(text)
        list(Diagnose("diagnose", place, stage, folders, train).run(processes))
    processes.wait()
    torch.distributed.destroy_process_group()
    os._exit(0)  # an interpreter that is ending kills gloo's remaining threads, which now and then aborts the process


def shared_diagnosis(moons, stages, out, count):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    workers = []
    for rank in range(count):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        environment = os.environ | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        environment |= {name: str(value) for name, value in ranks.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, __file__, *map(str, moons), str(out), *(stage.model_dump_json() for stage in stages)]
        workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors[-2000:]
    assert sorted(path.parent.name for path in out.glob("*/diagnostics.json")) == ["0-0", "0-1"]
    return [json.loads((out / f"0-{n}" / "diagnostics.json").read_text())["rows"] for n in range(len(stages))]


def test_many_processes_find_what_one_finds(moons, tmp_path):
    """Three of them share 11 queries; two queries are fewer than there are processes."""
    grid = {"x": (-2, 2), "y": (-2, 2), "points": 5, "levels": (1.0,)}
    methods = {"told": Guidance(score="told")}
    stages = [
        DiagnoseRecipe.model_validate({"levels": (0.5, 2.0), "queries": queries, "grid": grid, "methods": methods})
        for queries in (11, 2)
    ]
    folders, train = Folders(moons[0], {"told": moons[1]}), load(parse_data("moons"), "train")
    together = shared_diagnosis(moons, stages, tmp_path, 3)
    for number, (stage, found) in enumerate(zip(stages, together, strict=True)):
        list(Diagnose("diagnose", tmp_path / f"alone-{number}", stage, folders, train).run(ALONE))
        alone = json.loads((tmp_path / f"alone-{number}" / "diagnostics.json").read_text())["rows"]
        assert len(alone) == len(found) == 3 * 4
        for one, other in zip(alone, found, strict=True):
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


if __name__ == "__main__":
    work(*sys.argv[1:])

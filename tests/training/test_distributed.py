import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condgen.errors import UserError
from condgen.training import Processes
from condgen.training.distributed import refuse_shared_gpus

WORKER = """
import os, sys, torch
torch.set_num_threads(1)
from condgen.classifier import Classifier, ClassifierConfig
from condgen.losses import DLSM
from condgen.data import LabelledSet
from condgen.networks import MLPDiscriminatorSettings, MLPSettings
from condgen.schedules import EDM, LogNormal
from condgen.score import ScoreConfig, ScoreModel
from condgen.losses import AdversarialScoreMatching, Discriminator
from condgen.training import Processes, State, TrainingSettings, train
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask

generator = torch.Generator().manual_seed(0)
y = torch.arange(30) % 3
data = LabelledSet(x=torch.randn(30, 2, generator=generator) + y[:, None], y=y, names=("a", "b", "c"),
                   source="three", split="train")
torch.manual_seed(0)
about = dict(schedule=EDM(), shape=(2,), names=data.names, sigma_data=1.0)
net = MLPSettings(width=16, depth=1, embedding=8)
score = ScoreConfig(network=net, **about).build()
if sys.argv[2] == "dlsm":
    prior = score.eval().requires_grad_(False)
    task = ClassifierTask(ClassifierConfig(network=net, **about).build(), DLSM(), LogNormal(), prior)
else:
    objective = AdversarialScoreMatching(network=MLPDiscriminatorSettings(width=16, depth=1), discriminator_lr=1e-2)
    task = AdversarialScoreTask(score, Discriminator(objective.network, True, score), objective, LogNormal())
settings = TrainingSettings(steps=4, batch=10, lr=1e-2, micro_batch=int(sys.argv[3]) or None)
gradients = []

class Watched(Processes):
    def average_gradients(self, parameters, weight):
        parameters = list(parameters)
        super().average_gradients(parameters, weight)
        gradients.append(torch.cat([p.grad.flatten().double() for p in parameters if p.grad is not None]))

processes = Watched(cpu=True)
state = State.fresh(task.models(), settings.betas)
losses = [float(record.metrics["loss"]) for record in train(task, state, data, settings, 0, processes)]
if processes.is_main:
    found = {"count": processes.count, "losses": losses, "tensors": state.tensors(), "gradients": gradients}
    torch.save(found, sys.argv[1])
processes.wait()
if processes.count > 1:
    torch.distributed.destroy_process_group()
os._exit(0)  # an interpreter that is ending kills gloo's remaining threads, which now and then aborts the process
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def start(count: int, script: Path, *arguments: object) -> list[subprocess.Popen]:
    """A script in so many processes, by hand."""
    port = free_port()
    workers = []
    for rank in range(count):
        environment = os.environ | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        if count > 1:
            environment |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
        command = [sys.executable, script, *map(str, arguments)]
        workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    return workers


def finish(workers: list[subprocess.Popen]) -> None:
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors[-2000:]


def train_with(count: int, objective: str, tmp_path: Path, micro_batch: int = 0) -> dict:
    script, out = tmp_path / "worker.py", tmp_path / f"{count}.pt"
    script.write_text(WORKER)
    finish(start(count, script, out, objective, micro_batch))
    return torch.load(out, weights_only=True)


def assert_equal_training(alone, together, count):
    """The same losses, weights, averages and optimisers up to rounding."""
    assert (alone["count"], together["count"]) == (1, count)
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    for name, tensor in alone["tensors"].items():
        torch.testing.assert_close(together["tensors"][name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    first, same = alone["gradients"][0], together["gradients"][0]  # later ones are of weights that were rounded
    assert float((same - first).norm() / first.norm()) < 1e-6


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train_with(1, "dlsm", tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("count", [2, 3])
def test_gloo_processes_train_dlsm_as_one_does(count, alone, tmp_path):
    """Gradients with second derivatives, batches that do not divide evenly."""
    assert_equal_training(alone, train_with(count, "dlsm", tmp_path), count)


def test_gloo_processes_train_two_networks_against_each_other_as_one_does(tmp_path):
    alone, together = (train_with(count, "adversarial", tmp_path) for count in (1, 3))
    assert_equal_training(alone, together, 3)


def test_gloo_processes_train_in_parts_as_one_does_at_once(alone, tmp_path):
    """Five rows each, two at a time."""
    assert_equal_training(alone, train_with(2, "dlsm", tmp_path, micro_batch=2), 2)


TALK = """
import os, sys, time, torch
from pathlib import Path
torch.set_num_threads(1)
from condgen.metrics import Extractor, Features, Store
from condgen.networks import MLPSettings
from condgen.training import Lost, Processes

folder = Path(sys.argv[1])
processes = Processes(cpu=True)
rank, count = processes.rank, processes.count
assert (count, processes.is_main) == (2, rank == 0)

# One process decides, and writes.
def decide():
    (folder / str(os.getpid())).touch()
    return {"who": rank}

assert processes.once(decide) == {"who": 0}
assert (folder / str(os.getpid())).exists() == (rank == 0)
assert processes.gather({"rank": rank}) == ([{"rank": 0}, {"rank": 1}] if rank == 0 else [])
whole = torch.arange(7.0)[:, None]
assert torch.equal(processes.gather_rows(whole[processes.rows(7)], 7), whole)
own = {"a": torch.full((2, 3), float(rank)), "b": torch.tensor(rank + 5)}
shared = processes.share(own)
assert torch.equal(shared["a"], torch.zeros(2, 3)) and int(shared["b"]) == 5

# All stop at the same call, whoever wishes to, wherever each of them is.
for wishes in (0, 1):
    time.sleep(0.3 * rank)
    calls = 0
    while not processes.agree(rank == wishes and calls >= 100):
        time.sleep(0.0002)
        calls += 1
        assert calls < 10_000
    assert processes.gather(calls) == ([calls] * 2 if rank == 0 else [])
    assert calls >= 100

# Features are those of one process, in order; process 0 has them, and keeps them.
def features(x):
    asked.append(len(x))
    return Features(x.double() * 2, x)

asked, x = [], torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
for again in (False, True):
    store = Store(Extractor("double", features, key="k", batch=8), folder / "features", processes)
    work = store.of_samples(x, "x")
    try:
        while True:
            next(work)
    except StopIteration as stop:
        found = stop.value
    if rank == 0:
        assert torch.equal(found.vectors, x.double() * 2) and torch.equal(found.logits, x)
assert sum(asked) == (8 * 3 + 2 if rank == 0 else 8 * 3), asked

# The first that ends says why; who is gone is missed at once, by those who wait for long as well.
if rank == 1:
    os._exit(0)
begun = time.monotonic()
try:
    processes.wait()
    assert False
except Lost:
    assert time.monotonic() - begun < 5
os._exit(0)
"""


def test_processes_decide_gather_agree_and_miss_each_other(tmp_path):
    script = tmp_path / "talk.py"
    script.write_text(TALK)
    finish(start(2, script, tmp_path))


def test_one_process_talks_to_itself():
    alone = Processes(cpu=True)
    assert alone.once(lambda: 3) == alone.in_turn(lambda: 3) == 3
    assert alone.gather(2) == [2]
    assert (alone.agree(True), alone.agree(False)) == (True, False)
    assert torch.equal(alone.share({"x": torch.ones(2)})["x"], torch.ones(2))
    alone.wait()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="4 processes were started on a machine with 2 GPUs: start 2"):
        refuse_shared_gpus(cpu=False)
    refuse_shared_gpus(cpu=True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    refuse_shared_gpus(cpu=False)

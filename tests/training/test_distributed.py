import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = """
import os, sys, torch
torch.set_num_threads(1)
from condgen.classifier import Classifier, ClassifierConfig, ClassifierObjective
from condgen.data import LabelledSet
from condgen.nets import MLPDiscriminatorSettings, MLPSettings
from condgen.noise import EDM, LogNormal
from condgen.score import AdversarialObjective, Discriminator, ScoreConfig, ScoreModel
from condgen.training import Processes, State, TrainingSettings, train
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask

generator = torch.Generator().manual_seed(0)
y = torch.arange(30) % 3
data = LabelledSet(x=torch.randn(30, 2, generator=generator) + y[:, None], y=y, names=("a", "b", "c"),
                   source="three", split="train")
torch.manual_seed(0)
about = dict(schedule=EDM(), shape=(2,), names=data.names, sigma_data=1.0)
net = MLPSettings(width=16, depth=1, embedding=8)
score = ScoreModel(ScoreConfig(network=net, **about))
if sys.argv[2] == "dlsm":
    prior = score.eval().requires_grad_(False)
    task = ClassifierTask(Classifier(ClassifierConfig(network=net, **about)), ClassifierObjective(), LogNormal(), prior)
else:
    objective = AdversarialObjective(network=MLPDiscriminatorSettings(width=16, depth=1), discriminator_lr=1e-2)
    task = AdversarialScoreTask(score, Discriminator(objective.network, True, score), objective, LogNormal())
settings = TrainingSettings(steps=4, batch=10, lr=1e-2, micro_batch=int(sys.argv[3]) or None)
processes = Processes(cpu=True)
state = State.fresh(task.models(), settings.betas)
losses = [float(record.metrics["loss"]) for record in train(task, state, data, settings, 0, processes)]
if processes.is_main:
    torch.save({"count": processes.count, "losses": losses, "tensors": state.tensors()}, sys.argv[1])
processes.wait()
if processes.count > 1:
    torch.distributed.destroy_process_group()
os._exit(0)  # an interpreter that is ending kills gloo's remaining threads, which now and then aborts the process
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def train_with(count: int, objective: str, tmp_path: Path, micro_batch: int = 0) -> dict:
    script, out = tmp_path / "worker.py", tmp_path / f"{count}.pt"
    script.write_text(WORKER)
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
        workers.append(
            subprocess.Popen(
                [sys.executable, script, out, objective, str(micro_batch)],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors[-2000:]
    return torch.load(out, weights_only=True)


def assert_equal_training(alone, together, count):
    """The same losses, weights, averages and optimisers up to rounding."""
    assert (alone["count"], together["count"]) == (1, count)
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    for name, tensor in alone["tensors"].items():
        torch.testing.assert_close(together["tensors"][name], tensor, rtol=1e-4, atol=1e-6, msg=name)


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

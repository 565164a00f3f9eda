"""Two processes train as one does, and talk. Run as a script, this file is what each of the two does."""

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from models import classifier, score_model
from processes import Rank, Watched, run

from condgen import DLSM, LabelledSet, LogNormal, UserError
from condgen.losses.score_matching import AdversarialScoreMatching
from condgen.networks.discriminator import MLPDiscriminatorSettings
from condgen.runs.sample import _dealt
from condgen.training import distributed
from condgen.training.distributed import Lost, Processes, refuse_shared_gpus
from condgen.training.loop import train
from condgen.training.prior_pool import PooledPrior, PriorPool
from condgen.training.settings import TrainingSettings
from condgen.training.state import State
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask

TRAININGS = {
    "dlsm": ("dlsm", None),
    "dlsm in parts": ("dlsm", 2),
    "dlsm, pool": ("dlsm, pool", None),
    "adversarial": ("adversarial", None),
}


def trained(objective, micro_batch, folder):
    """Losses, weights and gradients of four steps of 11 rows, which two processes cannot share evenly."""
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    y = torch.arange(30) % 3
    data = LabelledSet(x=x + y[:, None], y=y, names=("a", "b", "c"), source="three", split="train")
    torch.manual_seed(0)
    score = score_model(data, sigma_data=1.0)
    settings, processes = TrainingSettings(steps=4, batch=11, lr=1e-2, micro_batch=micro_batch), Watched()
    if objective.startswith("dlsm"):
        prior, pool = score.eval().requires_grad_(False), None
        if "pool" in objective:
            kept = PooledPrior(pool=20, reuse=2)
            pool = PriorPool(prior, data, LogNormal(), kept, settings, folder / "pool", processes)
        task = ClassifierTask(classifier(data, sigma_data=1.0), DLSM(), LogNormal(), prior, pool)
    else:
        network = MLPDiscriminatorSettings(width=16, depth=1)
        loss = AdversarialScoreMatching(network=network, told_noise=True, discriminator_lr=1e-2)
        task = AdversarialScoreTask(score, LogNormal(), objective=loss)
    state = State.fresh(task.models, settings.betas)
    losses = [record.metrics["loss"] for record in train(task, state, data, settings, 0, processes)]
    first = [gradient.flatten().double() for gradient in processes.gradients[0] if gradient is not None]
    return {"losses": torch.stack(losses), "first gradient": torch.cat(first), **state.tensors()}


def talk(folder, processes):
    """Process 0 decides; all stop at the same call; rows are those of one process, in order."""
    rank = processes.rank
    who = processes.once(lambda: (folder / f"decided-{rank}").touch() or {"who": rank, "x": torch.full((2,), rank)})
    assert who["who"] == 0
    assert not who["x"].any()
    assert processes.in_turn(lambda: rank) == rank
    assert processes.gather({"rank": rank}) == ([{"rank": 0}, {"rank": 1}] if rank == 0 else [])
    whole = torch.arange(7.0)[:, None]
    assert torch.equal(processes.gather_rows(whole[processes.rows(7)], 7), whole)
    for wishes in (0, 1):
        time.sleep(0.1 * rank)
        calls = 0
        while not processes.agree(rank == wishes and calls >= 20):
            calls += 1
        assert calls == 20


def work(folder):
    torch.set_num_threads(1)
    distributed._BUCKET = 1000  # many in a network
    processes = Processes(cpu=True)
    assert (processes.count, processes.is_main) == (2, processes.rank == 0)
    found = {name: trained(*how, folder) for name, how in TRAININGS.items()}
    if processes.is_main:
        torch.save(found, folder / "found.pt")
    talk(folder, processes)
    if processes.rank == 1:
        os._exit(0)
    with pytest.raises(Lost):
        processes.wait()
    os._exit(0)  # an interpreter that is ending kills gloo's remaining threads, which now and then aborts the process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes leave behind, both of which have ended well."""
    folder = tmp_path_factory.mktemp("two")
    run([__file__, folder], 2)
    return folder


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_as_one_does(name, folder, tmp_path):
    """The same losses, gradients, weights, averages and moments up to rounding; with parts, as one does at once."""
    alone = trained(TRAININGS[name][0], None, tmp_path)
    together = torch.load(folder / "found.pt", weights_only=True)[name]
    first, same = (found.pop("first gradient") for found in (alone, together))  # later ones are of rounded weights
    assert float((same - first).norm() / first.norm()) < 1e-6
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_process_0_decides_alone(folder):
    assert [path.name for path in folder.glob("decided-*")] == ["decided-0"]


@pytest.mark.parametrize(("cpu", "gpus", "refused"), [(False, 2, True), (True, 2, False), (False, 4, False)])
def test_more_processes_than_gpus_are_refused(cpu, gpus, refused, monkeypatch):
    for name, value in {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    expected = pytest.raises(UserError, match="for 2 GPUs: start 2") if refused else nullcontext()
    with expected:
        refuse_shared_gpus(cpu)


def test_gradients_are_sent_while_others_are_computed(monkeypatch):
    """Of five layers the last layer's first, a number at a time."""
    two, sent = object.__new__(Processes), []
    two.rank, two.count = 0, 2
    monkeypatch.setattr(distributed, "_BUCKET", 1)
    monkeypatch.setattr(distributed, "all_reduce", lambda flat, async_op: sent.append(flat) or Mock())
    layers = [torch.nn.Parameter(torch.full((size,), 2.0)) for size in range(1, 6)]
    used, layers[0].grad = [*layers[1:3], layers[4]], torch.full((1,), 1.0)  # of an earlier part of the batch
    with two.averaging_gradients(layers, 0.25):
        sum(layer.sum() for layer in used).backward(inputs=layers)
        assert len(sent) == 5  # before what has no gradient, which is known in the end only
    assert len(torch.cat(sent)) == 15
    assert all(torch.equal(layer.grad, torch.full_like(layer, 0.25)) for layer in [*used, layers[0]])
    assert layers[3].grad is None


def test_rows_beyond_a_share_are_left_out():
    fourth = Rank(3, 5)
    assert fourth.rows(2) == slice(1, 1)
    assert not fourth.gather_rows(torch.ones(3, 2), 2).any()
    assert _dealt([7], 8, Rank(0, 5)) == [7]  # process 0 alone notes what all have cost


if __name__ == "__main__":
    work(Path(sys.argv[1]))

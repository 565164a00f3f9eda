"""What is known of an update that was skipped: noted on the device, rows in parts or not, in float32 or bfloat16."""

import pytest
import torch

from condgen.networks import MLPSettings
from condgen.schedules import EDM, LogNormal
from condgen.score import ScoreConfig
from condgen.training import Processes, State, Task, TrainingSettings, in_words, train
from condgen.training.spoilt import Known, Spoilt
from condgen.training.tasks import ScoreTask

ALONE = Processes(cpu=True)


def records(task, data, **settings):
    settings = TrainingSettings(steps=6, batch=12, lr=1e-2, **settings)
    state = State.fresh(task.models(), settings.betas)
    return state, train(task, state, data, settings, 0, ALONE)


class Fitting(Task):
    """Least squares with noise levels, of which one row is spoilt in step 3."""

    def __init__(self, value, flat=False):
        torch.manual_seed(0)
        self.model, self.value, self.flat, self.seen = torch.nn.Linear(16, 3), value, flat, []

    def models(self):
        return {"model": self.model}

    def update(self, batch, apply):
        t = batch.times(LogNormal(), EDM())
        self.seen.append((t, batch.y))

        def losses(x, y, t, place):
            loss = (self.model(x.flatten(1)) - torch.eye(3)[y]).square().mean(1)
            chosen = (place == 7) & (len(self.seen) == 3)
            factor = torch.where(chosen, self.value, 1.0)
            return {"loss": torch.where(chosen, self.value, loss) if self.flat else loss * factor}

        return apply("model", losses, batch.x, batch.y, t, torch.arange(12))


@pytest.mark.parametrize("flat", [False, True], ids=["with a gradient", "without"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("micro_batch", [None, 5])
def test_the_row_that_is_spoilt_is_named(tiny_images, value, micro_batch, flat):
    task = Fitting(torch.tensor(value), flat)
    state, steps = records(task, tiny_images, micro_batch=micro_batch)
    weights = []
    for record in steps:
        weights.append(task.model.weight.detach().clone())
        known = record.spoilt["model"].read()
        if record.step < 3:
            assert known is None
            continue
        t, y = task.seen[2]
        assert known == Known(3, 1, 12, pytest.approx(float(t[7])), int(y[7]))
    assert state.skipped["model"].tolist() == [1, 0]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])


def test_a_gradient_that_overflows_alone_is_told_from_a_loss():
    none = Spoilt.none_yet(torch.device("cpu"))
    losses, y = torch.tensor([1.0, 5.0, 2.0]), torch.tensor([0, 2, 1])
    taken = none.after(torch.tensor(True), 4, losses, y, None)
    assert taken.read() is None
    known = none.after(torch.tensor(False), 4, losses, y, None).read()
    assert known == Known(4, 0, 3, None, 2)
    assert in_words(known, ("a", "b", "c")) == "no row by itself, the one of greatest loss of class 'c'"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("huge", ["weights", "inputs"])
def test_overflow_in_a_network_is_detected(tiny_images, precision, huge):
    network = MLPSettings(width=16, depth=2, embedding=8)
    about = {"shape": tiny_images.shape, "names": tiny_images.names, "sigma_data": 1e-30 if huge == "inputs" else 0.5}
    model = ScoreConfig(network=network, schedule=EDM(sigma_min=1e-32, sigma_max=80), **about).build()
    if huge == "weights":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1e25).add_(1e25)
    state, steps = records(
        ScoreTask(model, LogNormal(mean=-60.0 if huge == "inputs" else -1.2)), tiny_images, precision=precision
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    *_, last = steps
    assert state.skipped["model"].tolist() == [6, 6]
    assert last.spoilt["model"].read().step == 6
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

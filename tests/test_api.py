"""The public names, and the three calls of a notebook, on a network of one's own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import condgen as cg
from condgen.losses.distillation import distribution_matching_loss, score_identity_loss

SHAPE, NAMES = (2,), ("left", "right")


class Net(nn.Module):
    """net(x, noise, y) and net(x, noise): points of the plane in, as many numbers out."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 2))

    def forward(self, x, noise, y=None):
        return self.layers(torch.cat([x, noise[:, None]], 1))


def models():
    torch.manual_seed(0)
    return cg.ScoreModel(Net(), cg.EDM(), SHAPE, NAMES), cg.Classifier(Net(), cg.EDM(), SHAPE, NAMES)


def test_every_public_name_exists_and_the_import_alone_takes_no_torch():
    assert len({getattr(cg, name) for name in cg.__all__}) == len(cg.__all__)
    assert set(dir(cg)) == set(cg.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = cg.nothing
    code = "import condgen, sys; assert not {'torch', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_network_of_ones_own_learns_by_a_loop_of_ones_own():
    score, classifier = models()
    x = torch.randn(64, 2) * 0.3 + torch.tensor([1.0, 0.0]) * (2 * (torch.arange(64) % 2)[:, None] - 1)
    y, density, losses = torch.arange(64) % 2, cg.LogNormal(), []
    optimizer = torch.optim.Adam([*score.parameters(), *classifier.parameters()], lr=1e-2)
    for _ in range(60):
        t, eps = density.quantile(cg.EDM(), torch.rand(64, dtype=torch.float64)), torch.randn(64, 2)
        dlsm = cg.dlsm_loss(classifier, score, x, y, t, eps, sigma_weight=1.0, ce_weight=1.0)
        loss = cg.score_matching_loss(score, x, t, eps).mean() + dlsm.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    drawn = cg.sample(cg.ClassifierGuided(score, classifier), [0] * 40 + [1] * 40, nfe=20)
    assert float(drawn[40:, 0].mean()) > float(drawn[:40, 0].mean()) + 0.5
    rows = cg.diagnose(score, {"guided": cg.ClassifierGuided(score, classifier)}, x, y, levels=(0.5, 2.0), n=50)
    assert {(row.method, row.quantity) for row in rows} >= {("prior", "D"), ("guided", "D_P"), ("guided", "D_L")}


def test_a_sample_depends_on_its_own_seed_and_label_alone():
    score, classifier = models()
    guided = cg.ClassifierGuided(score, classifier)
    whole = cg.sample(guided, [0, 1, 1], nfe=8, seed=5)
    torch.testing.assert_close(whole, cg.sample(guided, [0, 1, 1], nfe=8, seed=[5, 6, 7], batch=1))
    torch.testing.assert_close(whole[1:], cg.sample(guided, torch.tensor([1, 1]), nfe=8, seed=6))
    assert cg.sample(score, n=3, sampler="adaptive-ode").shape == (3, 2)


def test_the_oracle_is_sampled_at_its_own_points():
    points = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
    oracle = cg.Oracle(cg.EDM(), points, torch.tensor([0, 1]), 2)
    torch.testing.assert_close(cg.sample(oracle, [0, 1], sampler="heun"), points, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"y": [0, 1], "seed": [1, 2, 3]}, ValueError, "3 seeds for 2 samples"),
        ({"y": [0, 2]}, ValueError, "labels lie in 0 to 1"),
        ({"y": [0.5]}, TypeError, "a whole number"),
        ({"y": [0, 1], "n": 3}, ValueError, "2 labels and n = 3"),
        ({}, ValueError, "give y"),
        ({"n": 1, "sampler": "adaptive-ode", "nfe": 9}, ValueError, "chooses its own steps"),
        ({"n": 1, "sampler": "adaptive-ode", "options": {"tol": 1}}, cg.UserError, "no such setting"),
    ],
    ids=repr,
)
def test_what_does_not_go_together_is_said(arguments, error, words):
    with pytest.raises(error, match=words):
        cg.sample(models()[0], **arguments)


def test_wrong_types_inference_mode_and_networks_that_nothing_describes_are_answered_in_words(tmp_path):
    score, classifier = models()
    with pytest.raises(cg.UserError, match="nothing describes"):
        score.save(tmp_path)
    with pytest.raises(TypeError, match="put it in ScoreModel"):
        cg.sample(Net(), n=1)
    with torch.inference_mode(), pytest.raises(cg.UserError, match=r"torch\.no_grad"):
        cg.sample(cg.ClassifierGuided(score, classifier), [0])


def test_the_tour_runs(capsys):
    notebook = json.loads((Path(__file__).parents[1] / "assets" / "tour.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    shares = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if "share of samples" in line]
    assert min(map(float, shares)) > 0.8


def small_oracle(schedule):
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    return cg.Oracle(schedule, x, torch.arange(40) % 2, 2), x, torch.arange(40) % 2


def test_a_subclass_of_guidance_is_measured_by_what_it_does():
    class Nothing(cg.ClassifierGuided):
        def forward(self, x_t, t, y=None):
            return torch.zeros_like(x_t)

    oracle, x, y = small_oracle(cg.EDM())
    methods = {"exact": cg.ClassifierGuided(oracle, oracle.likelihood), "own": Nothing(oracle, oracle.likelihood)}
    (row,) = cg.held_out_differences(methods, ["exact"], x, y, (1.0,), draws=1)
    assert row.mean > 0.1
    found = {row.method: row.mean for row in cg.diagnose(oracle, methods, x, y, levels=(1.0,)) if row.quantity == "D_P"}
    assert found["exact"] < 1e-6 < found["own"]


def test_models_of_different_schedules_are_refused():
    (oracle, x, y), (other, *_) = small_oracle(cg.EDM()), small_oracle(cg.VP())
    t, eps = torch.ones(40, dtype=torch.float64), torch.zeros(40, 2)
    for act in (
        lambda: cg.diagnose(oracle, {"other": other}, x, y, levels=(1.0,), n=10),
        lambda: cg.held_out_differences({"oracle": oracle, "other": other}, ["oracle"], x, y, (1.0,)),
        lambda: cg.dlsm_loss(models()[1], other, x, y, t, eps),
        lambda: score_identity_loss(oracle, other, x, t, eps, y),
        lambda: distribution_matching_loss(oracle, other, x, t, eps, y),
    ):
        with pytest.raises(ValueError, match="schedule"):
            act()


def test_dropout_is_off_while_models_are_sampled_and_measured_and_then_as_it_was():
    score, classifier = models()
    score.net.layers.append(nn.Dropout(0.5))
    guided = cg.ClassifierGuided(score.train(), classifier)
    first, second = (cg.sample(guided, [0, 1], nfe=4) for _ in range(2))
    assert torch.equal(first, second)
    _, x, y = small_oracle(cg.EDM())
    rows = [cg.held_out_differences({"a": guided, "b": score}, ["b"], x, y, (1.0,), draws=1) for _ in range(2)]
    assert rows[0] == rows[1]
    assert score.net.layers[-1].training


def test_no_samples_seeds_of_numpy_and_labels_of_bytes():
    score, classifier = models()
    guided = cg.ClassifierGuided(score, classifier)
    assert cg.sample(score, n=0).shape == cg.sample(guided, []).shape == (0, 2)
    plain = cg.sample(guided, [0, 1], nfe=4, seed=3)
    assert torch.equal(cg.sample(guided, np.array([0, 1], np.uint8), nfe=4, seed=np.int64(3)), plain)

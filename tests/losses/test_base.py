import sys

import pytest
import torch

from condgen import DLSM, EDM, CrossEntropy, Oracle, UserError, cross_entropy_loss, perturb
from condgen.losses import classifier_loss
from condgen.losses.base import Noised

ORACLE = Oracle(EDM(), torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]]).double(), torch.arange(3), 3, stds=0.6)
OWN = """
from condgen import cross_entropy_loss, dlsm_loss

def scaled(classifier, x, y, t, eps, factor=1.0):
    return factor * cross_entropy_loss(classifier, x, y, t, eps)

def matched(classifier, x, y, t, eps, prior_eps):
    loss = dlsm_loss(classifier, prior_eps, x, y, t, eps, ce_weight=0.25)
    return {"loss": loss, "mine": 2 * loss}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_losses", None)


def batch():
    generator = torch.Generator().manual_seed(0)
    x, y = ORACLE.sample(20, generator)
    return x, y, torch.linspace(0.2, 4, 20).double(), torch.randn(20, 2, generator=generator, dtype=torch.float64)


def found(loss):
    x, y, t, eps = batch()
    prior_eps = ORACLE.eps(perturb(EDM(), x, t, eps), t) if loss.needs_prior else None
    return loss(ORACLE.likelihood, Noised(x, y, t, eps, prior_eps))


def test_a_function_of_ones_own_is_a_loss(own):
    loss = classifier_loss({"loss": "import", "target": "my_losses:scaled", "options": {"factor": 3.0}}, "here")
    assert not loss.needs_prior
    torch.testing.assert_close(found(loss)["loss"], 3 * found(CrossEntropy())["loss"])
    assert classifier_loss(loss.model_dump(mode="json"), "here") == loss


def test_one_that_has_a_prior_is_given_it_and_may_log_more(own):
    loss = classifier_loss({"loss": "import", "target": "my_losses:matched"}, "here")
    assert loss.needs_prior
    shown = found(loss)
    torch.testing.assert_close(shown["loss"], found(DLSM(ce_weight=0.25))["loss"])
    assert torch.equal(shown["mine"], 2 * shown["loss"])


def test_label_smoothing_is_that_of_torch():
    x, y, t, eps = batch()
    log_p = ORACLE.likelihood(x + t[:, None] * eps, t)
    expected = torch.nn.functional.cross_entropy(log_p, y, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy_loss(ORACLE.likelihood, x, y, t, eps, label_smoothing=0.1), expected)


def test_an_unknown_loss_is_named():
    with pytest.raises(UserError, match=r"here: .*'hinge'.*'ce'"):
        classifier_loss({"loss": "hinge"}, "here")
    with pytest.raises(UserError, match="nowhere:f cannot be imported"):
        _ = classifier_loss({"loss": "import", "target": "nowhere:f"}, "here").needs_prior

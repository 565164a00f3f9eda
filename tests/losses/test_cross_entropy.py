import torch

from condgen import EDM, Oracle, cross_entropy_loss
from condgen.losses import classifier_loss
from condgen.losses.base import Noised

ORACLE = Oracle(EDM(), torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]]).double(), torch.arange(3), 3, stds=0.6)


def batch():
    generator = torch.Generator().manual_seed(0)
    x, y = ORACLE.sample(40, generator)
    return x, y, torch.linspace(0.2, 4, 40).double(), torch.randn(40, 2, generator=generator, dtype=torch.float64)


def test_focal_loss_is_its_formula_and_cross_entropy_at_zero():
    ce = cross_entropy_loss(ORACLE.likelihood, *batch())
    for gamma, expected in ((2.5, (1 - (-ce).exp()) ** 2.5 * ce), (0.0, ce)):
        focal = classifier_loss({"loss": "focal", "gamma": gamma}, "here")(ORACLE.likelihood, Noised(*batch()))
        torch.testing.assert_close(focal["loss"], expected)


def test_label_smoothing_is_that_of_torch():
    x, y, t, eps = batch()
    log_p = ORACLE.likelihood(x + t[:, None] * eps, t)
    expected = torch.nn.functional.cross_entropy(log_p, y, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy_loss(ORACLE.likelihood, x, y, t, eps, label_smoothing=0.1), expected)

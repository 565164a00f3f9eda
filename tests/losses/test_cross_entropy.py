import torch

from condgen import EDM, Oracle, cross_entropy_loss

ORACLE = Oracle(EDM(), torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]]).double(), torch.arange(3), 3, stds=0.6)


def batch():
    generator = torch.Generator().manual_seed(0)
    x, y = ORACLE.sample(40, generator)
    return x, y, torch.linspace(0.2, 4, 40).double(), torch.randn(40, 2, generator=generator, dtype=torch.float64)


def test_label_smoothing_is_that_of_torch():
    x, y, t, eps = batch()
    log_p = ORACLE.likelihood(x + t[:, None] * eps, t)
    expected = torch.nn.functional.cross_entropy(log_p, y, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy_loss(ORACLE.likelihood, x, y, t, eps, label_smoothing=0.1), expected)

import torch

from condgen import EDM, Oracle, cross_entropy_loss


def test_label_smoothing_is_that_of_torch():
    oracle = Oracle(EDM(), torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]]).double(), torch.arange(3), 3, stds=0.6)
    generator = torch.Generator().manual_seed(0)
    (x, y), t = oracle.sample(40, generator), torch.linspace(0.2, 4, 40).double()
    eps = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    log_p = oracle.likelihood(x + t[:, None] * eps, t)
    expected = torch.nn.functional.cross_entropy(log_p, y, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy_loss(oracle.likelihood, x, y, t, eps, label_smoothing=0.1), expected)

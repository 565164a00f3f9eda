import numpy as np
import pytest
import torch

from condgen.checkpoint import MODEL_FILE, save_tensors
from condgen.errors import UserError
from condgen.losses import Discriminator, adversarial_loss, discriminator_loss, score_matching_loss
from condgen.networks import MLPDiscriminatorSettings, MLPSettings
from condgen.schedules import EDM, VE, VP, Cosine, perturb
from condgen.score import ScoreConfig, ScoreModel


def config(schedule=None, **changes):
    given = {
        "network": MLPSettings(width=16, depth=1, embedding=8),
        "schedule": schedule or EDM(),
        "shape": (1, 4, 4),
        "names": ("a", "b"),
        "sigma_data": 0.7,
    }
    return ScoreConfig(**(given | changes))


def model(schedule=None, seed=0, **changes):
    torch.manual_seed(seed)
    return config(schedule, **changes).build()


X = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("schedule", [VP(), Cosine(), EDM()], ids=lambda s: s.kind)
def test_rescheduling_leaves_the_denoised_mean_unchanged(schedule):
    level = torch.tensor([0.05, 0.3, 1.0, 4.0, 30.0], dtype=torch.float64)
    here, there = model(schedule), model(VE())
    t, t_there = schedule.t_of_noise_level(level), VE().t_of_noise_level(level)
    alpha = schedule.alpha(t).float().view(-1, 1, 1, 1)
    torch.testing.assert_close(here(alpha * X, t), there(X, t_there), rtol=1e-4, atol=1e-5)


def test_preconditioning_has_the_right_limits():
    net = model(EDM(sigma_min=1e-6, sigma_max=1e5))
    clean = net(X, torch.tensor(1e-6, dtype=torch.float64))
    torch.testing.assert_close(clean, X, rtol=1e-4, atol=1e-4)  # without noise it returns its input
    drowned = net(1e5 * X, torch.tensor(1e5, dtype=torch.float64))
    assert float(drowned.detach().std()) < 1.5  # with nothing but noise it stays at the scale of the data


def test_loss_is_the_weighted_squared_error_and_about_one_at_the_start(tiny_images):
    x = tiny_images.floats()
    net = model(sigma_data=tiny_images.standard_deviation())
    t = torch.linspace(0.1, 3, len(x), dtype=torch.float64)
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    loss = score_matching_loss(net, x, t, eps)
    s, d = t.float(), tiny_images.standard_deviation()
    by_hand = (s**2 + d**2) / (s * d) ** 2 * (net(perturb(EDM(), x, t, eps), t) - x).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, by_hand)
    assert 0.5 < float(loss.detach().mean()) < 2


def test_exact_denoiser_has_no_gradient_in_expectation():
    """Denoising score matching is minimised by E[x | x_t]: no shift of a network at the optimum lowers the loss."""

    class Shifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.schedule, self.sigma_data = EDM(), 0.7
            self.shift = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x_t, t, y=None):
            return x_t / (1 + t.float().view(-1, 1) ** 2) + self.shift  # exact for N(0, 1)

    net, generator = Shifted(), torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 100_000, 1, generator=generator)
    loss = score_matching_loss(net, x, torch.ones(100_000, dtype=torch.float64), eps).mean()
    (gradient,) = torch.autograd.grad(loss, net.shift)
    assert abs(float(gradient)) < 0.05


def test_a_file_rebuilds_the_model_with_no_recipe(tmp_path):
    net = model()
    save_tensors(tmp_path / MODEL_FILE, net.state_dict(), net.config.model_dump(mode="json"))
    again = ScoreModel.load(tmp_path)
    t = torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(again(X, t), net(X, t))
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_wrong_files_are_refused_in_one_line(tmp_path):
    net, path = model(), tmp_path / MODEL_FILE
    with pytest.raises(UserError, match="does not exist"):
        ScoreModel.load(tmp_path)
    save_tensors(path, net.state_dict(), {**net.config.model_dump(mode="json"), "kind": "classifier"})
    with pytest.raises(UserError, match="holds a classifier, where a score model is needed"):
        ScoreModel.load(tmp_path)
    other = config(network=MLPSettings(width=24, depth=1, embedding=8))
    save_tensors(path, net.state_dict(), other.model_dump(mode="json"))
    with pytest.raises(UserError, match="does not fit the architecture"):
        ScoreModel.load(tmp_path)
    save_tensors(path, net.state_dict(), net.config.model_dump(mode="json"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged or cut short"):
        ScoreModel.load(tmp_path)
    path.write_bytes(b"\x80\x04\x95")  # a pickle's first bytes
    with pytest.raises(UserError, match="damaged or cut short"):
        ScoreModel.load(tmp_path)


Y = torch.tensor([0, 1, 1, 0, 1])
T = torch.linspace(0.2, 4, 5, dtype=torch.float64)


def test_a_model_without_labels_ignores_them():
    net = model()
    assert net.null_label is None
    assert torch.equal(net(X, T, Y), net(X, T))


def test_no_label_is_the_last_row_of_the_embedding():
    net = model(labels="embedding")
    assert net.null_label == 2
    assert torch.equal(net(X, T), net(X, T, torch.full_like(Y, 2)))
    assert float((net(X, T, Y) - net(X, T)).detach().abs().max()) > 1e-4
    mixed = net(X, T, torch.tensor([0, 2, 1, 2, 1])).detach()
    torch.testing.assert_close(mixed[[0, 2, 4]], net(X, T, Y).detach()[[0, 2, 4]])
    torch.testing.assert_close(mixed[[1, 3]], net(X, T).detach()[[1, 3]])


def test_separate_networks_are_as_many_models_each_asked_about_its_own_class():
    net = model(labels="separate").eval()
    expected = torch.zeros_like(X)
    for label in (0, 1):
        alone = model().eval()
        alone.net.load_state_dict(net.net[label].state_dict())
        rows = Y.eq(label)
        expected[rows] = alone(X[rows], T[rows]).detach()
    torch.testing.assert_close(net(X, T, Y).detach(), expected, rtol=1e-5, atol=1e-6)
    asked = []
    for label, part in enumerate(net.net):
        part.register_forward_pre_hook(lambda _, inputs, label=label: asked.append((label, len(inputs[0]))))
    net(X[:2], T[:2], torch.tensor([1, 1]))
    assert asked == [(1, 2)]


def test_separate_networks_need_labels_that_exist():
    net = model(labels="separate")
    with pytest.raises(ValueError, match="needs labels"):
        net(X, T)
    with pytest.raises(ValueError, match="no class 2 among 2"):
        net(X, T, Y + 1)


def test_an_absent_class_has_a_gradient_of_zero_in_training():
    net = model(labels="separate").train()
    loss = score_matching_loss(net, X, T, torch.randn(X.shape), torch.zeros_like(Y)).mean()
    gradients = torch.autograd.grad(loss, list(net.parameters()))  # raises where one is missing
    halves = [
        sum(float(g.abs().sum()) for g in half)
        for half in (gradients[: len(gradients) // 2], gradients[len(gradients) // 2 :])
    ]
    assert halves[0] > 0
    assert halves[1] == 0


@pytest.mark.parametrize("labels", ["embedding", "separate"])
def test_a_file_rebuilds_models_that_know_labels(labels, tmp_path):
    net = model(labels=labels)
    save_tensors(tmp_path / MODEL_FILE, net.state_dict(), net.config.model_dump(mode="json"))
    again = ScoreModel.load(tmp_path)
    assert again.config.labels == labels
    torch.testing.assert_close(again(X, T, Y), net(X, T, Y).detach())


def discriminator(net, told_noise=False):
    torch.manual_seed(1)
    network = MLPDiscriminatorSettings(width=16, depth=1)
    return Discriminator(network, told_noise, net).eval()


def test_losses_of_an_adversary_are_least_squares_to_plus_and_minus_one():
    judge = discriminator(model())
    real, fake = 0.4 * X, 0.1 * X.flip(0)
    _, on_real, on_fake = discriminator_loss(judge, real, fake, T).values()
    c_real, c_fake = judge(real, T).detach().double().numpy(), judge(fake, T).detach().double().numpy()
    np.testing.assert_allclose(on_real.detach().numpy(), (c_real - 1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(on_fake.detach().numpy(), (c_fake + 1) ** 2, rtol=1e-5)
    losses = adversarial_loss(model(), judge, real, T, X, weight=0.7)
    denoised = model()(perturb(EDM(), real, T, X), T)
    c = judge(denoised, T).detach().double().numpy()
    np.testing.assert_allclose(losses["adversarial"].detach().numpy(), (c - 1) ** 2, rtol=1e-5)
    assert torch.equal(losses["dsm"], score_matching_loss(model(), real, T, X))


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
def test_weight_one_is_the_papers_balance_but_for_the_stated_term(schedule):
    """2/d of (half the squared norm of s_theta + z, summed, plus lambda (C(H) - 1)^2), plus |H - x|^2 / (d s_d^2)."""
    net, weight = model(schedule), 1.7
    judge = discriminator(net)
    t = schedule.t_of_noise_level(torch.tensor([0.02, 0.3, 1, 5, 50], dtype=torch.float64))
    x, eps = 0.4 * X, torch.randn(X.shape, generator=torch.Generator().manual_seed(3))
    total = adversarial_loss(net, judge, x, t, eps, weight=weight)["loss"].detach().double()
    s = schedule.noise_level(t)
    wide = s.view(-1, 1, 1, 1)
    x_noised = x.double() + wide * eps.double()  # the paper's x~
    denoised = net(perturb(schedule, x, t, eps), t).detach()
    s_theta = (denoised.double() - x_noised) / wide  # H = x~ + sigma s_theta
    adversarial = (judge(denoised, t).detach().double() - 1) ** 2
    paper = 0.5 * (s_theta + eps.double()).square().sum((1, 2, 3)) + weight * adversarial
    surplus = (denoised - x).double().square().mean((1, 2, 3)) / 0.7**2
    torch.testing.assert_close(total, 2 / 16 * paper + surplus, rtol=2e-3, atol=1e-4)
    below = s < 0.1 * 0.7
    assert float((surplus / total)[below].max()) < 0.01


def test_weight_zero_is_denoising_score_matching_bit_for_bit():
    net, x = model(), 0.4 * X
    judge, parameters = discriminator(net), list(net.parameters())
    plain = torch.autograd.grad(score_matching_loss(net, x, T, X).mean(), parameters)
    for weight, same in ((0.0, True), (1.0, False)):
        total = adversarial_loss(net, judge, x, T, X, weight=weight)["loss"]
        found = torch.autograd.grad(total.mean(), parameters)
        assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True)) is same


def test_a_discriminator_sees_images_clamped_and_points_as_they_are():
    judge = discriminator(model())
    assert torch.equal(judge(3 * X, T), judge((3 * X).clamp(-1, 1), T))
    points = discriminator(model(shape=(3,)))
    x = torch.linspace(2, 4, 15).view(5, 3)
    assert float((points(x, T) - points(x.clamp(-1, 1), T)).detach().abs().min()) > 1e-3


def test_a_discriminator_sees_unit_variance_and_the_noise_level_where_it_is_told():
    seen = []
    for schedule in (EDM(), VP()):
        judge = discriminator(model(schedule), told_noise=True)
        judge.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
        level = torch.tensor([0.1, 0.5, 1, 5, 20], dtype=torch.float64)
        judge(0.3 * X, schedule.t_of_noise_level(level))
        torch.testing.assert_close(seen[-1][0], (0.3 * X).clamp(-1, 1) / 0.7)
        torch.testing.assert_close(seen[-1][1], (level.log() / 4).float(), rtol=1e-4, atol=1e-4)
    blind = discriminator(model())
    assert torch.equal(blind(X, T), blind(X, T + 1))


def test_the_adversary_moves_the_best_estimate_by_the_stated_amount():
    """The loss has no slope where D - E[x | x_t] = 2 w / lambda (1 - C) grad C, with x of mean E[x | x_t]."""
    judge = discriminator(model(shape=(2,)))
    mean, weight, s = torch.tensor([[0.3, -0.2]]), 0.5, 0.4
    at = mean + torch.tensor([[0.07, 0.02]])

    class Fixed(torch.nn.Module):
        """A denoiser that says `at` whatever it sees."""

        def __init__(self):
            super().__init__()
            self.schedule, self.sigma_data = EDM(), 0.7

        def forward(self, x_t, t, y=None):
            return estimate.expand(len(x_t), 2)

    estimate = at.clone().requires_grad_()
    t = torch.full((1,), s, dtype=torch.float64)
    total = adversarial_loss(Fixed(), judge, mean, t, torch.zeros(1, 2), weight=weight)["loss"]
    (found,) = torch.autograd.grad(total.sum(), estimate)
    c = judge(estimate, t)
    (slope,) = torch.autograd.grad(c.sum(), estimate)
    inverse = s**2 * 0.7**2 / (s**2 + 0.7**2)
    torch.testing.assert_close(found, 2 / 2 / inverse * (at - mean - 2 * weight * inverse * (1 - c.detach()) * slope))

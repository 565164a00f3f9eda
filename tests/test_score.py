import pytest
import torch
from models import score_model

from condgen import EDM, VE, VP, Cosine, MLPSettings, ScoreModel, UserError, load, perturb, score_matching_loss
from condgen.checkpoint import MODEL_FILE, save_tensors


def model(schedule=None, **changes):
    torch.manual_seed(0)
    return score_model(schedule=schedule or EDM(), **{"sigma_data": 0.7} | changes)


X = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("schedule", [VP(), Cosine(), EDM()], ids=lambda s: s.kind)
def test_rescheduling_leaves_the_denoised_mean_unchanged(schedule):
    level = torch.tensor([0.05, 0.3, 1.0, 4.0, 30.0], dtype=torch.float64)
    here, there = model(schedule), model(VE())
    t, t_there = schedule.t_of_noise_level(level), VE().t_of_noise_level(level)
    alpha = schedule.alpha(t).float().view(-1, 1, 1, 1)
    torch.testing.assert_close(here(alpha * X, t), there(X, t_there), rtol=1e-4, atol=1e-5)


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


def test_wrong_files_are_refused_and_those_of_another_version_named_as_such(tmp_path):
    net, path = model(), tmp_path / MODEL_FILE
    about, wider = (one.config.model_dump(mode="json") for one in (net, model(network=MLPSettings(width=24))))
    newer = about | {"network": about["network"] | {"gate": True}}
    with pytest.raises(UserError, match="does not exist"):
        ScoreModel.load(tmp_path)
    for changed, message in (
        (about | {"kind": "classifier"}, "holds a classifier, where a score model is needed"),
        (wider, "does not fit the architecture"),
        (newer, r"network\.gate: no such setting.*made by a newer condgen"),
        ({"kind": "score model", "network": {"kind": "hypernet"}}, r"the model in .*: shape: Field required"),
    ):
        save_tensors(path, net.state_dict(), changed)
        with pytest.raises(UserError, match=message):
            ScoreModel.load(tmp_path)
    save_tensors(path, net.state_dict(), about)
    for content in (path.read_bytes()[: path.stat().st_size // 2], b"\x80\x04\x95"):  # cut short, a pickle
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or cut short"):
            ScoreModel.load(tmp_path)


Y = torch.tensor([0, 1, 1, 0, 1])
T = torch.linspace(0.2, 4, 5, dtype=torch.float64)


def test_separate_networks_are_as_many_models_each_asked_about_its_own_class_and_need_one():
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
    with pytest.raises(ValueError, match="needs labels"):
        net(X, T)
    with pytest.raises(ValueError, match="no class 2 among 2"):
        net(X, T, Y + 1)


@pytest.mark.parametrize("labels", ["none", "embedding", "separate"])
def test_a_file_rebuilds_the_model_with_no_recipe(labels, tmp_path):
    net = model(labels=labels)
    net.save(str(tmp_path))
    again = load(str(tmp_path))
    assert (type(again), again.config) == (ScoreModel, net.config)
    assert again.null_label == (2 if labels == "embedding" else None)
    assert torch.equal(again(X, T, Y), net(X, T, Y))
    assert not any(parameter.requires_grad for parameter in again.parameters())

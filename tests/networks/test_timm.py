import pytest
import torch
from torch import nn

from condgen import EDM, UserError, dlsm_loss
from condgen.classifier import ClassifierConfig
from condgen.networks.timm import TimmClassifier, TimmSettings

# Small networks of each family: with plain and with activating batch normalisation, without any, with fused attention,
# with weights that start at zero, with hard activations whose second derivative torch does not know.
NAMES = ["test_resnet", "test_byobnet", "test_efficientnet", "test_vit", "test_nfnet", "mobilenetv3_small_050"]


def classifier(name, shape=(2, 32, 32)):
    torch.manual_seed(0)
    return TimmClassifier(TimmSettings(name=name, embedding=8), shape, 3)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_that_breaks_a_loss_on_the_input_gradient(name):
    net = classifier(name)
    for module in net.modules():
        assert "BatchNorm" not in type(module).__name__
        assert not isinstance(module, nn.ReLU | nn.ReLU6 | nn.Hardswish | nn.Hardsigmoid)
        assert not getattr(module, "inplace", False)
        assert not getattr(module, "fused_attn", False)


def test_small_images_keep_their_size_in_the_stem():
    def sizes(name, shape):
        net, seen = classifier(name, shape), []
        net.backbone.layer1.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[2]))
        with torch.no_grad():
            net(torch.randn(1, *shape), torch.zeros(1))
        return seen

    assert sizes("resnet10t", (3, 32, 32)) == [32]  # the deep stem
    assert sizes("resnet18", (3, 32, 32)) == [32]
    assert sizes("resnet18", (3, 128, 128)) == [32]


def test_a_backbone_that_cannot_be_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"no backbone named 'resnet_18': timm.list_models\(\) names them all"):
        classifier("resnet_18")
    with pytest.raises(UserError, match="'test_vit' cannot take images of 8x8"):
        classifier("test_vit", (1, 8, 8))
    with pytest.raises(UserError, match="needs images"):
        classifier("test_vit", (2,))


@pytest.mark.parametrize("name", [*NAMES, "resnet18", "convnext_atto", "vit_tiny_patch16_224"])  # and what people use
def test_every_family_trains_with_dlsm(name):
    """A small step against its gradient lowers the loss by as much as that says; samples do not see each other."""
    torch.manual_seed(0)
    about = {"schedule": EDM(), "shape": (3, 32, 32), "names": ("a", "b"), "sigma_data": 0.5}
    model = ClassifierConfig(network=TimmSettings(name=name), **about).build().double().eval()
    x, eps, prior_eps = torch.randn(3, 2, 3, 32, 32, dtype=torch.float64)
    y, t = torch.arange(2), torch.tensor([0.5, 2.0], dtype=torch.float64)
    torch.testing.assert_close(model(x[:1], t[:1]), model(x, t)[:1], atol=1e-9, rtol=0)
    parameters = list(model.parameters())

    def dlsm():
        return dlsm_loss(model, prior_eps, x, y, t, eps).mean()

    before = dlsm()
    gradients = torch.autograd.grad(before, parameters, materialize_grads=True)
    assert all(bool(g.any()) for g in gradients)
    length = sum(float(g.square().sum()) for g in gradients)
    step = 1e-6 / length  # aims at a fall of 1e-6
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p -= step * g
    assert float((before - dlsm()).detach()) == pytest.approx(1e-6, rel=0.05)

"""Networks of one's own, named by their import path."""

import sys

import pytest
import torch
from models import classifier, score_model

from condgen import Classifier, ImportedNetwork, ResNetSettings, ScoreModel, UNetSettings, UserError
from condgen.checkpoint import trusted_imports
from condgen.settings import import_target

SOURCE = """
import torch

class Net(torch.nn.Module):
    def __init__(self, shape, n_classes, width=3, latent=None):
        super().__init__()
        self.arguments = (shape, n_classes, latent)
        self.line = torch.nn.Linear(shape[0], width)

    def forward(self, x, noise, y=None):
        return self.line(x) + noise[:, None]

def nothing(shape, n_classes):
    return None
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The import path of a network in the current folder, which is not among those that Python knows."""
    (tmp_path / "my_networks.py").write_text(SOURCE)
    (tmp_path / "my_broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in sys.path if p])
    yield "my_networks:Net"
    sys.modules.pop("my_networks", None)


def test_the_constructor_receives_shape_classes_latent_and_options(own):
    network = ImportedNetwork(target=own, options={"width": 5})
    assert network.build_denoiser((2,), None).arguments == ((2,), None, None)
    assert network.build_classifier((2,), 7).arguments == ((2,), 7, None)
    assert network.build_generator((2,), 7, 9).arguments == ((2,), 7, 9)
    assert network.build_denoiser((2,), None).line.out_features == 5


@pytest.mark.parametrize(("cls", "make"), [(ScoreModel, score_model), (Classifier, classifier)])
def test_a_model_file_that_names_code_is_built_for_those_alone_who_trust_it(own, tmp_path, cls, make):
    made = make(network=ImportedNetwork(target=own, options={"width": 2}), shape=(2,))
    made.save(tmp_path)
    with pytest.raises(UserError, match=r"names code to run, my_networks:Net.*--trust"):
        cls.load(tmp_path)
    with pytest.raises(UserError, match="--trust"), trusted_imports(["another:Net"]):
        cls.load(tmp_path)
    x, t = torch.randn(3, 2), torch.tensor(1.0)
    with trusted_imports([own]):
        assert torch.equal(cls.load(tmp_path)(x, t), made(x, t))
    assert torch.equal(cls.load(tmp_path, trust=True)(x, t), made(x, t))
    with pytest.raises(UserError, match="--trust"):
        cls.load(tmp_path)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_package:Net", "ModuleNotFoundError.*install it, or run in the folder it is in"),
        ("my_networks:Nett", "AttributeError"),
        ("my_broken:Net", "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_imported_is_a_line_that_names_it(own, target, reason):
    with pytest.raises(UserError, match=reason) as caught:
        import_target(target)
    assert target in str(caught.value)


def test_what_makes_no_module_is_refused(own):
    with pytest.raises(UserError, match="makes a NoneType, where a torch"):
        ImportedNetwork(target="my_networks:nothing").build_denoiser((2,), None)


def test_a_kind_that_cannot_play_a_role_is_refused():
    for build in (
        lambda: ResNetSettings().build_denoiser((2, 8, 8), None),
        lambda: UNetSettings().build_classifier((2, 8, 8), 3),
        lambda: UNetSettings().build_generator((2, 8, 8), 3, 6),
        lambda: UNetSettings().build_discriminator((2, 8, 8), told_noise=False),
    ):
        with pytest.raises(UserError, match=r"network kind '\w+' cannot be a \w+"):
            build()

"""What the builders accept, refuse and make by default."""

import pytest
from pydantic import TypeAdapter, ValidationError

from condgen.errors import UserError
from condgen.networks import (
    AnyClassifierNet,
    AnyDenoiserNet,
    AnyDiscriminatorNet,
    AnyGeneratorNet,
    ResNetSettings,
    TimmSettings,
    UNetSettings,
)

IMAGES, CLASSES, LATENT = (2, 8, 8), 3, 6


def test_a_kind_that_cannot_play_a_role_is_refused():
    for build in (
        lambda: ResNetSettings().build_denoiser(IMAGES, None),
        lambda: UNetSettings().build_classifier(IMAGES, CLASSES),
        lambda: TimmSettings().build_generator(IMAGES, CLASSES, LATENT),
        lambda: UNetSettings().build_discriminator(IMAGES, told_noise=False),
    ):
        with pytest.raises(UserError, match=r"network kind '\w+' cannot be a \w+"):
            build()


@pytest.mark.parametrize(
    ("union", "kinds"),
    [
        (AnyDenoiserNet, {"mlp", "unet", "transformer"}),
        (AnyClassifierNet, {"mlp", "resnet", "timm", "transformer"}),
        (AnyGeneratorNet, {"mlp", "convgen"}),
        (AnyDiscriminatorNet, {"mlp", "convdisc"}),
    ],
)
def test_recipes_choose_by_kind(union, kinds):
    adapter = TypeAdapter(union)
    for kind in kinds:
        assert adapter.validate_python({"kind": kind}).kind == kind
        with pytest.raises(ValidationError, match="no such setting"):
            adapter.validate_python({"kind": kind, "widht": 3})
    for kind in {"mlp", "unet", "resnet", "timm", "transformer", "convgen", "convdisc"} - kinds:
        with pytest.raises(ValidationError, match="tag"):
            adapter.validate_python({"kind": kind})

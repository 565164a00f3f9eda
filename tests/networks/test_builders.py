"""What the builders accept, refuse and make by default."""

import pytest
from pydantic import TypeAdapter, ValidationError

from condgen.errors import UserError
from condgen.networks import (
    AnyClassifierNet,
    AnyDenoiserNet,
    AnyDiscriminatorNet,
    AnyGeneratorNet,
    ConvDiscriminatorSettings,
    ConvGeneratorSettings,
    MLPDiscriminatorSettings,
    MLPSettings,
    ResNetSettings,
    TimmSettings,
    UNetSettings,
)

IMAGES, CLASSES, LATENT = (2, 8, 8), 3, 6


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: MLPSettings().build_denoiser((2,), 2), 501_570),
        (lambda: UNetSettings().build_denoiser((3, 32, 32), None), 7_642_435),
        (lambda: MLPSettings().build_classifier((2,), 2), 501_378),
        (lambda: ResNetSettings().build_classifier((3, 32, 32), 10), 12_231_434),
        (lambda: TimmSettings().build_classifier((3, 32, 32), 10), 11_330_388),
        (lambda: MLPSettings().build_generator((2,), 2, 8), 496_770),
        (lambda: ConvGeneratorSettings().build_generator((3, 32, 32), 10, 128), 2_571_395),
        (lambda: MLPDiscriminatorSettings().build_discriminator((2,), told_noise=False), 264_193),
        (lambda: ConvDiscriminatorSettings().build_discriminator((3, 32, 32), told_noise=False), 4_138_753),
    ],
    ids=[
        "mlp-denoiser",
        "unet",
        "mlp-classifier",
        "resnet",
        "timm",
        "mlp-generator",
        "convgen",
        "mlp-disc",
        "convdisc",
    ],
)
def test_sizes_of_the_default_networks(build, expected):
    assert sum(p.numel() for p in build().parameters()) == expected


@pytest.mark.parametrize("settings", [ResNetSettings(), TimmSettings(), ConvGeneratorSettings()])
def test_a_kind_that_cannot_denoise_is_refused(settings):
    with pytest.raises(UserError, match=f"'{settings.kind}' cannot be a denoiser"):
        settings.build_denoiser(IMAGES, None)


@pytest.mark.parametrize("settings", [UNetSettings(), ConvGeneratorSettings()])
def test_a_kind_that_cannot_classify_is_refused(settings):
    with pytest.raises(UserError, match="cannot be a classifier"):
        settings.build_classifier(IMAGES, CLASSES)


@pytest.mark.parametrize("settings", [UNetSettings(), ResNetSettings(), TimmSettings()])
def test_a_kind_that_cannot_generate_is_refused(settings):
    with pytest.raises(UserError, match="cannot be a generator"):
        settings.build_generator(IMAGES, CLASSES, LATENT)


@pytest.mark.parametrize(
    "build",
    [
        lambda shape: UNetSettings().build_denoiser(shape, None),
        lambda shape: ResNetSettings().build_classifier(shape, CLASSES),
        lambda shape: ConvGeneratorSettings().build_generator(shape, CLASSES, LATENT),
    ],
    ids=["unet", "resnet", "convgen"],
)
def test_shapes_that_do_not_fit_are_refused_in_one_line(build):
    for shape, reason in [((2,), "needs images"), ((3, 30, 32), "divisible"), ((3, 32, 30), "divisible")]:
        with pytest.raises(UserError, match=reason) as caught:
            build(shape)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("union", "kinds"),
    [
        (AnyDenoiserNet, {"mlp", "unet"}),
        (AnyClassifierNet, {"mlp", "resnet", "timm"}),
        (AnyGeneratorNet, {"mlp", "convgen"}),
        (AnyDiscriminatorNet, {"mlp", "convdisc"}),
    ],
)
def test_recipes_choose_by_kind(union, kinds):
    adapter = TypeAdapter(union)
    for kind in kinds:
        assert adapter.validate_python({"kind": kind}).kind == kind
        with pytest.raises(ValidationError, match="extra"):
            adapter.validate_python({"kind": kind, "widht": 3})
    for kind in {"mlp", "unet", "resnet", "timm", "convgen", "convdisc"} - kinds:
        with pytest.raises(ValidationError, match="tag"):
            adapter.validate_python({"kind": kind})

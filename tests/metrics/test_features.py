"""Features are the samples, or local means of them."""

from dataclasses import replace

import pytest
import torch

from condgen.metrics.features import extract, pixels
from condgen.rng import keyed_generator


@pytest.mark.parametrize(
    ("shape", "name"), [((5,), "coordinates"), ((500,), "coordinates"), ((1, 8, 8), "pixels"), ((4, 8, 8), "pixels")]
)
def test_small_samples_are_their_own_features(shape, name):
    extractor = pixels(shape)
    x = torch.randn(3, *shape, generator=keyed_generator(0))
    assert extractor.name == name
    assert torch.equal(extractor.function(x).vectors, x.double().flatten(1))


def test_larger_images_are_averaged_over_blocks_and_none_is_enlarged():
    extractor = pixels((3, 32, 32))
    x = torch.randn(2, 3, 32, 32, generator=keyed_generator(0))
    features = extractor.function(x).vectors
    assert extractor.name == "pixels pooled to 8x8"
    assert (features.shape, features.dtype) == ((2, 192), torch.float64)
    assert features[1].reshape(3, 8, 8)[2, 5, 6] == pytest.approx(float(x[1, 2, 20:24, 24:28].double().mean()))
    extractor = pixels((3, 4, 64))
    assert extractor.name == "pixels pooled to 4x8"
    assert extractor.function(torch.zeros(2, 3, 4, 64)).vectors.shape == (2, 96)


def test_batches_do_not_show():
    extractor = pixels((3, 32, 32))
    x = torch.randn(7, 3, 32, 32, generator=keyed_generator(0))
    assert torch.equal(extract(replace(extractor, batch=3), x), extractor.function(x).vectors)
    assert extract(extractor, x[:0]).shape == (0, 192)

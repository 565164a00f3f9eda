import os

import pytest
import torch

from condgen.data import LabelledSet

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small tensors run fastest on one thread, and equal bits need an equal number of them."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny_images():
    """60 random 4x4 grey images in three classes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = (torch.rand(60, 1, 4, 4, generator=generator) * 120 + 60 * y.view(-1, 1, 1, 1)).to(torch.uint8)
    return LabelledSet(x=x, y=y, names=("ant", "bee", "cat"), source="tiny", split="train")

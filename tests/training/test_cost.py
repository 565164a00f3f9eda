"""What a piece of work costs."""

import torch
from torch.nn import functional as F

from condgen.training.cost import Live, Operations


def test_operations_follow_gradients_of_gradients():
    weights = torch.randn(3, 5, requires_grad=True)
    x = torch.randn(4, 3, requires_grad=True)
    with Operations() as operations:
        (gradient,) = torch.autograd.grad((x @ weights).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
    one = 2 * 4 * 3 * 5
    assert operations.total == 6 * one  # forward, to x; from there to both again, and through the square to both


def test_attention_counts_two_products_forward_and_five_backward():
    q = torch.randn(1, 2, 8, 4, requires_grad=True)
    product = 2 * 2 * 8 * 8 * 4
    with Operations() as operations:
        out = F.scaled_dot_product_attention(q, q, q)
        assert operations.total == 2 * product
        out.sum().backward()
    assert operations.total == 7 * product


def test_memory_counts_what_lives_and_views_with_what_they_view():
    there = torch.zeros(1000)
    with Live() as live:
        made = there + 1
        view = made.view(10, 100)
        made += 1
        there += 1
        assert live.now == live.peak == 4000
        del made
        assert live.now == 4000
        del view
        assert (live.now, live.peak) == (0, 4000)


def test_memory_counts_what_is_kept_for_the_backward_pass():
    x = torch.randn(1000, requires_grad=True)
    with Live() as live:
        y = x.exp().exp()  # each keeps what it gives
        assert live.now == 8000
        y.sum().backward()
        del y
        assert live.now == 4000  # the gradient

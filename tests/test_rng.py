import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats

from condgen.rng import Streams, keyed_generator, normal_rows

SEEDS = [0, 7, 3, 2**32 - 1, 12, 5, 1, 4]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5), (3, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stream_is_the_same_alone_and_anywhere_among_others_draw_after_draw(shape, dtype):
    together = Streams(SEEDS)
    first, second = together.normal(shape, dtype), together.normal((20,), dtype)
    assert (first.shape, first.dtype) == ((8, *shape), dtype)
    assert not torch.equal(second, Streams(SEEDS).normal((20,), dtype))
    for i, seed in enumerate(SEEDS):
        alone = Streams([seed])
        assert torch.equal(alone.normal(shape, dtype)[0], first[i])
        assert torch.equal(alone.normal((20,), dtype)[0], second[i])


def test_streams_are_deaf_to_the_global_generator():
    torch.manual_seed(0)
    first = Streams([1, 2]).normal((4,))
    torch.manual_seed(1)
    torch.randn(5)
    state = torch.get_rng_state()
    assert torch.equal(Streams([1, 2]).normal((4,)), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_are_standard_normal_within_streams_and_across_them():
    for draws in (Streams(range(100)).normal((200,)), Streams(range(2000)).normal(())):
        assert len(draws.unique()) > 0.99 * draws.numel()
        assert stats.kstest(draws.flatten().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("seed", [-1, 2**32, 2**40])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(ValueError, match=str(seed)):
        Streams([0, seed])


keys = st.lists(st.integers(0, 2**40), min_size=1, max_size=4)


def sample(*key):
    return torch.rand(4, dtype=torch.float64, generator=keyed_generator(*key)).tolist()


@settings(deadline=None, max_examples=50)
@given(keys)
def test_a_keyed_generator_is_a_pure_function_of_its_key(key):
    first = sample(*key)
    torch.manual_seed(len(key))
    keyed_generator(1, 2, 3).manual_seed(4)
    assert sample(*key) == first


def test_different_keys_give_different_generators():
    names = [(a, b, c) for a in range(6) for b in range(6) for c in range(6)]
    assert len({tuple(sample(*name)) for name in names}) == len(names)
    assert sample(1, 2) != sample(2, 1)
    assert sample(1) != sample(1, 1)


def test_a_process_draws_its_own_blocks_alone(monkeypatch):
    drawn = []
    real = keyed_generator
    monkeypatch.setattr("condgen.rng.keyed_generator", lambda *key: drawn.append(key[-1]) or real(*key))
    rows = slice(300, 495)
    found = normal_rows(1000, rows, (656,), real(0), (7, 8), torch.device("cpu"))  # 99 rows a block
    assert drawn == [3, 4]
    assert torch.equal(found, normal_rows(1000, slice(0, 1000), (656,), real(0), (7, 8), torch.device("cpu"))[rows])


def test_small_tables_come_from_the_generator_itself():
    generator, same = keyed_generator(5), keyed_generator(5)
    found = normal_rows(12, slice(3, 7), (4, 4), generator, (1,), torch.device("cpu"))
    assert torch.equal(found, torch.randn(12, 4, 4, generator=same)[3:7])

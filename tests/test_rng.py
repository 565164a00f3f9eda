import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condgen.rng import Streams, keyed_generator, normal_rows

SEEDS = [0, 7, 3, 2**32 - 1, 12, 5, 1, 4]
draws = pytest.mark.parametrize("draw", [Streams.normal, Streams.uniform])
shapes = pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5), (3, 8, 8)])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@draws
@shapes
@dtypes
def test_eight_streams_are_eight_times_one_stream(draw, shape, dtype):
    together = draw(Streams(SEEDS), shape, dtype)
    assert together.shape == (8, *shape)
    assert together.dtype == dtype
    for i, seed in enumerate(SEEDS):
        assert torch.equal(draw(Streams([seed]), shape, dtype)[0], together[i])


@draws
def test_order_does_not_matter(draw):
    order = torch.tensor([3, 1, 0, 7, 6, 2, 5, 4])
    assert torch.equal(draw(Streams([SEEDS[i] for i in order]), (9,)), draw(Streams(SEEDS), (9,))[order])


def test_later_draws_continue_every_stream():
    together = Streams(SEEDS)
    first, second, third = together.normal((20,)), together.uniform((5,)), together.normal((20,))
    assert not torch.equal(first, third)
    for i, seed in enumerate(SEEDS):
        alone = Streams([seed])
        assert torch.equal(alone.normal((20,))[0], first[i])
        assert torch.equal(alone.uniform((5,))[0], second[i])
        assert torch.equal(alone.normal((20,))[0], third[i])


def test_streams_are_deaf_to_the_global_generator():
    torch.manual_seed(0)
    first = Streams([1, 2]).normal((4,))
    torch.manual_seed(1)
    torch.randn(5)
    state = torch.get_rng_state()
    assert torch.equal(Streams([1, 2]).normal((4,)), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_different_seeds_give_different_draws():
    rows = Streams(range(100)).normal((4,))
    assert len({tuple(row) for row in rows.tolist()}) == 100


@draws
def test_draws_have_the_claimed_distribution(draw):
    from scipy import stats

    x = draw(Streams(range(100)), (200,)).flatten().numpy()
    assert stats.kstest(x, "norm" if draw is Streams.normal else "uniform").pvalue > 1e-3
    first = draw(Streams(range(2000)), ()).numpy()  # across streams as within them
    assert stats.kstest(first, "norm" if draw is Streams.normal else "uniform").pvalue > 1e-3


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


def test_a_negative_key_is_refused():
    with pytest.raises(ValueError, match="negative"):
        keyed_generator(1, -1)


def test_a_process_draws_its_own_blocks_alone(monkeypatch):
    drawn = []
    real = keyed_generator
    monkeypatch.setattr("condgen.rng.keyed_generator", lambda *key: drawn.append(key[-1]) or real(*key))
    rows = slice(300, 400)
    found = normal_rows(1000, rows, (656,), real(0), (7, 8), torch.device("cpu"))  # 99 rows a block
    assert drawn == [3, 4]
    assert torch.equal(found, normal_rows(1000, slice(0, 1000), (656,), real(0), (7, 8), torch.device("cpu"))[rows])


def test_small_tables_come_from_the_generator_itself():
    generator, same = keyed_generator(5), keyed_generator(5)
    found = normal_rows(12, slice(3, 7), (4, 4), generator, (1,), torch.device("cpu"))
    assert torch.equal(found, torch.randn(12, 4, 4, generator=same)[3:7])

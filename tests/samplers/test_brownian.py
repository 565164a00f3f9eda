import math

import pytest
import torch

from condgen.rng import Streams
from condgen.samplers.adaptive.brownian import BrownianMemory

N = 1500


def paths(n=N, shape=(1,)):
    return BrownianMemory(Streams(range(n)), shape, torch.float64)


def test_a_path_is_the_same_path_when_a_shorter_step_is_tried():
    memory = paths(3, (2, 2))
    whole = memory.increments([0, 1, 2], [1.0, 2.0, 3.0])
    part = memory.increments([0, 1, 2], [0.4, 0.7, 2.9])
    memory.advance([0, 1, 2], [0.4, 0.7, 2.9])
    rest = memory.increments([0, 1, 2], [0.6, 1.3, 0.1])
    torch.testing.assert_close(part + rest, whole, rtol=1e-12, atol=1e-12)


def test_what_was_seen_inside_a_longer_look_is_remembered():
    """A rejected attempt may have crossed what earlier attempts showed; none of it may be drawn again."""
    memory = paths(1)
    first = memory.increments([0], [1.0])
    half = memory.increments([0], [0.5])
    memory.advance([0], [0.5])
    beyond = memory.increments([0], [2.0])  # the known half and a fresh stretch
    inside = memory.increments([0], [0.25])
    torch.testing.assert_close(memory.increments([0], [0.5]), first - half, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(memory.increments([0], [2.0]), beyond, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(memory.increments([0], [0.25]), inside, rtol=0, atol=0)


def test_increments_have_the_variance_of_their_length():
    memory = paths()
    rows = list(range(N))
    memory.increments(rows, [2.0] * N)
    first = memory.increments(rows, [0.3] * N)
    memory.advance(rows, [0.3] * N)
    second = memory.increments(rows, [0.5] * N)
    memory.advance(rows, [0.5] * N)
    third = memory.increments(rows, [3.0] * N)
    for increment, length in ((first, 0.3), (second, 0.5), (third, 3.0)):
        assert float(increment.var()) == pytest.approx(length, rel=4 * math.sqrt(2 / N))
        assert abs(float(increment.mean())) < 4 * math.sqrt(length / N)
    for one, other in ((first, second), (first, third), (second, third)):
        assert abs(float(torch.corrcoef(torch.cat((one, other), 1).T)[0, 1])) < 4 / math.sqrt(N)


@pytest.mark.parametrize("forget", [False, True])
def test_rejection_does_not_choose_the_noise(forget):
    """Steps that look up are rejected and halved: with memory the end is N(0, 1) all the same, without it is not."""
    memory = paths()
    ends = torch.zeros(N, dtype=torch.float64)
    for row in range(N):
        t, h = 0.0, 0.5
        while t < 1 - 1e-9:
            h = min(h, 1 - t)
            increment = float(memory.increments([row], [h]))
            if increment > 0.2 and h > 0.1:
                h /= 2
                if forget:
                    memory.forget([row])
                continue
            memory.advance([row], [h])
            ends[row] += increment
            t, h = t + h, 0.5
    mean, error = float(ends.mean()), 1 / math.sqrt(N)
    if forget:
        assert mean < -10 * error
    else:
        assert abs(mean) < 4 * error
        assert float(ends.var()) == pytest.approx(1, rel=4 * math.sqrt(2 / N))


def test_a_path_depends_on_its_stream_alone():
    together = paths(4, (3,))
    lengths = [0.5, 1.0, 0.1, 2.0]
    seen = [together.increments([0, 1, 2, 3], lengths), together.increments([0, 1, 2, 3], [0.3, 0.2, 0.1, 1.5])]
    for row in range(4):
        alone = BrownianMemory(Streams([row]), (3,), torch.float64)
        assert torch.equal(alone.increments([0], lengths[row : row + 1])[0], seen[0][row])
        assert torch.equal(alone.increments([0], [[0.3, 0.2, 0.1, 1.5][row]])[0], seen[1][row])


def test_rows_leave_and_others_take_their_place():
    streams, others = Streams([0, 1, 2]), Streams([7])
    memory, newcomer = BrownianMemory(streams, (2,)), BrownianMemory(others, (2,))
    kept = memory.increments([0, 1, 2], [1.0, 1.0, 1.0])
    fresh = newcomer.increments([0], [1.0])
    streams.put([1], others)
    memory.put([1], newcomer)
    assert torch.equal(memory.increments([1], [1.0]), fresh)
    streams.keep([1, 2])
    memory.keep([1, 2])
    assert torch.equal(memory.increments([0, 1], [1.0, 1.0]), torch.cat((fresh, kept[2:])))
    memory.advance([0], [1.0])
    newcomer.advance([0], [1.0])  # the stream is shared now, so its next draw is the row's
    assert not torch.equal(memory.increments([0], [1.0]), fresh)

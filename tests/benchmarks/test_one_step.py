import pytest
import torch

from benchmarks import one_step
from condgen.networks import MLPSettings


@pytest.fixture
def tiny(monkeypatch):
    size = one_step.Size(MLPSettings(width=8, depth=1, embedding=8), (1, 4, 4), (1, 6))
    monkeypatch.setitem(one_step.ONE_STEP_SIZES, "digits", size)
    rivals = {"em": ("euler-maruyama", 30), "unipc": ("unipc", 5)}
    monkeypatch.setattr(one_step, "RIVALS", rivals)
    monkeypatch.setattr("benchmarks.timing.take_turns.__defaults__", (0.005,))  # least seconds


def test_rows_tell_time_speed_and_what_many_steps_cost(tiny):
    work = one_step.one_step_rows("digits", torch.device("cpu"), rounds=1)
    named = []
    while True:
        try:
            named.append(next(work))
        except StopIteration as stop:
            rows = stop.value
            break
    assert "one step, bfloat16, batch 6" in named
    assert {"what", "variant", "size", "value", "sd", "seeds", "unit"} == rows[0].keys()
    of = {(row["what"], row["variant"], row["size"].split(", batch ")[1]): row["value"] for row in rows}
    speeds = {key[1:]: value for key, value in of.items() if key[0] == "speed"}
    assert speeds.keys() == {
        *(("one step, " + p, f"{n} of 1x4x4") for p in ("float32", "bfloat16") for n in (1, 6)),
        ("em", "6 of 1x4x4"),
        ("unipc", "6 of 1x4x4"),
    }
    for key, speed in speeds.items():
        assert speed == pytest.approx(1e6 / of["time", *key])
    base = of["time", "one step, float32", "6 of 1x4x4"]
    assert of["relative cost", "em", "6 of 1x4x4"] == pytest.approx(of["time", "em", "6 of 1x4x4"] / base)
    assert of["relative cost", "em", "6 of 1x4x4"] > of["relative cost", "unipc", "6 of 1x4x4"] > 2


def test_rivals_make_as_many_evaluations_as_they_are_called_for():
    for title, (_, evaluations) in one_step.RIVALS.items():
        assert f"{evaluations:,} evaluations" in title
    size = one_step.Size(MLPSettings(width=8, depth=1, embedding=8), (1, 4, 4), (2,))
    about = {"network": size.network, "shape": size.shape, "names": ("a", "b"), "sigma_data": 0.5}
    model = one_step.ScoreModel(one_step.ScoreConfig(schedule=one_step.EDM(), labels="embedding", **about))
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for sampler, evaluations in (("euler-maruyama", 100), ("unipc", 20)):
        calls.clear()
        assert one_step._sampled(model, sampler, evaluations, 2, torch.device("cpu"))().shape == (2, 1, 4, 4)
        assert len(calls) == evaluations

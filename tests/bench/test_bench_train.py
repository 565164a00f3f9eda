"""The bench of training steps: what it counts, what it asks for, what it leaves out."""

import builtins
import math

import pytest
import torch
from torch.nn import functional as F

from condgen.bench import train
from condgen.bench.train import TRAIN_SIZES, bench_train, count_work
from condgen.networks import build_denoiser
from condgen.training import Processes

CPU = torch.device("cpu")


def followed(work):
    said = []
    while True:
        try:
            said.append(next(work))
        except StopIteration as stop:
            return stop.value, said


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("condgen.bench.timing.take_turns.__defaults__", (0.0,))  # least seconds
    monkeypatch.setattr("condgen.bench.train_peers.os.cpu_count", lambda: 0)  # no processes that read


def without_peers(monkeypatch):
    honest = builtins.__import__

    def refuse(name, *arguments, **named):
        if name.split(".")[0] in ("diffusers", "denoising_diffusion_pytorch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return honest(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_work_is_that_of_products_and_convolutions_forward_and_backward():
    a, b = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    assert count_work(lambda: a @ b) == 2 * 3 * 5 * 7
    assert count_work(lambda: torch.autograd.grad((a @ b).sum(), (a, b))) == 3 * 2 * 3 * 5 * 7
    x, w = torch.randn(2, 4, 8, 8), torch.randn(6, 4, 3, 3, requires_grad=True)
    once = 2 * 2 * 6 * 4 * 9 * 64
    assert count_work(lambda: F.conv2d(x, w, padding=1)) == once
    assert count_work(lambda: torch.autograd.grad(F.conv2d(x, w, padding=1).sum(), w)) == 2 * once
    assert count_work(lambda: torch.nn.functional.silu(x)) == 0


def test_rows_are_of_steps_of_every_kind_and_agree_with_each_other():
    rows, _ = followed(bench_train("tiny", CPU, rounds=1))
    assert all(row.keys() == {"what", "variant", "size", "value", "unit"} for row in rows)
    assert all(math.isfinite(row["value"]) and row["value"] > 0 for row in rows)
    of = {(row["what"], row["variant"]): row["value"] for row in rows}
    steps = {variant for what, variant in of if what == "step"}
    ours = {f"{what}, {p}" for what in ("score model", "CE classifier", "DLSM classifier") for p in train._PRECISIONS}
    assert ours <= steps
    batch = TRAIN_SIZES["tiny"].batch
    for variant in steps:
        assert of["speed", variant] == pytest.approx(1e3 * batch / of["step", variant])
        assert of["rate", variant] == pytest.approx(1e3 * of["work", variant] / of["step", variant])
        precision = variant.rsplit(", ", 1)[1]
        assert of["share", variant] == pytest.approx(of["rate", variant] / of["ceiling", precision])
    assert of["work", "score model, bfloat16"] == of["work", "score model, float32"]
    assert of["work", "DLSM classifier, float32"] > 1.9 * of["work", "CE classifier, float32"]  # and the prior's
    peers = {"diffusers", "denoising-diffusion-pytorch"} & {variant.rsplit(", ", 1)[0] for variant in steps}
    for precision in train._PRECISIONS:
        rivals = [of["speed", f"{peer}, {precision}"] for peer in peers]
        if rivals:
            ratio = of["speed", f"score model, {precision}"] / max(rivals)
            assert of["relative speed", f"score model, {precision}"] == pytest.approx(ratio)


def test_libraries_that_are_missing_are_told_and_left_out(monkeypatch, capsys):
    from condgen.cli.bench_train import training

    without_peers(monkeypatch)
    monkeypatch.setattr("condgen.cli.bench_train.Processes", lambda: Processes(cpu=True))
    training(size="tiny", rounds=1, compiled=False, json=None)
    out = " ".join(capsys.readouterr().out.split())
    for library in ("diffusers", "denoising-diffusion-pytorch"):
        assert f"{library} is not installed" in out
        assert f"{library}, float32" not in out
    assert "uv sync --group bench" in out
    assert "score model" in out


def test_unknown_sizes_are_refused():
    from condgen.cli.bench_train import training
    from condgen.errors import UserError

    with pytest.raises(UserError, match="choose among tiny, cpu, gpu"):
        training(size="huge", rounds=1, compiled=False, json=None)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_networks_have_as_many_parameters_within_two_per_cent(name, tmp_path):
    """Of all three libraries, where they are installed; the sizes in the table are what makes them equal."""
    pytest.importorskip("diffusers")
    pytest.importorskip("denoising_diffusion_pytorch")
    from PIL import Image

    size = TRAIN_SIZES[name]
    Image.new("RGB", (size.side, size.side)).save(tmp_path / "0.png")
    with torch.device("meta"):
        ours = train._count(build_denoiser(size.network, (3, size.side, size.side), None))
    for make in train.PEERS.values():
        with make(size.peers, tmp_path, 1, CPU, "float32") as (_, network):
            assert train._count(network) == pytest.approx(ours, rel=0.02)

import io
import json

import pytest
from rich.console import Console

from condgen.bench.samplers.work import NEVER, REACHED
from condgen.cli import bench_samplers
from condgen.cli.sampler_tables import tables


def row(what, variant, size, value, unit=""):
    return {"what": what, "variant": variant, "size": size, "value": value, "sd": None, "seeds": 1, "unit": unit}


ROWS = {
    "tolerances": [
        row(what, "VE, relative 0.05", "16 images of noise, 3 samples", value)
        for what, value in {
            "lockstep evaluations": 270,
            "published evaluations": 271,
            "ratio to published": 0.996,
            "evaluations per sample": 238.4,
            "rejected": 0.0096,
        }.items()
    ],
    "bias": [
        row("bias of the std", "adaptive-sde, redraw=True", "VE, d = 1, n = 9", 0.99),
        row("bias beyond tolerance", "adaptive-sde, redraw=True", "VE, d = 1, n = 9", 0.99),
        row("evaluations", "adaptive-sde, redraw=True", "VE, d = 1, n = 9", 166.0),
        row("bias of the std", "heun", "VE, d = 1, n = 9", -0.01),
        row("evaluations", "heun", "VE, d = 1, n = 9", 99.0),
    ],
    "quality": [
        row("best", "unipc", "digits; SW; at most 10 evaluations; 10 evaluations", 0.05),
        row("best", "heun", "digits; SW; at most 20 evaluations; 20 evaluations", 0.04),
        row(REACHED, "heun", "digits; SW", 19.0),
        row(NEVER, "ddim", "digits; SW", 1.0),
    ],
    "grids": [
        row("error of the flow", "heun", f"digits; 10 evaluations, {grid} grid; n = 9", value)
        for grid, value in (("karras", 0.44), ("geometric", 1.9))
    ],
    "speed": [
        row("time", "network alone", "U-Net", 100.0),
        row("speed", "network alone", "U-Net", 71.1),
        row("time", "heun, condgen", "U-Net", 101.0),
        row("speed", "heun, condgen", "U-Net", 70.4),
        row("overhead", "heun, condgen", "U-Net", 1.0),
        row("relative overhead", "heun, condgen", "U-Net", 0.01),
        row("relative to the fastest peer", "heun", "U-Net", 0.98),
        row("loop", "heun, condgen", "U-Net", 0.0026),
    ],
}
SHOWN = {
    "tolerances": ("270", "271", "0.996", "238.4", "1.0%"),
    "bias": ("+99.0%!", "-1.0%", "166"),
    "quality": ("unipc (10 evaluations) 0.05", "heun (20 evaluations) 0.04", "19", "-", "19 heun, 1/53"),
    "grids": ("0.44", "1.9", "karras"),
    "speed": ("101", "70.4", "1.0%", "0.26%", "0.98"),
}


@pytest.mark.parametrize("part", ROWS)
def test_tables_of_every_part(part):
    console = Console(width=200, file=io.StringIO())
    for table in tables(part, ROWS[part]):
        console.print(table)
    text = console.file.getvalue()
    for shown in SHOWN[part]:
        assert shown in text, shown


def test_parts_are_run_shown_and_kept_in_one_file(condgen, monkeypatch, tmp_path):
    def work(part):
        yield "something"
        return ROWS[part]

    monkeypatch.setattr(bench_samplers, "bias_rows", lambda: work("bias"))
    monkeypatch.setattr(bench_samplers, "speed_rows", lambda device, **options: work("speed"))
    file = tmp_path / "rows.json"
    code, out, err = condgen("bench", "samplers", "bias", "--json", file)
    assert code == 0, err
    assert "+99.0%!" in out
    code, out, err = condgen("bench", "samplers", "speed", "--no-peers", "--json", file)
    assert code == 0, err
    found = json.loads(file.read_text())
    assert {row["part"] for row in found["rows"]} == set(found["what"]) == {"bias", "speed"}
    assert found["what"]["bias"]["command"].startswith("condgen --threads 1 bench samplers bias")
    assert found["what"]["speed"].keys() >= {"command", "seconds", "torch", "machine"}
    assert all({"what", "variant", "size", "value", "unit"} <= row.keys() for row in found["rows"])
    assert file.read_text().count("\n") > len(found["rows"])


def test_mistakes_are_told_before_the_work(condgen, monkeypatch, tmp_path):
    monkeypatch.setenv("CONDGEN_DATA", str(tmp_path))
    recipe = tmp_path / "moons.yaml"
    for words, message in (
        (("tolerance",), "there is no part 'tolerance': choose among tolerances, bias"),
        (("bias", "--picture", tmp_path / "p.png"), "--picture shows the part quality"),
        (("tolerances",), "cifar10 is not in"),
        (("quality", "--recipe", recipe), "no recipe at"),
    ):
        code, _, err = condgen("bench", "samplers", *words)
        assert code == 2
        assert message in err
        assert len(err.splitlines()) == 1

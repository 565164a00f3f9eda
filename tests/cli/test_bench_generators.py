import io
import json

import torch
from rich.console import Console

from condgen.bench.particles import Plane
from condgen.bench.seeds import Fact
from condgen.cli import bench_generators


def facts(*found):
    yield "something"
    return list(found)


def test_rows_are_shown_saved_and_drawn(condgen, monkeypatch, tmp_path):
    x, y = torch.randn(6, 2), torch.arange(6) % 2
    plane = Plane((x, y), {("1 2 3", "smm"): (x, y)})
    asked = []

    def on_plane(seeds, n, steps):
        asked.append((list(seeds), n, steps))
        yield "the plane"
        return [
            Fact("SW", "[fresh data]", "moons", "std", 0.125),
            Fact("SW", "smm", "moons; sigma 1 2 3", "std", 0.5),
        ], plane

    rest = Fact("resting std", "smm", "Gaussian; sigma 1 2 3", "std", 0.567)
    monkeypatch.setattr(
        bench_generators,
        "gaussian_facts",
        lambda: facts(rest, rest._replace(what="gradient 5% above", unit="sign", value=1.0)),
    )
    line = [Fact("std", "smm", "particles; sigma 1 2 3", "std", value) for value in (0.4, 0.6)]
    monkeypatch.setattr(bench_generators, "line_facts", lambda seeds, n, steps: facts(*line))
    monkeypatch.setattr(bench_generators, "plane_facts", on_plane)
    file, picture = tmp_path / "rows.json", tmp_path / "plane.png"
    code, out, err = condgen(
        "bench", "generators", "--seeds", 2, "--particles", 30, "--steps", 7, "--json", file, "--picture", picture
    )
    assert code == 0, err
    assert asked == [([0, 1], 20, 7)]
    for shown in ("resting std, Gaussian", "0.567", "0.5 ± 0.1", "[fresh data]", "0.125"):
        assert shown in out, shown
    assert "gradient" not in out
    found = json.loads(file.read_text())
    assert found["what"].keys() >= {"command", "seconds", "seeds", "steps", "torch", "machine"}
    assert found["what"]["command"].startswith("condgen --threads 1 bench generators --seeds 2")
    assert [row["what"] for row in found["rows"]] == ["resting std", "gradient 5% above", "std", "SW", "SW"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_tables_have_a_row_an_objective_and_a_column_a_list_of_levels():
    def row(variant, levels, value):
        return {
            "what": "std",
            "variant": variant,
            "size": f"p; sigma {levels}",
            "value": value,
            "sd": None,
            "unit": "1",
        }

    (table,) = bench_generators.rest_tables([row("smm", "1 2", 0.1), row("smm", "3", 0.2), row("dmd", "3", 0.3)])
    console = Console(width=100, file=io.StringIO())
    console.print(table)
    lines = [line.split("│")[1:-1] for line in console.file.getvalue().splitlines() if "│" in line]
    assert [[cell.strip() for cell in line] for line in lines] == [["smm", "0.1", "0.2"], ["dmd", "", "0.3"]]

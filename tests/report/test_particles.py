import pytest
import torch
from PIL import Image

from condgen.bench.particles import Plane
from condgen.report import draw_particles, particles


def points(shift=0.0):
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x + shift, torch.arange(40) % 2


@pytest.mark.parametrize("levels", [1, 2])
def test_a_row_a_list_of_levels_and_a_panel_an_objective(levels, tmp_path, monkeypatch):
    titles = []
    drawn = particles._scatter

    def watched(axes, *arguments):
        drawn(axes, *arguments)
        titles.append(axes.get_title("left"))

    monkeypatch.setattr(particles, "_scatter", watched)
    found = {(f"list {i}", name): points() for i in range(levels) for name in ("smm", "dmd")}
    found["list 0", "smm"] = points(1000.0)
    draw_particles(Plane(points(), found), tmp_path / "plane.png")
    assert titles[:3] == ["data", "smm; sigma list 0; 40 outside", "dmd; sigma list 0"]
    assert len(titles) == 3 * levels
    with Image.open(tmp_path / "plane.png") as image:
        assert image.width > image.height
        assert len(image.convert("RGB").getcolors(10**6)) > 20

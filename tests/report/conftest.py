import pytest
from report.run_folders import COLLAPSED, HOSTILE, add_neighbours, make_digits, make_moons

from condgen.report.build import build_report


@pytest.fixture
def digits_run(tmp_path):
    """A run of images; may be changed."""
    return make_digits(tmp_path / "run")


@pytest.fixture
def moons_run(tmp_path):
    """A run of points; may be changed."""
    return make_moons(tmp_path / "run")


@pytest.fixture(scope="session", params=["digits", "moons"])
def whole_run(request, tmp_path_factory, make_a_generator):
    """A reported run with everything that a report can show, whose names try to be markup; not to be changed."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    points, names = request.param == "moons", (HOSTILE, "a & b\"'", "$x^", "_hidden")
    make_moons(folder, names[:2]) if points else make_digits(folder, names, HOSTILE)
    add_neighbours(folder, names, points)
    make_a_generator(folder / "generator-a & b", COLLAPSED, names=names[:2], points=points, skipped=2)
    if not points:
        losses = {"real_dsm": 0.5, "fake_dsm": 0.4, "likelihood": 0.01}
        make_a_generator(folder / f"generator-{HOSTILE.replace('/', '')}", names=names[:2], losses=losses)
    build_report(folder)
    return folder

"""What the terminal shows of generators."""

import pytest

from condgen.cli.looks import draw_as_it_goes, show_generators
from condgen.errors import UserError
from condgen.runs import Progress


def test_pictures_follow_the_looks(tmp_path, make_a_generator):
    folder = make_a_generator(tmp_path / "g")
    events = [Progress("generator g", 1, 2, 0), Progress("generator g", 400, 2, 0, message="read me", preview=folder)]
    passed = draw_as_it_goes(iter_of(events))
    assert next(passed) == events[0]
    assert not (folder / "previews.png").exists()
    assert next(passed) == events[1]
    assert (folder / "previews.png").exists()
    assert (folder / "grid.png").exists()


def iter_of(events, ended=None):
    try:
        yield from events
    finally:
        if ended is not None:
            ended.append(True)


def test_a_picture_that_cannot_be_drawn_is_told_once_and_stops_nothing(tmp_path, make_a_generator):
    folder = make_a_generator(tmp_path / "g")
    for path in (folder / "previews").iterdir():
        path.write_bytes(b"nothing")
    look = Progress("generator g", 400, 2, 0, message="read me", preview=folder)
    first, second = draw_as_it_goes(iter_of([look, look]))
    assert first.message.startswith("read me\ngenerator g, step 400: the pictures in")
    assert "training goes on" in first.message
    assert second == look
    with pytest.raises(UserError, match="damaged"):
        show_generators(folder)  # when nothing is at stake any more, it is an error


def test_who_stops_listening_stops_the_work():
    ended = []
    passed = draw_as_it_goes(iter_of([Progress("s", 1, 2, 0)] * 2, ended))
    next(passed)
    passed.close()
    assert ended == [True]


def test_a_collapse_is_told_at_the_end_and_health_is_not(tmp_path, capsys, make_a_generator, make_a_collapse):
    show_generators(make_a_collapse(tmp_path / "c"))
    out = capsys.readouterr().out
    assert "warning: c: the generator has collapsed within classes" in out
    assert str(tmp_path / "c" / "previews.png") in out
    assert "0.10" in out
    show_generators(make_a_generator(tmp_path / "h", points=True))
    out = capsys.readouterr().out
    assert "warning" not in out
    assert str(tmp_path / "h" / "previews.png") in out
    assert "newest" not in out
    show_generators(tmp_path)  # a run without generators: these two are not named as its stages
    (tmp_path / "none").mkdir()
    show_generators(tmp_path / "none")


@pytest.mark.parametrize(("data", "drawn"), [("digits", {"previews.png", "grid.png"}), ("moons", {"previews.png"})])
def test_training_leaves_pictures_and_figures(condgen, tmp_path, data, drawn):
    small = ("--steps", 2, "--batch", 16, "--set", "generator.preview_every=1")
    small += ("--set", "generator.network.width=16", "--set", "generator.objective.network.width=16")
    command = ("train-generator", "--loss", "smm", "--data", data, *small, "--out", tmp_path / "g")
    code, out, err = condgen(*command)
    assert code == 0, err
    assert {path.name for path in (tmp_path / "g").glob("*.png")} == drawn
    for word in ("in-class std ratio", "recall", "class accuracy", str(tmp_path / "g" / "previews.png")):
        assert word in " ".join(out.split())
    (tmp_path / "g" / "previews.png").unlink()
    code, out, _ = condgen(*command)
    assert (code, "nothing left to do" in out) == (0, True)
    assert (tmp_path / "g" / "previews.png").exists()
    code, _, err = condgen("report", tmp_path / "g")
    assert code == 0, err
    assert "One-step generators" in (tmp_path / "g" / "report.md").read_text()

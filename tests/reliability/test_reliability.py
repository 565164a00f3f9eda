"""That the harness does what it says: real commands are killed and stopped, and a loss would be seen."""

import random
import signal
from functools import partial

import pytest

from condgen.errors import UserError
from reliability.command import Command, complaint
from reliability.disk import damaged, disk_rows, fail_at, mounts
from reliability.flat import Sight, flat_rows, growth
from reliability.kills import WAYS, die_before, die_in_a_file, kill_rows, killed_and_resumed, undisturbed
from reliability.stops import stop_rows
from reliability.work import JOBS, contents


def finish(work):
    """The rows of a part, and what it said on the way."""
    said = []
    while True:
        try:
            said.append(next(work))
        except StopIteration as stop:
            return stop.value, said


def values(rows, variant):
    return {row["what"]: row["value"] for row in rows if row["variant"] == variant}


def score(steps=40):
    return [f"--steps={steps}" if one.startswith("--steps") else one for one in JOBS["score"](None)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return undisturbed(score(), tmp_path_factory.mktemp("whole") / "score")


def test_what_a_command_does_undisturbed(whole):
    assert {"model.safetensors", "state/state.safetensors", "stage.json", "log.jsonl"} <= whole.contents.keys()
    assert whole.varying == ()
    assert whole.operations > 10
    assert whole.largest > 10_000


@pytest.mark.parametrize("way", WAYS)
def test_what_is_killed_goes_on_to_the_same_bits(way, whole, tmp_path):
    chance = random.Random(1)
    for _ in range(2):
        killed, ended = killed_and_resumed(score(), tmp_path / "score", way, whole, chance)
        assert killed > 0
        assert ended.code == 0, ended
        assert whole.is_left_in(tmp_path / "score")


def test_every_change_of_a_file_can_be_the_last(whole, tmp_path):
    """Not only some at random, as a bench with few runs has it: all of the first ones, which set a folder up."""
    for number in range(8):
        folder = tmp_path / str(number) / "score"
        prepare = partial(die_before, str(folder), number)
        assert Command(*score(), "--out", folder, prepare=prepare).wait().code == -signal.SIGKILL
        assert Command(*score(), "--out", folder).wait().code == 0
        assert whole.is_left_in(folder), number


def test_a_folder_of_other_settings_is_set_aside_whole_however_often_that_is_cut_short(tmp_path):
    folder = tmp_path / "score"
    assert Command(*score(20), "--out", folder).wait().code == 0
    before = contents(folder)
    for number in range(6):
        Command(*score(40), "--out", folder, prepare=partial(die_before, str(folder), number)).wait()
    assert Command(*score(40), "--out", folder).wait().code == 0
    (aside,) = (place for place in tmp_path.iterdir() if place.name.startswith("score.before-"))
    assert contents(aside) == {path: found for path, found in before.items() if path != ".lock"}


def planted(code):
    """What is done first in a command: it may be pickled, as a function of a test may not."""
    return partial(exec, code, {})


LOSS = """
from condgen.training import checkpoint
read = checkpoint.load_tensors
def less(path):
    tensors, description = read(path)
    return tensors, description | {"step": description["step"] - 1}
checkpoint.load_tensors = less
"""


def test_a_loss_would_be_seen(whole, tmp_path):
    folder = tmp_path / "score"
    assert Command(*score(), "--out", folder, prepare=partial(die_before, str(folder), 17)).wait().code < 0
    assert Command(*score(), "--out", folder, prepare=planted(LOSS)).wait().code == 0
    assert not whole.is_left_in(folder)


def test_rows_of_kills_and_stops(tmp_path):
    rows, said = finish(kill_rows(tmp_path / "kills", 3, 0, ["score"]))
    found = values(rows, "score")
    assert found["runs that were killed"] == found["runs that ended in the same bits"] == 3
    assert sum(found[f"kills {way}"] for way in WAYS) >= 3
    assert "score: undisturbed" in said
    rows, _ = finish(stop_rows(tmp_path / "stops", 4, 0, ["score"]))
    found = values(rows, "score")
    assert 1 <= found["runs that were stopped"] == found["ended in the same bits when run again"]
    assert found["ended in a traceback"] == 0
    assert 0 < found["slowest to end"] < 5
    assert found["told that another is at work"] == 1


@pytest.mark.slow
def test_every_kind_of_work_survives(tmp_path):
    rows, _ = finish(kill_rows(tmp_path, 6, 7))
    for kind in JOBS:
        found = values(rows, kind)
        assert found["runs that were killed"] == found["runs that ended in the same bits"] > 0, kind
        assert found["runs that ended in other bits"] == 0, kind
        assert found["files with times, not compared"] == (4 if kind == "recipe" else 0), kind


def test_a_file_is_cut_where_it_should_be(tmp_path):
    folder = tmp_path / "score"
    ended = Command(*score(), "--out", folder, prepare=partial(die_in_a_file, 5000)).wait()
    assert ended.code == -signal.SIGXFSZ
    (torn,) = folder.rglob("*.tmp")
    assert torn.stat().st_size == 5000


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('planted')", "traceback: RuntimeError: planted"),
        ("import time; time.sleep(60)", "still at work after"),
        ("import time; eaten = b'1' * 1_500_000_000; time.sleep(60)", "took more than 1.0 GB"),
        ("import sys; sys.exit(3)", "ended with 3"),
    ],
)
def test_complaints(code, said):
    assert said in complaint(Command("samplers", prepare=planted(code)).wait(3, 10**9))


def test_no_complaints():
    assert complaint(Command("samplers").wait()) == ""
    assert complaint(Command("sample", "--score", "nowhere").wait()) == ""
    assert complaint(Command("sample", "--no-such-option").wait()) == ""


@pytest.fixture
def user_mounts():
    if not mounts():
        pytest.skip("needs Linux that lets users mount in a namespace of their own")


def test_a_failing_disk_damages_nothing(user_mounts, tmp_path):
    rows, said = finish(disk_rows(tmp_path, 1, 0, ["score"]))
    assert any(line.startswith("score: failing fsync") for line in said)
    for way in ("full", "read-only", "failing fsync", "failing rename"):
        found = values(rows, f"score, {way}")
        assert found.pop("damaged files") == 0, way
        needed = found.pop("named the bytes needed")
        assert set(found.values()) == {1}, (way, found)
        assert needed == (way != "read-only")  # where nothing is written at all, nothing is needed


def test_damage_would_be_seen(tmp_path):
    folder = tmp_path / "score"
    assert Command(*score(20), "--out", folder).wait().code == 0
    assert damaged(folder) == []
    for name in ("model.safetensors", "stage.json"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    (folder / "manifest.jsonl").write_text('{"file": "0.png"}\n')
    assert {path.name for path in damaged(folder)} == {"model.safetensors", "stage.json", "manifest.jsonl"}


def test_a_disk_that_needs_no_mending_is_no_failure(tmp_path):
    assert Command(*score(20), "--out", tmp_path / "s", prepare=partial(fail_at, "fsync", 99, 5)).wait().code == 0


def test_long_work_is_watched(tmp_path):
    rows, _ = finish(flat_rows(tmp_path, 3000, 20_000))
    for name in ("3,000 steps", "20,000 samples"):
        found = values(rows, name)
        assert found["looks at the log"] > 1
        assert found["looks that found it unreadable"] == 0
        assert found["greatest memory"] > 100
        assert abs(found["greatest memory beside that of a tenth"]) < 10
    assert 1 <= values(rows, "3,000 steps")["most files of models and states at once"] <= 3


def test_growth_is_told_from_what_is_settled():
    def sights(leak):
        return [Sight(step, round(1e6 * (1 + leak * step / 100)), 0, 1) for step in range(101)]

    assert growth(sights(0), 100) == 0
    assert growth(sights(0.1), 100) == pytest.approx(0.0585, abs=0.002)
    with pytest.raises(UserError, match="ask for more"):
        growth(sights(0)[:50], 100)

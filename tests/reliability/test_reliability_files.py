"""Hostile files: what condgen makes of a few hundred of them, and that what is counted would be found."""

import json
import shutil
import time
from collections import defaultdict

import pytest

from condgen.errors import UserError
from reliability.files import file_rows, replay
from reliability.files.faults import FAULTS
from reliability.files.kinds import KINDS
from reliability.files.valid import make_valid
from reliability.files.watch import Limits, watch
from reliability.files.worker import chance_of, make_case

QUICK = [kind for kind in KINDS if kind not in ("runs", "diffusers")]  # their libraries take seconds to load


def finished(work):
    said = []
    try:
        while True:
            said.append(next(work))
    except StopIteration as end:
        return end.value, said


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    make_valid(folder / "valid")
    return folder


def test_nothing_that_must_not_happens(tmp_path):
    rows, _ = finished(file_rows(tmp_path / "work", 100, 0, QUICK))
    faults = [f"{row['variant']}: {row['said']}" for row in rows if row["what"] == "fault"]
    assert not faults, "\n".join(faults)
    found = defaultdict(dict)
    for row in rows:
        found[row["variant"]][row["what"]] = row["value"]
    assert list(found) == QUICK
    for kind, values in found.items():
        assert values["cases"] == 100 == values["accepted"] + values["refused"]
        assert values["refused"] > 10, kind
        assert values["accepted"] > 3 or kind == "archives", f"{kind} never gets past the first check"
        assert values["slowest case"] < 5
        assert values["peak memory"] < 2000
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_nor_in_runs_and_pipelines_and_whole_commands(tmp_path):
    rows, _ = finished(file_rows(tmp_path / "work", 500, 0, ["runs", "diffusers", "commands"]))
    faults = [f"{row['variant']}: {row['said']}" for row in rows if row["what"] == "fault"]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("fault", "outcome", "sign"),
    [
        ("traceback", "traceback", "KeyError at worker.py"),
        ("hang", "hang", "still at it after 0.5 s"),
        ("memory", "memory", "more than 1.2 GB"),
        ("canary", "accepted", "pickle.find_class"),
        ("outside", "accepted", "wrote "),
        ("secret", "accepted", "opened "),
    ],
)
def test_a_planted_fault_is_found(valid, fault, outcome, sign):
    limits = Limits(seconds=0.5 if fault == "hang" else 10.0, memory=1_200_000_000)
    results = list(watch(fault, 0, [3, 4], valid, limits))
    assert [result.number for result in results] == [3, 4], "the next case is read by another worker"
    for result in results:
        assert result.is_fault
        assert result.outcome == outcome
        assert sign in " ".join([result.said, *result.seen])
        assert result.canaries == (fault == "canary")


def test_every_planted_fault_is_among_them():
    assert set(FAULTS) == {"traceback", "hang", "memory", "canary", "outside", "secret"}


def test_a_fault_that_is_not_found_ends_the_count(tmp_path, monkeypatch):
    from reliability.files import rows

    monkeypatch.setitem(rows.FAULTS, "states", KINDS["states"])
    monkeypatch.setattr(rows, "FAULTS", {"states": KINDS["states"]})
    with pytest.raises(UserError, match="planted fault 'states' was not found"):
        finished(file_rows(tmp_path / "work", 1, 0, ["states"]))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_case_is_the_same_on_another_day(valid, tmp_path, monkeypatch, kind):
    now = time.time()
    for number in range(10):
        made = []
        for day in (0, 1):
            monkeypatch.setattr(time, "time", lambda at=now + day * 86_400: at)
            make_case(KINDS[kind], chance_of(kind, 2, number), valid / "valid", tmp_path / "case")
            made.append(contents(tmp_path / "case"))
            shutil.rmtree(tmp_path / "case")
        assert made[0].keys() == made[1].keys()
        assert not [path for path, content in made[0].items() if content != made[1][path]]


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path: path.read_bytes() for path in files if path.stat().st_size < 10**8}


def test_one_case_is_had_again_and_its_files_stay(tmp_path):
    said = replay("states/0/7", tmp_path)
    assert said.startswith("states/0/7: ")
    assert (tmp_path / "case" / "in" / "state" / "state.safetensors").exists()
    for wrong in ("states/0", "states/x/1", "nothing/0/1"):
        with pytest.raises(UserError, match="write KIND/SEED/NUMBER"):
            replay(wrong, tmp_path)


def test_rows_are_json_and_an_unknown_kind_is_named(tmp_path):
    rows, said = finished(file_rows(tmp_path, 5, 0, ["requests"]))
    assert json.loads(json.dumps(rows)) == rows
    assert said[:2] == ["small valid files", "planted faults"]
    with pytest.raises(UserError, match="there is no kind 'none': choose among recipes, "):
        finished(file_rows(tmp_path, 5, 0, ["none"]))

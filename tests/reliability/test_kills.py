"""Work that is killed or stopped, and started again by the same command, ends in the bits that it would have ended in.

Quick: a score model's training. Every kind of work: `uv run pytest -m slow tests/reliability/test_kills.py`.
"""

import os
import random
import shutil
import signal
from functools import partial
from typing import NamedTuple

import pytest
from reliability.commands import Command, contents, jobs, run, train_score
from reliability.faults import count_changes, die_before, die_in_a_file

WAYS = ("at a random moment", "before a file operation", "in the middle of a file")


class Whole(NamedTuple):
    """What a command does and leaves when nothing disturbs it."""

    contents: dict[str, str]  # but for files that are never the same twice
    seconds: float
    changes: int  # of files
    largest: int  # bytes of the largest file

    def is_left_in(self, folder):
        found = contents(folder)
        return all(found.get(path) == expected for path, expected in self.contents.items())


def undisturbed(arguments, folder) -> Whole:
    """Runs a command twice in the same folder."""
    notes, found = folder.with_name(f"{folder.name}.changes"), []
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        notes.unlink(missing_ok=True)
        ended = run(*arguments, "--out", folder, prepare=partial(count_changes, str(folder), str(notes))).check()
        found.append(contents(folder))
    same = {path: hash_ for path, hash_ in found[0].items() if found[1].get(path) == hash_}
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Whole(same, ended.seconds, notes.stat().st_size, largest)


def kill(arguments, folder, way, whole, chance) -> int:
    """Runs a command, kills it, and returns its status, which is not negative where it was too fast."""
    prepare = None
    if way == WAYS[1]:
        prepare = partial(die_before, str(folder), chance.randrange(whole.changes))
    elif way == WAYS[2]:
        prepare = partial(die_in_a_file, int(whole.largest ** chance.random()))
    command = Command(*arguments, "--out", folder, prepare=prepare)
    if way == WAYS[0]:
        command.work_for(chance.uniform(0, whole.seconds))
        command.send(signal.SIGKILL)
    return command.wait().code


def kill_and_resume(arguments, folder, way, whole, chance) -> int:
    """Kills a command up to three times, runs it to its end, and returns how often it was killed."""
    killed = 0
    while not killed:
        shutil.rmtree(folder, ignore_errors=True)
        for _ in range(chance.randint(1, 3)):
            killed += kill(arguments, folder, way, whole, chance) < 0
    run(*arguments, "--out", folder).check()
    assert whole.is_left_in(folder), (way, killed)
    return killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    whole = undisturbed(train_score(), tmp_path_factory.mktemp("whole") / "score")
    assert {"model.safetensors", "state/state.safetensors", "stage.json", "log.jsonl"} <= whole.contents.keys()
    return whole


@pytest.mark.parametrize("way", WAYS)
def test_killed_training_goes_on_to_the_same_bits(way, whole, tmp_path):
    assert kill_and_resume(train_score(), tmp_path / "score", way, whole, random.Random(1)) > 0


def test_each_of_the_first_changes_of_a_file_can_be_the_last(whole, tmp_path):
    folder = tmp_path / "score"
    for number in range(6):
        shutil.rmtree(folder, ignore_errors=True)
        ended = run(*train_score(), "--out", folder, prepare=partial(die_before, str(folder), number))
        assert ended.code == -signal.SIGKILL
        if number % 2:
            run(*train_score(), "--out", folder).check()
            assert whole.is_left_in(folder), number


def test_a_folder_of_other_settings_is_set_aside_whole_though_that_is_cut_short(tmp_path):
    folder = tmp_path / "score"
    run(*train_score(), "--seed=1", "--out", folder).check()
    before = contents(folder)
    for number in range(4):
        run(*train_score(), "--out", folder, prepare=partial(die_before, str(folder), number))
    run(*train_score(), "--out", folder).check()
    (aside,) = (place for place in tmp_path.iterdir() if place.name.startswith("score.before-"))
    assert {path: hash_ for path, hash_ in before.items() if path != ".lock"} == contents(aside)


def stop(arguments, folder, number, after, whole) -> bool:
    """Stops a command politely and runs it again; whether there was anything to stop."""
    command = Command(*arguments, "--out", folder)
    command.work_for(after)
    command.send(number)
    ended = command.wait()
    if ended.code == 0:  # it was at its end
        return False
    assert "Traceback" not in ended.err, ended.err
    said = "nothing is lost" in ended.out or "the last saved state is whole" in ended.err
    assert said or ended.code == -number, ended  # silent only before any work
    run(*arguments, "--out", folder).check()
    assert whole.is_left_in(folder)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_training_goes_on_to_the_same_bits(number, whole, tmp_path):
    shares = (share for share in (0.6, 0.5, 0.4, 0.3, 0.2, 0.1))
    assert any(stop(train_score(), tmp_path / f"{share}", number, share * whole.seconds, whole) for share in shares)


@pytest.mark.slow
def test_every_kind_of_work_survives_kills_and_stops(tmp_path):
    models, times = tmp_path / "models", int(os.environ.get("CONDGEN_KILLS", "6"))
    models.mkdir()
    for kind, arguments in jobs(models).items():
        chance = random.Random(kind)
        whole = undisturbed(arguments, tmp_path / "whole" / kind if kind == "recipe" else models / kind)
        place = tmp_path / "disturbed" / kind
        for turn in range(times):
            kill_and_resume(arguments, place, WAYS[turn % 3], whole, chance)
            shutil.rmtree(place)
            number = signal.SIGINT if turn % 2 else signal.SIGTERM
            stop(arguments, place, number, chance.uniform(0, whole.seconds), whole)
            shutil.rmtree(place, ignore_errors=True)

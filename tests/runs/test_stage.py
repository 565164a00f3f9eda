import pytest

from condgen.errors import UserError
from condgen.recipes.schema import EvaluateStage
from condgen.runs.folder import read_rows
from condgen.runs.stage import Key, lock, open_folder

SETTINGS = EvaluateStage(seed=3)


def opened(folder, key="key", *, base=None, total=1, name="work"):
    return open_folder(name, folder, Key(key, base or key, total), SETTINGS)


def test_a_stage_is_fresh_then_resumed_then_finished(tmp_path):
    folder = tmp_path / "run"
    stage = opened(folder)
    assert not stage.finished
    assert (folder / "recipe.yaml").read_text().startswith("seed: 3\n")
    stage.note(progress=1)
    again = opened(folder)
    assert (again.finished, again.record["progress"]) == (False, 1)
    again.note()
    assert again.record["seconds"] >= stage.record["seconds"]
    again.finish(what="all")
    assert opened(folder).finished


def test_other_settings_set_the_old_folder_aside(tmp_path):
    folder = tmp_path / "run"
    for number, key in enumerate(("a" * 16, "b" * 16, "a" * 16, "c" * 16)):
        stage = opened(folder, key)
        assert not stage.finished
        (folder / "file").write_text(str(number))
        stage.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "run",
        "run.before-aaaaaaaa",
        "run.before-aaaaaaaa-2",
        "run.before-bbbbbbbb",
    ]
    assert (tmp_path / "run.before-bbbbbbbb" / "file").read_text() == "1"


def test_the_log_forgets_steps_that_come_again(tmp_path):
    stage = opened(tmp_path / "run")
    for step in (10, 20, 30):
        stage.log({"step": step})
    with (stage.folder / "log.jsonl").open("a") as file:
        file.write('{"step": 4')  # killed while writing
    stage.forget_log_after(20)
    assert [row["step"] for row in read_rows(stage.folder / "log.jsonl")] == [10, 20]


def test_setting_aside_keeps_the_lock_and_says_where(tmp_path):
    folder = tmp_path / "run"
    with lock(folder):
        opened(folder, "a" * 16).finish()
        again = opened(folder, "b" * 16)
        assert again.message.endswith(f"the earlier run is kept in {tmp_path / 'run.before-aaaaaaaa'}")
        with pytest.raises(UserError, match="another condgen process is at work"), lock(folder):
            pass
    with lock(folder):  # and it is free again
        pass


def test_a_stage_of_another_kind_is_not_moved_away(tmp_path):
    opened(tmp_path / "run", "a" * 16, name="score").finish()
    with pytest.raises(UserError, match=r"another kind \(score\)"):
        opened(tmp_path / "run", "b" * 16, name="generator")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_finished_means_that_the_files_are_there(tmp_path):
    folder = tmp_path / "run"
    stage = opened(folder)
    (folder / "result").touch()
    stage.finish(["result"])
    assert opened(folder).finished
    (folder / "result").unlink()
    assert not opened(folder).finished


def test_more_to_do_goes_on_in_the_folder_and_less_does_not(tmp_path):
    folder = tmp_path / "run"
    opened(folder, "four", base="same", total=4).finish()
    longer = opened(folder, "eight", base="same", total=8)
    assert not longer.finished
    assert longer.message == "work: goes on, with 8 in all instead of 4"
    assert longer.record["earlier"] == [4]
    again = opened(folder, "eight", base="same", total=8)  # after an interruption
    assert (again.message, again.record["earlier"]) == ("", [4])
    again.finish()
    assert "before-eight" in opened(folder, "four", base="same", total=4).message
    assert "before-four" in opened(folder, "other", base="other", total=8).message

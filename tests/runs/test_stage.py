import json

import pytest

from condgen.errors import UserError
from condgen.recipes import EvaluateStage
from condgen.runs import lock, read_rows
from condgen.runs.stage import open_folder

SETTINGS = EvaluateStage(seed=3)


def test_a_stage_is_fresh_then_resumed_then_finished(tmp_path):
    folder = tmp_path / "run"
    stage = open_folder("work", folder, "key", SETTINGS)
    assert not stage.finished
    assert (folder / "recipe.yaml").read_text().startswith("seed: 3\n")
    stage.note(progress=1)
    again = open_folder("work", folder, "key", SETTINGS)
    assert (again.finished, again.record["progress"]) == (False, 1)
    again.note()
    assert again.record["seconds"] >= stage.record["seconds"]
    again.finish(what="all")
    assert open_folder("work", folder, "key", SETTINGS).finished


def test_other_settings_set_the_old_folder_aside(tmp_path):
    folder = tmp_path / "run"
    for number, key in enumerate(("a" * 16, "b" * 16, "a" * 16, "c" * 16)):
        stage = open_folder("work", folder, key, SETTINGS)
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


def test_a_folder_of_foreign_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="files that condgen did not write"):
        open_folder("work", tmp_path, "key", SETTINGS)


def test_the_log_forgets_steps_that_come_again(tmp_path):
    stage = open_folder("work", tmp_path / "run", "key", SETTINGS)
    for step in (10, 20, 30):
        stage.log({"step": step})
    with (stage.folder / "log.jsonl").open("a") as file:
        file.write('{"step": 4')  # killed while writing
    stage.forget_log_after(20)
    assert [row["step"] for row in read_rows(stage.folder / "log.jsonl")] == [10, 20]


def test_a_full_disk_does_not_lose_the_old_record(tmp_path, monkeypatch):
    stage = open_folder("work", tmp_path / "run", "key", SETTINGS)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("condgen.files.os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        stage.finish()
    assert json.loads((stage.folder / "stage.json").read_text())["finished"] is False


def test_setting_aside_keeps_the_lock_and_says_where(tmp_path):
    folder = tmp_path / "run"
    with lock(folder):
        open_folder("work", folder, "a" * 16, SETTINGS).finish()
        again = open_folder("work", folder, "b" * 16, SETTINGS)
        assert again.message.endswith(f"the earlier run is kept in {tmp_path / 'run.before-aaaaaaaa'}")
        with pytest.raises(UserError, match="another condgen process is at work"), lock(folder):
            pass
    with lock(folder):  # and it is free again
        pass


def test_a_stage_of_another_kind_is_not_moved_away(tmp_path):
    open_folder("score", tmp_path / "run", "a" * 16, SETTINGS).finish()
    with pytest.raises(UserError, match=r"another kind \(score\)"):
        open_folder("generator", tmp_path / "run", "b" * 16, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_finished_means_that_the_files_are_there(tmp_path):
    folder = tmp_path / "run"
    stage = open_folder("work", folder, "key", SETTINGS)
    (folder / "result").touch()
    stage.finish(["result"])
    assert open_folder("work", folder, "key", SETTINGS).finished
    (folder / "result").unlink()
    assert not open_folder("work", folder, "key", SETTINGS).finished

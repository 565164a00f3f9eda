import pytest

from condgen.errors import UserError
from condgen.runs.folder import file_key, read_json, read_rows, read_settings


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.json").write_text('{"x": ')
    (tmp_path / "b.json").write_text("[1]")
    (tmp_path / "c.jsonl").write_text('{"a": 1}\nnonsense\n')
    for name in ("a.json", "b.json"):
        with pytest.raises(UserError, match=f"{name} holds what condgen does not write"):
            read_json(tmp_path / name)
    with pytest.raises(UserError, match=r"c.jsonl, line 2 is damaged"):
        read_rows(tmp_path / "c.jsonl")
    with pytest.raises(UserError, match=r"none.json does not exist"):
        read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match="train it first"):
        file_key(tmp_path / "model.safetensors")


def test_a_snapshot_has_the_settings_of_its_training(tmp_path):
    (tmp_path / "snapshots" / "300").mkdir(parents=True)
    (tmp_path / "recipe.yaml").write_text("seed: 3")
    assert read_settings(tmp_path / "snapshots" / "300") == {"seed": 3}
    with pytest.raises(UserError, match="holds no model"):
        read_settings(tmp_path / "others")

"""How a recipe and a command line name their data."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from condgen.data import AnyData, Cifar10, Cifar100, Digits, Folder, Moons, parse_data
from condgen.errors import UserError


@pytest.mark.parametrize(
    "settings", [Digits(), Moons(noise=0.1), Cifar10(), Cifar100(root=Path("x")), Folder(root="y")]
)
def test_settings_survive_the_way_through_json(settings):
    adapter = TypeAdapter(AnyData)
    assert adapter.validate_json(adapter.dump_json(settings)) == settings


def test_unknown_kinds_and_keys_are_refused():
    for raw in ({"kind": "mnist"}, {"kind": "digits", "test_fractoin": 0.1}, {"kind": "moons", "noise": -1}):
        with pytest.raises(ValidationError):
            TypeAdapter(AnyData).validate_python(raw)


def test_names_and_paths_are_told_apart(tmp_path, monkeypatch):
    assert [parse_data(text) for text in ("digits", "moons", "cifar10", "cifar100")] == [
        Digits(),
        Moons(),
        Cifar10(),
        Cifar100(),
    ]
    assert parse_data("./digits") == Folder(root=Path("digits"))
    assert parse_data("no/such/folder") == Folder(root=Path("no/such/folder"))
    (tmp_path / "flowers").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_data("flowers") == Folder(root=Path("flowers"))


@pytest.mark.parametrize(("text", "hint"), [("cifar", "cifar10"), ("Digit", "digits"), ("mons", "moons")])
def test_a_misspelt_name_is_answered_with_the_nearest(text, hint):
    with pytest.raises(UserError, match=rf"no data set is called '{text}', did you mean '{hint}"):
        parse_data(text)


def test_a_name_like_no_other_is_answered_with_all():
    for text in ("zzz", ""):
        with pytest.raises(
            UserError, match=f"called '{text}'; known are digits, moons, cifar10, cifar100, or the path"
        ):
            parse_data(text)

"""What a run folder holds is read, or its fault is named."""

import json

import pytest

from condgen.errors import UserError
from condgen.recipes import read_yaml
from condgen.report import build_report
from condgen.report.inputs import read_run
from condgen.report.pictures import read_images


def test_a_whole_run_is_read(digits_run):
    run = read_run(digits_run())
    assert run.name == "digits"
    assert list(run.samples) == [
        "no guidance",
        "ce",
        "dlsm",
        "one-step",
    ]  # the order of the metrics, not of the alphabet
    assert len(run.samples["ce"]) == 80
    assert list(run.losses) == ["score", "classifier-ce", "classifier-dlsm", "generator"]
    assert len(read_images(run.samples["ce"][:3])) == 3


def test_names_fall_back_on_the_recipe_and_then_on_the_folder(tmp_path):
    assert read_run(tmp_path).name == tmp_path.name
    assert read_run(tmp_path).is_empty
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    assert read_run(tmp_path).name == "mine"


def test_losses_that_cannot_be_drawn_are_left_out(tmp_path):
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": float("nan")}, {"step": 3}, {"step": 4, "loss": 0.25}]
    rows += [{"step": 5, "loss": float("inf")}, {"step": 6, "loss": -1e300}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_run(tmp_path).losses == {"training": [(1, 0.5), (4, 0.25)]}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", "{"),
        ("run.json", "[]"),
        ("run.json", '{"stages": 3}'),
        ("recipe.yaml", "a: [1"),
        ("metrics.json", '{"rows": [{"method": "a", "metric": "recall", "value": "high"}]}'),
        ("diagnostics.json", '{"rows": [{"method": "a", "sigma": 0}]}'),
        ("cost.json", '{"rows": [3]}'),
        ("field.json", '{"sigma": 1, "x": [0, 1], "y": [0, 1], "names": ["a"], "fields": {"exact": [[1, 2]]}}'),
        (
            "field.json",
            '{"sigma": 1, "x": [0], "y": [0], "names": ["a"], "fields": {}, "points": [[0, 1], [1, 1]], "labels": [0]}',
        ),
        ("field.json", '{"sigma": 1, "x": [0], "y": [0], "names": ["a"], "fields": {"exact": [1e200, 0]}}'),
        ("cost.json", '{"rows": [{"method": "a", "images": 1, "seconds": 1e300}]}'),
        ("samples/ce/manifest.jsonl", '{"file": "a.png"}\n'),
        ("score/log.jsonl", '{"step": 1, "lo\n{}\n'),
        ("classifiers.json", '{"rows": [{"classifier": "ce", "sigma": 1}]}'),
        ("classifier-ce/calibration/calibration.json", '{"rows": [{"sigma": 1}]}'),
        ("classifier-ce/log.jsonl", '{"step": 1, "levels": [{"sigma": 1}]}\n'),
        ("generator-sid/log.jsonl", '{"step": 1, "preview": {"recall": 1}}\n'),
        ("generator-sid/log.jsonl", '{"step": 1, "preview": [3]}\n'),
    ],
)
def test_faults_are_named_by_their_file(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with pytest.raises(UserError, match=path.name.replace(".", r"\.")) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


_BOMB = "a0: &a0 [1, 2]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
_MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30))


@pytest.mark.parametrize(
    "text",
    ["a: [1", "a: &a {b: *a}", "a: &a [*a]", "[" * 10_000, _BOMB, _MERGED, "a: 2025-99-99", "a: !!bool perhaps"],
)
@pytest.mark.parametrize("about", ["{}", '{"name": "mine"}'])
def test_a_recipe_that_is_none_is_told_in_a_line_and_in_time(tmp_path, text, about):
    (tmp_path / "recipe.yaml").write_text(text)
    (tmp_path / "run.json").write_text(about)
    for read in (build_report, lambda folder: read_yaml(folder / "recipe.yaml")):
        with pytest.raises(UserError, match=r"recipe\.yaml") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_recipe_may_say_a_thing_twice_by_an_alias(tmp_path):
    (tmp_path / "recipe.yaml").write_text("a: &a {b: 1}\nc: {<<: *a, d: 2}\ne: [*a, *a]\n3: three\n")
    settings = read_run(tmp_path).settings
    assert settings == {"a": {"b": 1}, "c": {"b": 1, "d": 2}, "e": [{"b": 1}, {"b": 1}], "3": "three"}


def test_a_picture_that_is_gone_is_named(digits_run):
    folder = digits_run()
    run = read_run(folder)
    (folder / "samples" / "ce" / "00000.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"00000\.png"):
        read_images(run.samples["ce"])


def test_logs_of_generators_are_told_from_others(digits_run, make_a_generator):
    folder = digits_run()
    assert not read_run(folder).generators  # a loss alone is anybody's
    make_a_generator(folder / "generator-sid", skipped=3)
    make_a_generator(folder / "generator-sid.before-0123")  # set aside
    make_a_generator(folder / "generator-smm")
    run = read_run(folder)
    assert list(run.generators) == ["sid", "smm"]
    assert [log.skipped for log in run.generators.values()] == [3, 0]
    assert run.generators["sid"].losses["critic_fake"][0] == (50, 1.1)
    assert [(row["generator"], row["step"]) for row in run.looks[:2]] == [("sid", 100), ("sid", 200)]
    assert "generator-sid.before-0123" not in run.losses
    alone = read_run(folder / "generator-sid")
    assert (list(alone.generators), alone.is_empty) == (["sid"], False)

"""What a run folder holds is read, or its fault is named."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from condgen.errors import UserError
from condgen.report.build import build_report
from condgen.report.load import read_run


def test_a_whole_run_is_read(digits_run):
    run = read_run(digits_run)
    assert run.name == "digits"
    assert list(run.samples) == ["ce", "dlsm", "one-step"]  # the order of the metrics
    assert len(run.samples["ce"][1]) == 24
    assert list(run.losses) == ["score", "classifier-dlsm"]
    assert {name: len(rows) for name, rows in run.classifiers.items()} == {"ce": 4, "dlsm": 4}
    assert [step for step, _ in run.checks["dlsm"]] == [1000, 2000, 4000]
    assert not run.generators  # a loss alone is no sign of one


def test_names_fall_back_on_the_recipe_and_then_on_the_folder(tmp_path):
    assert read_run(tmp_path).name == tmp_path.name
    assert read_run(tmp_path).is_empty
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    assert read_run(tmp_path).name == "mine"


def test_losses_that_cannot_be_drawn_are_left_out(tmp_path):
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": float("nan")}, {"step": 3}, {"step": 4, "loss": 0.25}]
    rows.append({"step": 5, "loss": float("inf")})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_run(tmp_path).losses == {tmp_path.name: {"loss": [(1, 0.5), (4, 0.25)]}}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", "{"),
        ("run.json", '{"stages": 3}'),
        ("recipe.yaml", "a: [1"),
        ("metrics.json", '{"rows": [{"method": "a", "metric": "recall", "value": "high"}]}'),
        ("diagnostics.json", '{"rows": [{"method": "a", "sigma": 0}]}'),
        ("field.json", '{"sigma": 1, "x": [0], "y": [0, 1], "names": ["a"], "fields": {"exact": [[1, 2]]}}'),
        ("samples/ce/manifest.jsonl", '{"class": 5000000000}\n'),
        ("score/log.jsonl", '{"step": 1, "lo\n{}\n'),
        ("classifiers.json", '{"rows": [{"classifier": "ce", "sigma": 1}]}'),
        ("classifier-ce/calibration/calibration.json", '{"rows": [{"sigma": 1}]}'),
        ("classifier-ce/log.jsonl", '{"step": 1, "levels": [{"sigma": 1}]}\n'),
        ("generator-sid/log.jsonl", '{"step": 1, "preview": {"recall": 1}}\n'),
    ],
)
def test_faults_are_named_by_their_file(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with pytest.raises(UserError, match=path.name.replace(".", r"\.")) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_calibrations_of_single_folders_are_found(tmp_path, digits_run):
    rows = json.loads((digits_run / "classifiers.json").read_text())["rows"][:4]
    place = tmp_path / "alone" / "classifier-ce"
    (place / "calibration").mkdir(parents=True)
    (place / "calibration" / "calibration.json").write_text(json.dumps({"what": {"n": 360}, "rows": rows}))
    for folder in (place, place.parent):
        run = read_run(folder)
        assert len(run.classifiers["ce"]) == 4
        assert run.conditions["classifiers.json"] == {"n": 360}
    shutil.move(place, place.with_name("classifier-ce.before-0123"))
    assert read_run(tmp_path / "alone").is_empty


def test_generators_are_read_from_their_logs(digits_run, make_a_generator):
    make_a_generator(digits_run / "generator-sid", skipped=3)
    make_a_generator(digits_run / "generator-sid.before-0123")  # set aside
    make_a_generator(digits_run / "generator-smm")
    run = read_run(digits_run)
    assert list(run.generators) == ["sid", "smm"]
    assert [log.skipped for log in run.generators.values()] == [3, 0]
    assert run.losses["generator-sid"]["critic_fake"][0] == (50, 1.1)
    assert [row.step for row in run.generators["sid"].previews] == [100, 200, 300, 400]
    assert list(read_run(digits_run / "generator-sid").generators) == ["sid"]


@pytest.mark.parametrize("how", ["absolute", "above", "link", ".."])
def test_no_picture_outside_the_folder_is_reached(how, digits_run, tmp_path):
    place, private = digits_run / "samples" / "ce", tmp_path / "private.png"
    Image.fromarray(np.full((8, 8), 77, dtype=np.uint8)).save(private)
    (place / "link.png").symlink_to(private)
    file = {"absolute": str(private), "above": "../../../private.png", "link": "link.png"}.get(how, how)
    manifest = place / "manifest.jsonl"
    first, *others = manifest.read_text().splitlines(keepends=True)
    manifest.write_text(json.dumps(json.loads(first) | {"file": file}) + "\n" + "".join(others))
    with pytest.raises(UserError, match="outside"):
        build_report(digits_run)
    assert not (digits_run / "report.html").exists()

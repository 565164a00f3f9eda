"""Runs and exports that others have made lead nowhere out of their folders."""

import json
import shutil

import pytest
import yaml

from condgen.checkpoint import save_tensors
from condgen.errors import UserError
from condgen.export import Events, export
from condgen.export.sources import checked_name, named_parts
from condgen.files import within
from condgen.score import ScoreConfig

CONFIG = ScoreConfig.model_validate(
    {
        "network": {"kind": "mlp", "width": 16, "depth": 1},
        "schedule": {"kind": "edm"},
        "shape": (1, 4, 4),
        "names": ("ant", "bee"),
        "sigma_data": 0.5,
    }
)
RECIPE = {"name": "r", "score": {}, "sample": {"methods": {"plain": {}}}}


@pytest.fixture
def run(tmp_path):
    """The folder of a run with one model, whose report and samples are there."""
    folder = tmp_path / "run"
    save_tensors(folder / "score" / "model.safetensors", CONFIG.build().state_dict(), CONFIG.model_dump(mode="json"))
    (folder / "score" / "recipe.yaml").write_text("data: {kind: digits}\nscore: {}\n")
    (folder / "samples" / "plain").mkdir(parents=True)
    (folder / "samples" / "plain" / "grid.png").write_bytes(b"a picture")
    (folder / "report.html").write_text("<p>a report</p>")
    (tmp_path / "secret").write_text("a private key")
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "grid.png").write_bytes(b"another's")
    _describe(folder)
    return folder


def _describe(folder, stages=("score",), **recipe):
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | recipe))
    about = {"name": "r", "stages": [{"stage": "s", "folder": stage} for stage in stages]}
    (folder / "run.json").write_text(json.dumps(about))


def test_a_harmless_run_is_exported(run, tmp_path):
    export(run, tmp_path / "out", "mit")
    assert (tmp_path / "out" / "figures" / "samples-plain.png").read_bytes() == b"a picture"


@pytest.mark.parametrize("file", ["report.html", "samples/plain/grid.png"])
def test_a_file_of_gigabytes_of_nothing_is_not_copied(run, file, tmp_path):
    with open(run / file, "wb") as sparse:
        sparse.truncate(8_000_000_000)
    with pytest.raises(UserError, match=f"{file} cannot be exported .it holds more than"):
        export(run, tmp_path / "out", "mit")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["names", "network", "shape"])
def test_a_model_that_says_too_little_is_no_traceback(run, key, tmp_path):
    about = CONFIG.model_dump(mode="json")
    del about[key]
    save_tensors(run / "score" / "model.safetensors", CONFIG.build().state_dict(), about)
    with pytest.raises(UserError, match="holds what condgen does not write"):
        export(run, tmp_path / "out", "mit")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a/../../../v", "../v", "/v", "a b", ".hidden", ""])
def test_names_of_methods_are_names(run, name, tmp_path):
    before = set(tmp_path.rglob("*"))
    for recipe in ({"sample": {"methods": {name: {}}}}, {"diagnose": {"methods": {name: {}}}}):
        _describe(run, **recipe)
        for folder in (run, run / "score"):
            with pytest.raises(UserError, match="holds the name"):
                export(folder, tmp_path / "out", "mit")
    assert set(tmp_path.rglob("*")) == before


def test_what_is_no_table_of_names_is_said(run, tmp_path):
    for methods in (["a"], "a", {"a": 1}):
        _describe(run, sample={"methods": methods})
        with pytest.raises(UserError, match="is damaged"):
            export(run, tmp_path / "out", "mit")


@pytest.mark.parametrize("stage", ["../other/score", "ABSOLUTE/score", "score/../../other/score", None, 3])
def test_stages_lie_within_their_run(run, stage, tmp_path):
    shutil.copytree(run / "score", tmp_path / "other" / "score")
    stage = stage.replace("ABSOLUTE", str(tmp_path / "other")) if isinstance(stage, str) else stage
    _describe(run, stages=(stage,))
    with pytest.raises(UserError, match="does not lie within"):
        export(run, tmp_path / "out", "mit")


@pytest.mark.parametrize(
    "file", ["samples/plain/grid.png", "report.html", "score/grid.png", "score/recipe.yaml", "run.json", "recipe.yaml"]
)
def test_links_are_not_followed(run, file, tmp_path):
    (run / file).unlink(missing_ok=True)
    target = tmp_path / "aside" / file
    target.parent.mkdir(parents=True)
    _describe(target.parent) if file in ("run.json", "recipe.yaml") else target.write_text("{}")
    (run / file).symlink_to(target)
    with pytest.raises(UserError, match="symbolic link"):
        export(run, tmp_path / "out", "mit")
    assert not (tmp_path / "out").exists()


def test_linked_folders_are_not_followed_and_a_linked_run_is(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    export(tmp_path / "link", tmp_path / "out", "mit")
    (run / "score").rename(tmp_path / "elsewhere")
    (run / "score").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="symbolic link"):
        export(run, tmp_path / "again", "mit")


def test_event_files_stay_in_their_folder(run, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    foreign = tmp_path / "t" / "events.out.tfevents.mine"
    foreign.parent.mkdir()
    foreign.write_bytes(b"mine")
    (tmp_path / "t" / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    (tmp_path / "t" / "written.json").write_text('{"rows": 1, "digest": "of something else"}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    out = run / "tensorboard"
    (out / "generator-x").mkdir(parents=True)
    _describe(run, generators={"x/../../../t": {}})
    before[run / "recipe.yaml"] = (run / "recipe.yaml").read_bytes()
    with pytest.raises(UserError, match="holds the name"):
        Events(run, out).update()
    _describe(run, generators={"t": {}})
    before[run / "recipe.yaml"] = (run / "recipe.yaml").read_bytes()
    (run / "generator-t").mkdir()
    (run / "generator-t" / "log.jsonl").write_bytes((tmp_path / "t" / "log.jsonl").read_bytes())
    before[run / "generator-t" / "log.jsonl"] = (tmp_path / "t" / "log.jsonl").read_bytes()
    (out / "generator-t").symlink_to(tmp_path / "t")
    with pytest.raises(UserError, match="symbolic link"):
        Events(run, out).update()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_paths_and_names(tmp_path):
    assert within(tmp_path, "a/b") == tmp_path / "a" / "b"
    for name in ("..", "a/../../b", "/a", "a\0b", None, 1):
        with pytest.raises(UserError, match="does not lie within"):
            within(tmp_path, name)
    assert checked_name("sid_v2.1-x", tmp_path) == "sid_v2.1-x"
    assert named_parts(None, tmp_path) == {}
    assert named_parts({"a": None}, tmp_path) == {"a": {}}


@pytest.mark.parametrize("root", [".", "/"])
def test_a_report_survives_data_that_lie_right_here(run, root, tmp_path):
    (run / "score" / "recipe.yaml").write_text(yaml.safe_dump({"data": {"kind": "folder", "root": root}, "score": {}}))
    report = "<p>0.25 of ./x</p>"
    (run / "report.html").write_text(report)
    export(run, tmp_path / "out", "mit")
    assert (tmp_path / "out" / "report.html").read_text() == report
    assert "data: folder, images" in (tmp_path / "out" / "README.md").read_text()

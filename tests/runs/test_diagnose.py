"""Score errors of real model folders, by one process and by several."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from finish import finish
from models import Asked
from processes import run
from stages import ALONE, DIGITS, small_stage, train

from condgen import EDM, DenoiserGuided, Oracle, ScoreModel, held_out_differences, parse_data
from condgen.data.sets import load
from condgen.diagnostics.held_out import HeldOutRow
from condgen.diagnostics.score_errors import measure_levels
from condgen.recipes.guidance import Guidance
from condgen.recipes.schema import DiagnoseRecipe
from condgen.runs.diagnose import Diagnose
from condgen.runs.models import Folders
from condgen.training.distributed import Processes


def score_model(folder, data, labels="none"):
    list(train(folder, small_stage("score", data=data, labels=labels), data=load(parse_data(data), "train")))
    return folder


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    root = tmp_path_factory.mktemp("moons")
    return score_model(root / "score", "moons"), score_model(root / "told", "moons", "embedding")


def work(score, told, out, *stages):
    """What each of several processes does: process 0 writes, the others nothing."""
    torch.set_num_threads(1)
    Oracle.at_once = 3  # so that a share is more than one block
    processes = Processes(cpu=True)
    folders, data = Folders(Path(score), {"told": Path(told)}), parse_data("moons").load_all()
    for number, text in enumerate(stages):
        place = Path(out) / f"{processes.rank}-{number}"
        stage = DiagnoseRecipe.model_validate_json(text)
        list(Diagnose("diagnose", place, stage, folders, data.train, data.test).run(processes))
    processes.wait()
    torch.distributed.destroy_process_group()
    os._exit(0)  # an interpreter that is ending kills gloo's remaining threads, which now and then aborts the process


def shared_diagnosis(moons, stages, out, count):
    run([__file__, *moons, out, *(stage.model_dump_json() for stage in stages)], count)
    assert sorted(path.parent.name for path in out.glob("*/diagnostics.json")) == ["0-0", "0-1"]
    return [json.loads((out / f"0-{n}" / "diagnostics.json").read_text())["rows"] for n in range(len(stages))]


def test_many_processes_find_what_one_finds(moons, tmp_path):
    """Three of them share 11 images and queries; two are fewer than there are processes."""
    grid = {"x": (-2, 2), "y": (-2, 2), "points": 5, "levels": (1.0,)}
    shared = {"levels": (0.5, 2.0), "draws": 3, "grid": grid, "methods": {"told": Guidance(score="told")}}
    shared["references"] = ("zero guidance", "told")
    stages = [DiagnoseRecipe.model_validate(shared | {"most": few, "queries": few}) for few in (11, 2)]
    folders, data = Folders(moons[0], {"told": moons[1]}), parse_data("moons").load_all()
    together = shared_diagnosis(moons, stages, tmp_path, 3)
    for number, (stage, found) in enumerate(zip(stages, together, strict=True)):
        list(Diagnose("diagnose", tmp_path / f"alone-{number}", stage, folders, data.train, data.test).run(ALONE))
        alone = json.loads((tmp_path / f"alone-{number}" / "diagnostics.json").read_text())["rows"]
        assert len([row for row in alone if "weighting" in row]) == 3 * 4
        assert len([row for row in alone if row["quantity"] == "held_out_difference"]) == 2 * 2
        assert len(alone) == len(found)
        for one, other in zip(alone, found, strict=True):
            measured = {"mean", "sd", "exact", "se"} & one.keys()
            assert {key for key in one if one[key] != other[key]} <= measured
            for key in measured:
                assert other[key] == pytest.approx(one[key], rel=1e-5, abs=1e-9), (key, one)


def test_differences_are_those_of_the_function_on_the_test_split_and_need_no_oracle(tmp_path):
    score, told = (score_model(tmp_path / labels, "digits", labels) for labels in ("none", "embedding"))
    methods = {"told": Guidance(score="told"), "cfg": Guidance(score="told", guide="unlabelled", scale=2.0)}
    about = {"levels": (0.5, 2.0), "draws": 2, "seed": 3, "methods": methods, "references": ("zero guidance", "told")}
    stage = DiagnoseRecipe.model_validate(about)
    list(Diagnose("diagnose", tmp_path / "d", stage, Folders(score, {"told": told}), *DIGITS[::2]).run(ALONE))
    found = json.loads((tmp_path / "d" / "diagnostics.json").read_text())
    labelled = ScoreModel.load(told)
    models = {"zero guidance": ScoreModel.load(score), "told": labelled, "cfg": DenoiserGuided(labelled, scale=2.0)}
    x, y = DIGITS.test.floats(), DIGITS.test.y
    expected = held_out_differences(models, ["zero guidance", "told"], x, y, [0.5, 2.0], draws=2, seed=3)
    for one, other in zip([HeldOutRow(**row) for row in found["rows"]], expected, strict=True):
        assert one.model_dump(exclude={"mean", "se"}) == other.model_dump(exclude={"mean", "se"})
        assert (one.mean, one.se) == (pytest.approx(other.mean, abs=1e-7), pytest.approx(other.se, rel=1e-4))
    assert "oracle" not in found["what"]
    assert found["what"]["training"]["told"].keys() == {"steps", "batch", "seconds"}


def test_maps_are_of_pairs_of_methods_and_without_any_there_is_none(tmp_path):
    score = score_model(tmp_path / "score", "digits")
    told = score_model(tmp_path / "told", "digits", "embedding")
    for name, methods in {"none": {}, "one": {"told": Guidance(score="told")}}.items():
        stage = DiagnoseRecipe(levels=(1.0,), most=10, draws=1, methods=methods)
        list(Diagnose("diagnose", tmp_path / name, stage, Folders(score, {"told": told}), *DIGITS[::2]).run(ALONE))
    assert not (tmp_path / "none" / "pixels.json").exists()
    z = json.loads((tmp_path / "one" / "pixels.json").read_text())["z"]
    assert torch.tensor(z["told minus zero guidance"]).shape == (1, 8, 8)


def test_perfect_models_of_images_have_no_error_and_queries_come_in_blocks():
    data = DIGITS.train
    oracle = Oracle(EDM(sigma_max=20), data.x, data.y, data.n_classes, held=100_000)
    assert oracle.at_once < 100
    perfect = Asked(oracle)
    stage = DiagnoseRecipe(levels=(0.1, 1.0, 10.0), queries=150, methods={"told": Guidance(score="told")})
    measured = partial(measure_levels, oracle, perfect, {"told": perfect}, stage.levels)
    work = Diagnose("diagnose", None, stage, None, data, None)._against_oracle("data", oracle, measured, ALONE)
    rows, progress = finish(work)
    assert max(size for size, _ in perfect.batches) <= oracle.at_once
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert (progress[0].done, progress[-1].done, progress[-1].total) == (0, 450, 450)
    assert {row.n for row in rows} == {150}
    for row in rows:
        if row.quantity == "D_L" or row.method == "zero guidance":
            continue
        assert row.mean <= 1e-6 * row.exact, row


if __name__ == "__main__":
    work(*sys.argv[1:])

"""Looks at a generator in training: rows, files, and what becomes of them when training goes on."""

import itertools

import pytest
import torch
from finish import begin
from stages import DIGITS, NETWORK, small_stage, train

from condgen.checkpoint import save_tensors
from condgen.data.sets import parse_data
from condgen.errors import UserError
from condgen.runs.folder import read_rows
from condgen.runs.monitor import read_previews


def work_in(folder, every=2, kind="digits"):
    training = {"steps": 8, "save_every": 3, "log_every": 4}
    objective = {"loss": "dmd", "network": NETWORK, "denoiser_steps": 1}
    stage = small_stage("generator", training, kind, latent=4, objective=objective, preview_every=every)
    data, _, test = DIGITS if kind == "digits" else parse_data(kind).load_all()
    return train(folder, stage, data=data, held_out=test)


def looks_logged(folder):
    return [row for row in read_rows(folder / "log.jsonl") if "preview" in row]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("looks") / "g"
    return folder, list(work_in(folder))


def test_every_look_is_a_row_a_file_and_a_word_in_the_progress(trained):
    folder, events = trained
    rows = looks_logged(folder)
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    for row in rows:
        assert row["preview"].keys() == {"std_ratio", "recall", "accuracy", "n", "judge"}
        assert 0 <= row["preview"]["recall"] <= 1
        assert row["preview"]["n"] == 1000
    assert [event.done for event in events if event.preview == folder] == [2, 4, 6, 8]
    assert all("in-class std" in event.note for event in events if event.done >= 2)
    found = read_previews(folder)
    assert [look.step for look in found] == [2, 4, 6, 8]
    for look in found:
        assert (look.x.dtype, look.x.shape) == (torch.uint8, (80, 1, 8, 8))  # eight of each class
        assert look.y.bincount().tolist() == [8] * 10
        assert look.names == DIGITS.train.names


def test_looks_show_the_same_latents_and_change_no_weight(trained, tmp_path):
    folder, _ = trained
    list(work_in(tmp_path / "once", every=100))
    assert [row["step"] for row in looks_logged(tmp_path / "once")] == [8]  # always at the end
    for ours, others in zip(read_previews(folder)[-1:], read_previews(tmp_path / "once"), strict=True):
        assert torch.equal(ours.x, others.x)
    assert looks_logged(folder)[-1] == looks_logged(tmp_path / "once")[0]


def test_points_are_kept_as_they_are(tmp_path):
    list(work_in(tmp_path, every=100, kind="moons"))
    (look,) = read_previews(tmp_path)
    assert (look.x.dtype, look.x.shape) == (torch.float32, (200, 2))


def test_a_killed_training_drops_the_looks_that_it_will_take_again(trained, tmp_path):
    """What a kill leaves: the state of step 3, and rows and files of later looks."""
    folder = tmp_path / "g"
    work = work_in(folder)
    list(itertools.islice(work, 4))  # one step beyond the state of step 3, which is then on disk
    state = {path: path.read_bytes() for path in (folder / "state").rglob("*") if path.is_file()}
    begin(work, 3)
    for path, content in state.items():
        path.write_bytes(content)
    assert [row["step"] for row in looks_logged(folder)] == [2, 4, 6]
    again = work_in(folder)
    assert next(again).done == 4
    assert [row["step"] for row in looks_logged(folder)] == [2, 4]
    list(again)
    assert looks_logged(folder) == looks_logged(trained[0])
    for one, other in zip(read_previews(folder), read_previews(trained[0]), strict=True):
        assert (one.step, torch.equal(one.x, other.x)) == (other.step, True)


def test_a_file_that_is_no_preview_is_named(tmp_path):
    path = tmp_path / "previews" / "00000002.safetensors"
    for bad in ({"y": torch.tensor([0, 9])}, {"x": torch.zeros(1, 2)}, {"x": torch.full((2, 2), torch.nan)}):
        tensors = {"x": torch.zeros(2, 2), "y": torch.tensor([0, 1])} | bad
        save_tensors(path, tensors, {"step": 2, "names": ["a", "b"]})
        with pytest.raises(UserError, match=r"00000002.safetensors holds what condgen does not write"):
            read_previews(tmp_path)

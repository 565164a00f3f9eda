import pytest
import torch
from safetensors.torch import save_file

from condgen.checkpoint import MODEL_FILE, load_into, load_tensors, save_tensors
from condgen.errors import UserError
from condgen.score import ScoreModel


def test_missing_and_surplus_tensors_are_named(tmp_path):
    net = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"Missing key.*bias.*Unexpected key.*wait"):
        load_into(net, {"weight": torch.zeros(2, 2), "wait": torch.zeros(1)}, tmp_path)
    for bad in (torch.full((2, 2), torch.nan), torch.zeros(2, 2, dtype=torch.complex64)):
        with pytest.raises(UserError, match="not finite numbers, in weight"):
            load_into(net, {"weight": bad, "bias": torch.zeros(2)}, tmp_path)


def test_tensor_files_round_trip_and_leave_no_temporary(tmp_path):
    path = tmp_path / "deep" / "file.safetensors"
    save_tensors(path, {"a": torch.arange(3)}, {"kind": "x", "unicode": "é"})
    tensors, description = load_tensors(path)
    assert (tensors["a"].tolist(), description["unicode"]) == ([0, 1, 2], "é")
    assert [entry.name for entry in path.parent.iterdir()] == ["file.safetensors"]


def test_a_file_of_other_makers_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors holds what condgen does not write"):
        load_tensors(tmp_path / "x.safetensors")


def test_a_description_of_another_version_is_refused_in_one_line(tmp_path):
    save_tensors(tmp_path / MODEL_FILE, {}, {"kind": "score model", "network": {"kind": "hypernet"}})
    with pytest.raises(UserError, match=r"the model in .*: shape: Field required") as caught:
        ScoreModel.load(tmp_path)
    assert "\n" not in str(caught.value)

import pytest
import torch
from safetensors.torch import save_file

from condgen.checkpoint import load_into, load_tensors, save_tensors
from condgen.errors import UserError


def test_missing_and_surplus_tensors_are_named(tmp_path):
    net = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"Missing key.*bias.*Unexpected key.*wait"):
        load_into(net, {"weight": torch.zeros(2, 2), "wait": torch.zeros(1)}, tmp_path)
    for bad in (torch.full((2, 2), torch.nan), torch.full((2, 2), torch.inf), torch.zeros(2, 2, dtype=torch.complex64)):
        with pytest.raises(UserError, match="not finite numbers, in weight"):
            load_into(net, {"weight": bad, "bias": torch.zeros(2)}, tmp_path)


def test_tensor_files_round_trip_leave_no_temporary_and_those_of_others_are_refused(tmp_path):
    path = tmp_path / "deep" / "file.safetensors"
    save_tensors(path, {"a": torch.arange(3)}, {"kind": "x", "unicode": "é"})
    tensors, description = load_tensors(path)
    assert (tensors["a"].tolist(), description["unicode"]) == ([0, 1, 2], "é")
    assert [entry.name for entry in path.parent.iterdir()] == ["file.safetensors"]
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors holds what condgen does not write"):
        load_tensors(tmp_path / "x.safetensors")


def test_weights_that_a_network_shares_are_saved(tmp_path):
    shared = torch.nn.Parameter(torch.ones(2))
    save_tensors(tmp_path / "a.safetensors", {"a": shared, "b": shared}, {"kind": "x"})
    assert load_tensors(tmp_path / "a.safetensors")[0]["b"].tolist() == [1, 1]

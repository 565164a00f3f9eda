"""One-step generators as ONNX, for programs without PyTorch."""

import warnings
from pathlib import Path

import torch

from condgen.errors import from_extra
from condgen.generator import Generator

ONNX_FILE = "model.onnx"


def write_onnx(model: Path, out: Path) -> None:
    """The generator in a folder as a graph with inputs z (B, *latent) float32 and y (B,) int64, and output x.

    UserError where the packages of the extra `onnx` are missing.
    """
    generator = Generator.load(model)
    z, y = torch.zeros(2, *generator.latent_shape), torch.zeros(2, dtype=torch.long)
    batch = {0: torch.export.Dim("batch")}
    with from_extra("onnx"), warnings.catch_warnings():
        import onnxscript  # noqa: F401 - of which torch makes use

        warnings.simplefilter("ignore")  # of the exporter about its own parts
        program = torch.onnx.export(
            generator,
            (z, y),
            input_names=["z", "y"],
            output_names=["x"],
            dynamic_shapes={"z": batch, "y": batch},
            verbose=False,
        )
    assert program is not None
    program.save(out)

"""One-step generators as ONNX, for programs without PyTorch, and as a page that draws in a browser.

The page is one file, which fetches nothing: onnxruntime-web is in it.
"""

import base64
import gzip
import warnings
from pathlib import Path

import torch

from condgen.errors import explain, from_extra
from condgen.files import write_atomically
from condgen.generator import Generator
from condgen.report.page import open_template

ONNX_FILE = "model.onnx"
_RUNTIME = {"runtime": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}  # the smallest, for CPUs


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


def read_runtime(folder: Path) -> dict[str, str]:
    """What a page needs of onnxruntime-web's folder `dist` (1.25 or later); UserError where a file is missing."""
    with explain(f"{folder} holds no onnxruntime-web", "npm install onnxruntime-web, and name its dist", OSError):
        return {name: _as_text(folder / file) for name, file in _RUNTIME.items()}


def write_page(place: Path, name: str, data: str, names: list[str], runtime: dict[str, str]) -> None:
    """Writes `draw.html` beside the ONNX file of a generator of images, whose classes have these names."""
    files = runtime | {"model": _as_text(place / ONNX_FILE)}
    page = open_template("condgen.export", "draw.html.j2").render(name=name, data=data, names=names, files=files)
    write_atomically(place / "draw.html", page.encode(errors="replace"))


def _as_text(file: Path) -> str:
    return base64.b64encode(gzip.compress(file.read_bytes(), compresslevel=6, mtime=0)).decode()

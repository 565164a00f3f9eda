"""A page that draws from a one-step generator in a browser, by onnxruntime-web: one file, which fetches nothing."""

import base64
import gzip
from pathlib import Path

from condgen.errors import explain
from condgen.export.onnx import ONNX_FILE
from condgen.files import write_atomically
from condgen.report.page import open_template

_RUNTIME = {"runtime": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}  # the smallest, for CPUs


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

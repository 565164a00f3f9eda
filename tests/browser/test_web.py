"""The page of a generator draws what the generator draws, from its own file, whatever the names of its classes."""

import base64
import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from export.test_onnx import ABOUT, NETWORKS, saved

from condgen.data.labelled import to_uint8
from condgen.errors import UserError
from condgen.export.folder import export
from condgen.export.onnx import read_runtime, write_page
from condgen.generator import GeneratorConfig

RUNTIME = "CONDGEN_ONNXRUNTIME_WEB"
EVIL = "</script><img src=x onerror=\"document.title = 'broken'\">&amp;"
PIXELS = "all => all.map(one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data])"


def test_a_page_holds_its_files_and_no_name_is_markup(tmp_path):
    files = {"runtime": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm", "model": "model.onnx"}
    with pytest.raises(UserError, match="npm install onnxruntime-web"):
        read_runtime(tmp_path)
    for file in files.values():
        (tmp_path / file).write_text(file)
    write_page(tmp_path, EVIL, EVIL, [EVIL, "bee"], read_runtime(tmp_path))
    html = (tmp_path / "draw.html").read_text()
    found = re.findall(r'<script type="text/plain" id="(\w+)">(.*)</script>', html)
    assert {name: gzip.decompress(base64.b64decode(text)).decode() for name, text in found} == files
    assert (html.count("<script"), html.count("</script"), html.count("<img")) == (4, 4, 0)
    points = GeneratorConfig(shape=(2,), names=("ant", "bee"), network={"kind": "mlp", "width": 8, "depth": 1}).build()
    with pytest.raises(UserError, match="makes points"):
        export(saved(points, tmp_path / "points"), tmp_path / "out", "mit", web=tmp_path)


def normal(seed, length):
    """The page's noise: mulberry32 and Box-Muller's transform."""
    state = (seed + 0x6D2B79F5 * np.arange(1, 2 * length + 1, dtype=np.uint64)).astype(np.uint32)
    t = (state ^ (state >> 15)) * (1 | state)
    t = (t + (t ^ (t >> 7)) * (61 | t)) ^ t
    u = ((t ^ (t >> 14)) + 0.5) / 2**32
    return torch.from_numpy(np.sqrt(-2 * np.log(u[::2])) * np.cos(2 * np.pi * u[1::2])).float()


@pytest.mark.browser
@pytest.mark.skipif(RUNTIME not in os.environ, reason=f"${RUNTIME} is not set: the folder dist of onnxruntime-web")
def test_it_draws_offline_what_the_generator_draws(page, tmp_path):
    about = ABOUT | NETWORKS["a latent's"] | {"names": (EVIL, "bee")}
    generator = GeneratorConfig.model_validate(about).build().eval().requires_grad_(False)
    export(saved(generator, tmp_path / "model"), tmp_path / "out", "mit", web=Path(os.environ[RUNTIME]))
    page.context.set_offline(True)
    page.goto((tmp_path / "out" / "draw.html").as_uri())
    page.get_by_text("30 images in").wait_for()
    assert page.locator("figcaption").first.inner_text() == EVIL
    page.get_by_label("Class").select_option("bee")
    page.get_by_label("Seed").fill("5")
    page.get_by_label("Images").fill("3")
    page.get_by_role("button").dblclick()  # the second ends the first
    page.get_by_text(re.compile("^3 images in")).wait_for()
    shown = torch.tensor(page.locator("canvas").evaluate_all(PIXELS)).view(3, 64, 4)[..., 0]
    wanted = to_uint8(generator(torch.stack([normal(5 + i, 3) for i in range(3)]), torch.ones(3).long()))
    assert (shown - wanted.flatten(1).int()).abs().max() <= 1
    assert page.get_by_role("link").get_attribute("href").startswith("data:image/png;base64,")

"""Generators as ONNX give the same samples, at any batch."""

import pytest
import torch
from libraries import library

from condgen.errors import UserError
from condgen.export.folder import CARD_FILE, contents, export
from condgen.export.onnx import ONNX_FILE
from condgen.generator import GeneratorConfig
from condgen.score import ScoreConfig

ABOUT = {"shape": (1, 8, 8), "names": ("ant", "bee", "cat")}
NETWORKS = {
    "a latent's": {"network": {"kind": "convgen", "channels": 4}, "latent": 3},
    "a denoiser's": {"network": {"kind": "unet", "channels": 8, "multipliers": [1, 2], "blocks": 1}, "level": 2.0},
}


def saved(model, folder):
    model.save(folder)
    (folder / "recipe.yaml").write_text("data: {kind: digits}\nmodel: {}\n")
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_and_torch_export_draw_the_samples_of_the_generator(name, tmp_path):
    runtime = library("onnxruntime")
    generator = GeneratorConfig.model_validate(ABOUT | NETWORKS[name]).build().eval().requires_grad_(False)
    export(saved(generator, tmp_path / "model"), tmp_path / "out", "mit", onnx=True)
    assert ONNX_FILE in contents(tmp_path / "out", "me/mine")
    assert f'InferenceSession("{ONNX_FILE}")' in (tmp_path / "out" / CARD_FILE).read_text()
    session = runtime.InferenceSession(tmp_path / "out" / ONNX_FILE)
    batch = {0: torch.export.Dim("batch")}
    like = torch.zeros(2, *generator.latent_shape), torch.zeros(2, dtype=torch.long)
    program = torch.export.export(generator, like, dynamic_shapes={"z": batch, "y": batch}).module()
    for n in (1, 5):
        z, y = torch.randn(n, *generator.latent_shape), torch.arange(n) % 3
        wanted = generator(z, y)
        (x,) = session.run(None, {"z": z.numpy(), "y": y.numpy()})
        torch.testing.assert_close(torch.from_numpy(x), wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(program(z, y), wanted, atol=1e-4, rtol=0)
        assert not torch.allclose(wanted, generator(z, (y + 1) % 3), atol=1e-2)  # labels tell


def test_a_score_model_has_no_onnx(tmp_path):
    about = ABOUT | {"network": {"kind": "mlp", "width": 8, "depth": 1}, "schedule": {"kind": "edm"}, "sigma_data": 1.0}
    with pytest.raises(UserError, match="holds no generator"):
        export(saved(ScoreConfig.model_validate(about).build(), tmp_path / "model"), tmp_path / "out", "mit", onnx=True)

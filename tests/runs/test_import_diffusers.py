"""Score models of diffusers, from the folder that it saves to guided samples."""

import json
import shutil

import pytest
import torch
from libraries import library
from networks.test_diffusers import UNET
from PIL import Image

from condgen.runs.folder import read_rows
from condgen.score import ScoreModel
from tests.cli.conftest import bad, good

diffusers = library("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of other people's code

SCHEDULER, NETWORK = "scheduler/scheduler_config.json", "unet/config.json"
CLASSIFIER = ("--steps", 3, "--batch", 8, "--set", "classifier.network.width=16")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A folder that a pipeline of an untrained network has saved."""
    folder = tmp_path_factory.mktemp("hub") / "ddpm-tiny"
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**UNET)
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(prediction_type="v_prediction")).save_pretrained(folder)
    return folder


def test_a_classifier_learns_on_top_of_it_and_guides_it(pipeline, tmp_path):
    score, classifier = tmp_path / "score", tmp_path / "classifier"
    good("import-diffusers", pipeline, "--data", "digits", "--out", score)
    model = ScoreModel.load(score)
    assert (model.config.shape, len(model.config.names)) == ((1, 8, 8), 10)
    assert (model.config.schedule.sigma_min, model.config.schedule.sigma_max) == pytest.approx((0.01, 157.4), rel=1e-3)
    trained = diffusers.UNet2DModel.from_pretrained(pipeline / "unet", use_safetensors=True)
    x, level = torch.randn(2, 1, 8, 8), model.config.network.levels()[300]
    alpha = float(1 / (1 + level**2) ** 0.5)
    expected = alpha * x - alpha * float(level) * trained(x, 300).sample
    torch.testing.assert_close(model(x / alpha, level), expected, rtol=1e-5, atol=1e-5)

    good("train-classifier", "--score", score, *CLASSIFIER, "--out", classifier)
    models = ("--score", score, "--classifier", classifier)
    good("sample", *models, "--class", "3", "--per-class", 2, "--nfe", 4, "--out", tmp_path / "s")
    assert [row["class"] for row in read_rows(tmp_path / "s" / "manifest.jsonl")] == [3, 3]
    good("diagnose", *models, "--levels", "1", "--most", 20, "--out", tmp_path / "d")
    assert "nothing left to do" in good("import-diffusers", pipeline, "--data", "digits", "--out", score)


@pytest.mark.parametrize(
    ("scheduler", "levels", "sigma_data"),
    [("FlowMatchEulerDiscreteScheduler", (1 / 999, 200.0), 1.0), ("EDMEulerScheduler", (0.002, 80.0), 0.5)],
)
def test_flows_and_preconditioned_networks_are_known_by_their_scheduler(
    pipeline, tmp_path, scheduler, levels, sigma_data
):
    place = shutil.copytree(pipeline, tmp_path / "pipeline")
    getattr(diffusers, scheduler)().save_pretrained(place / "scheduler")
    good("import-diffusers", place, "--names", "cat,dog", "--out", tmp_path / "score")
    config = ScoreModel.load(tmp_path / "score").config
    assert (config.schedule.sigma_min, config.schedule.sigma_max, config.sigma_data) == pytest.approx(
        (*levels, sigma_data)
    )
    good("sample", "--score", tmp_path / "score", "--n", 2, "--nfe", 3, "--out", tmp_path / "samples")


def test_classes_may_be_named_before_there_are_data(pipeline, tmp_path):
    score = tmp_path / "score"
    good("import-diffusers", pipeline, "--names", "cat, dog", "--out", score)
    assert ScoreModel.load(score).config.names == ("cat", "dog")
    for name, grey in (("cat", 30), ("dog", 220)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (9, 9), grey + number).save(tmp_path / "photos" / name / f"{number}.png")
    words = ("train-classifier", "--score", score, *CLASSIFIER, "--out", tmp_path / "c")
    assert "name them with --data" in bad(*words)
    good(*words, "--data", tmp_path / "photos", "--set", "data.image_size=8")
    diagnosis = ("diagnose", "--score", score, "--classifier", tmp_path / "c", "--out", tmp_path / "d")
    assert "name them with --data" in bad(*diagnosis)
    good("import-diffusers", pipeline, "--data", tmp_path / "photos", "--out", tmp_path / "other")
    assert "image_size: 8" in (tmp_path / "other" / "recipe.yaml").read_text()


def _changed(pipeline, place, file, **changes):
    shutil.copytree(pipeline, place)
    (place / file).write_text(json.dumps(json.loads((place / file).read_text()) | changes))
    return place


def test_what_cannot_be_imported_is_refused_in_one_line(pipeline, tmp_path):
    pickled = shutil.copytree(pipeline, tmp_path / "pickled")
    (pickled / "unet" / "diffusion_pytorch_model.safetensors").rename(pickled / "unet" / "diffusion_pytorch_model.bin")
    cut = shutil.copytree(pipeline, tmp_path / "cut")
    weights = cut / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    inverted, digits = shutil.copytree(pipeline, tmp_path / "inverted"), ("--data", "digits")
    diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True).save_pretrained(inverted / "scheduler")
    dit = tmp_path / "dit"  # a transformer of latents and their decoder
    dit.mkdir()
    (dit / "model_index.json").write_text('{"transformer": ["diffusers", "DiT"], "vae": ["diffusers", "VAE"]}')
    for source, words, message in (
        (dit, digits, "a pipeline with transformer, vae"),
        (tmp_path / "none", digits, "is no folder"),
        (tmp_path, digits, "holds no config.json"),
        (pickled, digits, "other files of weights are not read"),
        (cut, digits, "cannot be read by diffusers"),
        (inverted, digits, "is not supported"),
        (pipeline, (), "give one of the two"),
        (pipeline, ("--names", "cat,,dog"), "none is empty"),
        (pipeline, ("--data", "moons"), "makes images of shape (1, 8, 8)"),
        (_changed(pipeline, tmp_path / "a", SCHEDULER, beta_schedule="sigmoid"), digits, "beta_schedule"),
        (_changed(pipeline, tmp_path / "e", SCHEDULER, trained_betas=[0.1]), digits, "rectified flows"),
        (_changed(pipeline, tmp_path / "b", NETWORK, _class_name="UNet2DConditionModel"), digits, "sees pixels alone"),
        (_changed(pipeline, tmp_path / "c", NETWORK, sample_size=None), ("--names", "a,b"), "how large its images are"),
        (_changed(pipeline, tmp_path / "d", NETWORK, block_out_channels=[8, 8]), digits, "cannot be read by diffusers"),
    ):
        assert message in bad("import-diffusers", source, *words, "--out", tmp_path / "out")
        shutil.rmtree(tmp_path / "out", ignore_errors=True)

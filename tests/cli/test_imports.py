"""Score models of diffusers, from the folder that it saves to guided samples."""

import json
import shutil
import warnings

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from condgen.runs import read_rows
from condgen.score import ScoreModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of other people's dependencies
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of other people's code

SCHEDULER, NETWORK = "scheduler/scheduler_config.json", "unet/config.json"
CLASSIFIER = ("--steps", 3, "--batch", 8, "--set", "classifier.network.width=16")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A folder that a pipeline of an untrained network has saved."""
    folder = tmp_path_factory.mktemp("hub") / "ddpm-tiny"
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
    )
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(prediction_type="v_prediction")).save_pretrained(folder)
    return folder


def test_a_classifier_learns_on_top_of_it_and_guides_it(pipeline, condgen, tmp_path):
    score, classifier = tmp_path / "score", tmp_path / "classifier"
    code, _, err = condgen("import-diffusers", pipeline, "--data", "digits", "--out", score)
    assert code == 0, err
    model = ScoreModel.load(score)
    assert (model.config.shape, len(model.config.names)) == ((1, 8, 8), 10)
    assert (model.config.schedule.sigma_min, model.config.schedule.sigma_max) == pytest.approx((0.01, 157.4), rel=1e-3)
    trained = diffusers.UNet2DModel.from_pretrained(pipeline / "unet", use_safetensors=True)
    x, level = torch.randn(2, 1, 8, 8), model.config.network.levels()[300]
    alpha = float(1 / (1 + level**2) ** 0.5)
    v = trained(x, 300).sample
    expected = alpha * x - alpha * float(level) * v
    torch.testing.assert_close(model(x / alpha, level), expected, rtol=1e-5, atol=1e-5)

    code, out, err = condgen("train-classifier", "--score", score, *CLASSIFIER, "--out", classifier)
    assert code == 0, err
    assert "dlsm" in out
    models = ("--score", score, "--classifier", classifier)
    code, _, err = condgen("sample", *models, "--class", "3", "--per-class", 2, "--nfe", 4, "--out", tmp_path / "s")
    assert code == 0, err
    assert [row["class"] for row in read_rows(tmp_path / "s" / "manifest.jsonl")] == [3, 3]
    code, _, err = condgen("diagnose", *models, "--levels", "1", "--queries", 2, "--out", tmp_path / "d")
    assert code == 0, err
    code, out, _ = condgen("import-diffusers", pipeline, "--data", "digits", "--out", score)
    assert (code, "nothing left to do" in out) == (0, True)


def test_a_generator_starts_from_it(pipeline, condgen, tmp_path):
    score, classifier = tmp_path / "score", tmp_path / "classifier"
    assert condgen("import-diffusers", pipeline, "--data", "digits", "--out", score)[0] == 0
    assert condgen("train-classifier", "--score", score, *CLASSIFIER, "--out", classifier)[0] == 0
    words = ("--teacher", score, "--classifier", classifier, "--steps", 2, "--batch", 4, "--out", tmp_path / "g")
    code, _, err = condgen("train-generator", *words)
    assert code == 0, err
    code, _, err = condgen("sample", "--generator", tmp_path / "g", "--n", 10, "--out", tmp_path / "s")
    assert code == 0, err


def test_classes_may_be_named_before_there_are_data(pipeline, condgen, tmp_path):
    score = tmp_path / "score"
    code, _, err = condgen("import-diffusers", pipeline, "--names", "cat, dog", "--out", score)
    assert code == 0, err
    assert ScoreModel.load(score).config.names == ("cat", "dog")
    for name, grey in (("cat", 30), ("dog", 220)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (9, 9), grey + number).save(tmp_path / "photos" / name / f"{number}.png")
    words = ("train-classifier", "--score", score, *CLASSIFIER, "--out", tmp_path / "c")
    code, _, err = condgen(*words)
    assert (code, "imported without data: name them with --data" in err) == (2, True)
    photos = ("--data", tmp_path / "photos", "--set", "data.image_size=8")
    code, _, err = condgen(*words, *photos)
    assert code == 0, err
    code, _, err = condgen("diagnose", "--score", score, "--classifier", tmp_path / "c", "--out", tmp_path / "d")
    assert (code, "import it again with --data" in err) == (2, True)
    code, _, err = condgen("import-diffusers", pipeline, "--data", tmp_path / "photos", "--out", tmp_path / "other")
    assert code == 0, err
    assert "image_size: 8" in (tmp_path / "other" / "recipe.yaml").read_text()


def _changed(pipeline, place, file, **changes):
    shutil.copytree(pipeline, place)
    config = json.loads((place / file).read_text())
    (place / file).write_text(json.dumps(config | changes))
    return place


def test_noise_in_which_nothing_is_seen_is_left_out(pipeline, condgen, tmp_path):
    """A cosine schedule ends at noise levels of up to 20,000, on which a sampler would waste its steps."""
    cosine = _changed(pipeline, tmp_path / "cosine", SCHEDULER, beta_schedule="squaredcos_cap_v2")
    assert condgen("import-diffusers", cosine, "--data", "digits", "--out", tmp_path / "score")[0] == 0
    assert ScoreModel.load(tmp_path / "score").config.schedule.sigma_max == 200


def test_a_part_that_a_pipeline_does_without_is_none(pipeline, condgen, tmp_path):
    optional = _changed(pipeline, tmp_path / "p", "model_index.json", safety_checker=[None, None], requires_it=False)
    code, _, err = condgen("import-diffusers", optional, "--data", "digits", "--out", tmp_path / "score")
    assert code == 0, err


def _with_weights(pipeline, place, change):
    shutil.copytree(pipeline, place)
    path = place / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    return place


def _in_parts(pipeline, place, without):
    """The same weights in files that an index lists, which leaves one out."""
    shutil.copytree(pipeline, place)
    path, part = (
        place / "unet" / "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model-00001-of-00001.safetensors",
    )
    path.rename(path.with_name(part))
    names = [name for name in load_file(path.with_name(part)) if name != without]
    index = {"metadata": {"total_size": 1000}, "weight_map": dict.fromkeys(names, part)}
    path.with_name(f"{path.name}.index.json").write_text(json.dumps(index))
    return place


def test_weights_in_parts_are_imported(pipeline, condgen, tmp_path):
    code, _, err = condgen(
        "import-diffusers", _in_parts(pipeline, tmp_path / "p", ""), "--data", "digits", "--out", tmp_path / "s"
    )
    assert code == 0, err


def test_what_cannot_be_imported_is_refused_in_one_line(pipeline, condgen, tmp_path):
    bare = shutil.copytree(pipeline / "unet", tmp_path / "bare")
    pickled = shutil.copytree(pipeline, tmp_path / "pickled")
    (pickled / "unet" / "diffusion_pytorch_model.safetensors").rename(pickled / "unet" / "diffusion_pytorch_model.bin")
    cut = shutil.copytree(pipeline, tmp_path / "cut")
    weights = cut / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    digits = ("--data", "digits")
    for source, words, message in (
        (tmp_path / "none", digits, "is no folder"),
        (tmp_path, digits, "holds no config.json"),
        (bare, digits, "with which noise it was trained"),
        (pickled, digits, "other files of weights are not read"),
        (cut, digits, "cannot be read by diffusers"),
        (_in_parts(pipeline, tmp_path / "parts", "conv_in.bias"), digits, "cannot be read by diffusers"),
        (
            _with_weights(pipeline, tmp_path / "nan", lambda held: {n: t * float("nan") for n, t in held.items()}),
            digits,
            "weights that are not finite numbers",
        ),
        (pipeline, (), "give one of the two"),
        (pipeline, ("--names", "cat,,dog"), "none is empty"),
        (pipeline, ("--data", "moons"), "makes images of shape (1, 8, 8)"),
        (_changed(pipeline, tmp_path / "a", SCHEDULER, beta_schedule="sigmoid"), digits, "beta_schedule"),
        (_changed(pipeline, tmp_path / "b", SCHEDULER, trained_betas=[0.1] * 10), digits, "only betas by schedule"),
        (
            _changed(pipeline, tmp_path / "c", NETWORK, _class_name="UNet2DConditionModel"),
            digits,
            "it sees pixels alone",
        ),
        (
            _changed(pipeline, tmp_path / "latent", "model_index.json", vqvae=["diffusers", "VQModel"]),
            digits,
            "with vqvae beside its network",
        ),
        (_changed(pipeline, tmp_path / "d", NETWORK, sample_size=None), ("--names", "a,b"), "how large its images are"),
        (_changed(pipeline, tmp_path / "e", NETWORK, block_out_channels=[8, 8]), digits, "cannot be read by diffusers"),
    ):
        code, _, err = condgen("import-diffusers", source, *words, "--out", tmp_path / "out")
        assert code == 2, (source, err)
        assert message in err, err
        assert len(err.strip().splitlines()) == 1, err
        shutil.rmtree(tmp_path / "out", ignore_errors=True)

"""An exported run is a pipeline of diffusers, whose schedulers draw what condgen's guided denoiser says."""

from itertools import pairwise

import pytest
import torch
import yaml
from libraries import library

import condgen as cg
from condgen.classifier import ClassifierConfig
from condgen.errors import UserError
from condgen.export.folder import CARD_FILE, contents, export
from condgen.runs.folder import write_json
from condgen.score import ScoreConfig

ABOUT = {"shape": (1, 8, 8), "names": ("ant", "bee", "cat")}
NETWORK = {"kind": "mlp", "width": 16, "depth": 1}
PART = {"network": NETWORK, "training": {"steps": 1}}
SCHEDULES = [{"kind": "edm", "sigma_min": 0.01, "sigma_max": 20.0}, {"kind": "vp"}]


def run_of(folder, schedule, **settings):
    """A run whose models have random weights, large enough that labels tell."""
    recipe = {"name": "r", "data": {"kind": "digits"}, "schedule": schedule, "score": PART | settings}
    recipe["classifiers"] = {name: PART | {"objective": {"loss": name}} for name in ("ce", "dlsm")}
    about = ABOUT | {"network": NETWORK, "schedule": schedule, "sigma_data": 0.5}
    for name, config in {
        "score": ScoreConfig.model_validate(about | settings),
        "classifier-ce": ClassifierConfig.model_validate(about),
        "classifier-dlsm": ClassifierConfig.model_validate(about),
    }.items():
        model = config.build()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save(folder / name)
        (folder / name / "recipe.yaml").write_text("data: {kind: digits}\nmodel: {}\n")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    write_json(folder / "run.json", {"name": "r"})
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of diffusers about itself
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["kind"])
def test_schedulers_of_diffusers_draw_from_the_guided_denoiser(schedule, tmp_path):
    diffusers = library("diffusers")
    run, out = run_of(tmp_path / "run", schedule), tmp_path / "out"
    export(run, out, "mit", diffusers="dlsm")
    for words in (b'from_pretrained("me/mine", trust', b"--classifier hf:me/mine/classifier --class"):
        assert words in contents(out, "me/mine")[CARD_FILE]
    pipeline = diffusers.DiffusionPipeline.from_pretrained(out, trust_remote_code=True).to("cpu")
    pipeline.set_progress_bar_config(disable=True)
    y, draw = ["cat", 0], {"guidance_scale": 3.0, "output_type": "latent"}

    def drawn(scheduler, steps, **changes):
        pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
        return pipeline(y, num_inference_steps=steps, generator=torch.manual_seed(0), **(draw | changes)).images

    x = drawn("EulerDiscreteScheduler", 8)
    guided = cg.ClassifierGuided(cg.load(run / "score"), cg.load(run / "classifier-dlsm"), 3.0)
    sigmas, labels = pipeline.scheduler.sigmas.double(), torch.tensor([2, 0])
    u = torch.randn(2, 1, 8, 8, generator=torch.manual_seed(0)) * pipeline.scheduler.init_noise_sigma
    for s, below in pairwise(sigmas):
        t = guided.schedule.t_of_noise_level(s.clamp(*guided.schedule.noise_range))
        u = u + float(below - s) * guided.eps(float(guided.schedule.alpha(t)) * u, t, labels)
    torch.testing.assert_close(x, u.float(), atol=1e-4, rtol=1e-4)
    exact = drawn("HeunDiscreteScheduler", 200)
    for scheduler in ("UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "DDIMScheduler"):
        torch.testing.assert_close(drawn(scheduler, 200), exact, atol=0.05, rtol=0)
    assert not torch.allclose(drawn("EulerDiscreteScheduler", 8, guidance_scale=0.0), x, atol=0.1)
    assert [image.size for image in pipeline(y, output_type="pil").images] == [(8, 8)] * 2


def test_what_makes_no_pipeline_is_refused_in_a_line(tmp_path):
    run = run_of(tmp_path / "run", SCHEDULES[0])
    with pytest.raises(UserError, match="no classifier 'own' for diffusers: choose one of ce, dlsm"):
        export(run, tmp_path / "out", "mit", diffusers="own")
    with pytest.raises(UserError, match="no unconditional score model"):
        export(
            run_of(tmp_path / "labelled", SCHEDULES[0], labels="embedding"), tmp_path / "out", "mit", diffusers="dlsm"
        )

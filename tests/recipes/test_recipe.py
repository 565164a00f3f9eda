import pytest
import torch
import yaml

from condgen import LabelledSet, UserError, parse_data
from condgen.recipes.compose import content_key, load_recipe, to_yaml
from condgen.recipes.defaults import default_adversary, default_recipe
from condgen.recipes.guidance import Method
from condgen.recipes.schema import Recipe, SampleStage
from condgen.runs.models import Folders
from condgen.settings import parse

BASE = """
name: small
data: {kind: digits}
schedule: {kind: edm}
score: {network: {kind: mlp, width: 16}, training: {steps: 10, lr: 1e-3}}
classifiers:
  ce: {network: {kind: mlp}, objective: {loss: ce}, training: {steps: 10}}
sample: {per_class: 2, methods: {plain: {}, guided: {classifier: ce}}}
"""
ADVERSARY = "score.adversarial={network: {kind: mlp, width: 16}"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(BASE)
    return file


def test_overrides_reach_any_depth_and_keep_types(path):
    changes = ["score.training.steps=20", "seed=3", "data.test_fraction=0.3", "diagnose={levels: [1, 2]}"]
    recipe = load_recipe(path, changes)
    assert (recipe.score.training.steps, recipe.seed, recipe.data.test_fraction) == (20, 3, 0.3)
    assert recipe.diagnose.levels == (1.0, 2.0)


def test_a_classifier_may_start_from_the_score_model_of_the_recipe(path, tmp_path):
    assert load_recipe(path, ["classifiers.ce.init=score"]).classifiers["ce"].init == "score"
    assert Folders(tmp_path).start("classifier", "score") == tmp_path
    with pytest.raises(UserError, match="no generator to start from"):
        Folders(tmp_path).start("generator", "score")


def test_evaluation_is_yes_no_or_how(path):
    for given, features in (("true", "pixels"), ("false", None), ("{features: inception}", "inception")):
        recipe = load_recipe(path, [f"evaluate={given}"])
        assert (recipe.evaluate.features if recipe.evaluate else None) == features
        assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("score.training.stesp=20", r"score.training.stesp: no such setting; did you mean 'steps'\?"),
        ("classifiers.ce.objective.los=ce", r"classifiers.ce.objective.los: no such setting; did you mean 'loss'\?"),
        ("score.training.steps=true", r"score.training.steps: a number is asked for, not true or false"),
        ("score.training.betas=[0.5, false]", r"score.training.betas: a number is asked for, not true or false"),
        ("zzz=1", r"zzz: no such setting; there are: calibrate, classifiers, data"),
        ("score.training.steps=-5", r"score.training.steps: .*greater than 0 \(it is -5\)"),
        ("score.training.lr=.nan", r"score.training.lr: .*finite"),
        ("schedule.sigma_min=100", r"schedule.*sigma_min \(100.0\) must be below sigma_max"),
        ("data.kind=digit", r"data: .*'digit'"),
        ("sample.methods.guided.classifier=dlsm", r"'guided' uses classifier 'dlsm', which is not among: ce"),
        ("classifiers.ce.init=ce", r"classifiers.ce.init is 'ce', which is not before it "),
        ("sample.methods.fast.generator=one", r"'fast' uses generator 'one', which is not among: none"),
        ("sample.methods.guided.scale=lots", r"methods.guided.scale"),
        ("sample.methods.guided.scale=calibrated", r"'guided': scale: calibrated needs .*: add 'calibrate: {}'"),
        ("sample.methods.plain.scale=calibrated", r"scale: calibrated belongs to a classifier"),
        ("sample.methods.plain.scale=2", r"nothing to act on: name a classifier or a guide"),
        ("sample.methods.plain.interval=[1, 2]", r"nothing to act on"),
        ("sample.methods.guided.guide=unlabelled", r"a classifier or a guide leads the way, not both"),
        ("sample.methods.plain.guide=unlabelled", r"'plain': guide 'unlabelled' needs .* embedding .* has none"),
        ("sample.methods.plain={sampler: ddim, options: {et: 1}}", r"plain: sampler ddim: et: no such setting.* 'eta'"),
        ("sample.methods.plain={sampler: ddim, options: {eta: 2}}", r"ddim: eta: .*less than or equal to 1 \(it is 2"),
        ("sample.methods.plain={sampler: adaptive-sde, steps: 9}", r"-sde chooses its own steps: set its option"),
        ("sample.methods.plain={sampler: restart, steps: 3}", r"'plain': .* needs at least 5 points, more than 3"),
        ("sample.methods.plain={sampler: restart, options: {high: 90}}", r"'plain': a restart goes from noise level"),
        ("sample.methods.plain={nfe: 1}", r"'plain': 1 evaluations are too few"),
        ("sample.methods.plain={steps: 9, nfe: 9}", r"methods.plain: steps and nfe both say"),
        ("sample.methods.plain.score=weak", r"'plain' uses score model 'weak', which is not among scores: none"),
        ("sample.methods.plain.guide=score", r"cannot guide itself; did you mean guide: unlabelled"),
        ("generators={g: {objective: {loss: sid}, training: {steps: 1}, teacher: {}}}", r"its teacher knows no labels"),
        (
            "generators={g: {objective: {loss: sid}, training: {steps: 1}, teacher: {classifier: dlsm}}}",
            r"generators.g.teacher uses classifier 'dlsm', which is not among: ce",
        ),
        (
            "generators={g: {objective: {loss: dmd, density: {kind: levels, levels: [9999]}}, training: {steps: 1}, "
            "teacher: {classifier: ce}}}",
            r"generators.g: density: noise level 9999 is outside the schedule",
        ),
        ("generators={g: {objective: {loss: sid}, training: {steps: 1}}}", r"trains two denoisers: set"),
        ("generators={g: {objective: {loss: sid}, training: {steps: 1}, latent: 5, teacher: {}}}", r"leave latent out"),
        (
            "generators={g: {objective: {loss: mmd}, training: {steps: 1, micro_batch: 5}, network: {kind: mlp}}}",
            r"leave training.micro_batch out",
        ),
        ("sample.methods.plain={generator: one, guide: unlabelled}", r"the generator stands alone"),
        ("score.labels=separate", r"score.labels: separate gives no unconditional score.*move it to scores"),
        ("score.adversarial.weight=1", r"score.adversarial.network: Field required"),
        (f"{ADVERSARY}, wieght: 1}}", r"score.adversarial.wieght: no such setting; did you mean 'weight'\?"),
        (f"{ADVERSARY}, weight: -1}}", r"score.adversarial.weight: .*greater than or equal to 0"),
        (f"{ADVERSARY}, discriminator_betas: [-1, 0.9]}}", r"discriminator_betas.*greater than -1"),
        ("score.adversarial={network: {kind: unet}}", r"score.adversarial.network: .*'mlp', 'convdisc'"),
        ("score.adversarial={network: {kind: convdisc, halvings: 9}}", r"9 halvings need as many blocks"),
        ("score.training.snapshots=[0]", r"score.training.snapshots"),
        ("diagnose={levels: [1], methods: {a: {classifier: dlsm}}}", r"'a' uses classifier 'dlsm', .* not among: ce"),
        ("diagnose={levels: [1], methods: {a: {generator: one}}}", r"diagnose.methods.a.generator: no such setting"),
        ("diagnose={levels: [1], grid: {x: [0, 1], y: [0, 1], levels: [99]}}", r"diagnose: noise level 99 is outside"),
        ("name=../escape", r"name: "),
        ("sample.methods={'../v': {}, '/v': {}, 'a b': {}, '.v': {}}", r"methods\.\.\./v: .*\(3 more\)"),
        ("score.training", r"not of the form"),
        ("name.deep.er=1", r"name is a value, not a group"),
    ],
)
def test_every_mistake_is_one_line_that_names_the_key(path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(path, [change])
    assert "\n" not in str(caught.value)


def test_yaml_tags_run_no_code(tmp_path):
    file = tmp_path / "evil.yaml"
    file.write_text(f"name: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'ran'}]")
    with pytest.raises(UserError, match="not readable YAML"):
        load_recipe(file)
    assert not (tmp_path / "ran").exists()


def test_the_key_depends_on_content_alone(path):
    one = load_recipe(path)
    same = load_recipe(path, ["score.training.batch=256"])  # the default, said aloud
    other = load_recipe(path, ["score.training.batch=255"])
    assert content_key(one.score, "x") == content_key(same.score, "x")
    assert len({content_key(one.score, "x"), content_key(other.score, "x"), content_key(one.score, "y")}) == 3


@pytest.mark.parametrize("side", [8, 12, 28, 32, 50, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_default_networks_fit_images_of_any_even_size(side, channels):
    images = torch.zeros(8, channels, side, side, dtype=torch.uint8)
    images[::2] += 9
    data = LabelledSet(x=images, y=torch.arange(8) % 2, names=("a", "b"), source="s", split="train")
    recipe, judge = default_recipe(parse_data("./s"), data), default_adversary(data)
    kinds = ("mlp", "mlp") if side == 8 else ("unet", "convdisc")
    assert (recipe.score.network.kind, judge.network.kind) == kinds
    with torch.device("meta"):  # the shapes alone matter
        recipe.score.network.build_denoiser(data.shape, None)
        for generator in recipe.generators.values():
            if generator.objective.loss != "mmd":
                generator.objective.network.build_denoiser(data.shape, 2)
            generator.network.build_generator(data.shape, 2, 8)
        recipe.classifiers["default"].network.build_classifier(data.shape, 2)
        judge.network.build_discriminator(data.shape, told_noise=judge.told_noise)


TRAINING = "training: {steps: 10}"
SCORES = f"""
scores:
  told: {{network: {{kind: mlp}}, labels: embedding, {TRAINING}}}
  each: {{network: {{kind: mlp}}, labels: separate, {TRAINING}}}
  weak: {{network: {{kind: mlp, width: 8}}, {TRAINING}}}
"""


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("{}", "the score model alone"),
        ("{classifier: ce, scale: 2, interval: [1, 5]}", "the score model, guided by classifier ce at scale 2 from"),
        ("{score: each}", "score model each alone"),
        ("{score: told, guide: unlabelled, scale: 2}", "score model told, guided by itself without label at scale 2"),
        ("{score: told, guide: score, scale: 2}", "score model told, guided by the main score model at scale 2"),
        ("{guide: weak, scale: 2}", "the score model, guided by score model weak at scale 2"),
        ("{score: told, classifier: ce}", "score model told, guided by classifier ce at scale 1"),
    ],
)
def test_every_kind_of_guidance_can_be_written_and_said(path, method, words):
    path.write_text(BASE + SCORES)
    changes = [f"sample.methods.new={method}", f"diagnose={{levels: [1], methods: {{new: {method}}}}}"]
    recipe = load_recipe(path, changes)
    for guidance in (recipe.sample.methods["new"], recipe.diagnose.methods["new"]):
        assert guidance.in_words().startswith(words)
    assert parse(Recipe, yaml.safe_load(to_yaml(recipe)), "again") == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sample.methods.new={score: each, guide: unlabelled, scale: 2}", r"needs .* embedding .* has separate"),
        ("sample.methods.new={score: each, classifier: ce}", r"an unconditional score, .* separate does not"),
        ("sample.methods.new={score: told, guide: told, scale: 2}", r"cannot guide itself"),
        ("scores.score={network: {kind: mlp}, training: {steps: 1}}", r"cannot be called 'score'"),
        ("scores.unlabelled={network: {kind: mlp}, training: {steps: 1}}", r"cannot be called 'unlabelled'"),
    ],
)
def test_score_models_that_cannot_do_what_is_asked(path, change, message):
    path.write_text(BASE + SCORES)
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(path, [change])
    assert "\n" not in str(caught.value)


def test_the_key_of_samples_is_that_of_each_label_and_its_base_is_that_of_any_number():
    stage = SampleStage(method=Method(nfe=3), classes=(7, 3), n=5)
    assert [stage.label(place) for place in range(stage.n)] == [7, 3, 7, 3, 7]
    other, more = stage.model_copy(update={"classes": (3, 7)}), stage.model_copy(update={"n": 50_000})
    assert len({content_key(each) for each in (stage, other, more)}) == 3
    assert content_key(stage, length=False) == content_key(more, length=False) != content_key(other, length=False)
    assert content_key(stage) == content_key(stage.model_copy(update={"batch": 9, "compile": True}))

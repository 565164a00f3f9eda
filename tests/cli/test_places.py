"""Paths and advice: commands work from any folder and after a move, and what messages name can be done."""

import ast
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import condgen
from condgen.cli.app import VERBS, load_verb
from condgen.cli.settings import walk
from condgen.recipes import schema
from condgen.recipes.compose import read_yaml
from condgen.runs.folder import read_rows
from tests.cli.conftest import bad, good

NETWORK = "network={kind: mlp, width: 8, depth: 1}"
SCORE = ("--steps", 2, "--batch", 8, "--set", f"score.{NETWORK}")
CLASSIFIER = ("--loss", "ce", "--steps", 2, "--batch", 8, "--set", f"classifier.{NETWORK}")


def images(root, names, n=40, sizes=(8,)):
    generator = np.random.default_rng(0)
    for shade, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(n):
            side = sizes[i % len(sizes)]
            pixels = generator.integers(100 * shade, 100 * shade + 90, (side, side, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data and models that were named by relative paths."""
    place = tmp_path_factory.mktemp("home")
    images(place / "d" / "pets", ("cat", "dog"), sizes=(12, 10))
    images(place / "d" / "others", ("ant", "cat"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        good("train-score", "--data", "d/pets", "--out", "runs/score", "--set", "data.image_size=8", *SCORE)
        patch.chdir(place / "runs")
        good("train-classifier", "--score", "score", "--out", "ce", *CLASSIFIER)
        good("sample", "--score", "score", "--n", 20, "--steps", 2, "--out", "samples")
    return place


@pytest.mark.parametrize("moved", ["nothing", "all", "data"])
def test_what_was_made_serves_from_any_folder_and_after_a_move(made, moved, tmp_path, monkeypatch):
    home = tmp_path / "home" if moved == "all" else made
    if moved != "nothing":
        shutil.copytree(made, tmp_path / "home")
        (made / "d").rename(made / "hidden")
    monkeypatch.chdir(tmp_path)
    models, told = ("--score", home / "runs" / "score"), ()
    try:
        if moved == "data":
            told = ("--data", tmp_path / "home" / "d" / "pets")
            command = ("calibrate", *models, "--classifier", made / "runs" / "ce", "--draws", 1, "--levels", 4)
            assert "--data" in bad(*command)
        classifier = ("--classifier", home / "runs" / "ce")
        good("calibrate", *models, *classifier, "--draws", 1, "--levels", "1,2", *told)
        good("diagnose", *models, *classifier, "--levels", 1, "--most", 8, "--out", tmp_path / "diagnosis", *told)
        good("evaluate", home / "runs" / "samples", "--out", tmp_path / "e", "--set", "data.test_fraction=0.3", *told)
        good("train-classifier", *models, "--out", tmp_path / "c", *CLASSIFIER, *told)
    finally:
        if moved != "nothing":
            (made / "hidden").rename(made / "d")


def test_paths_in_a_recipe_are_found_from_any_folder(made, tmp_path, monkeypatch):
    schedule = json.dumps(read_yaml(made / "runs" / "score" / "recipe.yaml")["schedule"])
    (tmp_path / "own.yaml").write_text(
        "{name: own, data: {kind: folder, root: d/pets, image_size: 8, test_fraction: 0.3}, "
        f"schedule: {schedule}, "
        f"score: {{init: runs/score, training: {{steps: 1, batch: 8}}, {NETWORK.replace('=', ': ')}}}, "
        "sample: {per_class: 6, methods: {plain: {steps: 2}}}, evaluate: {features: runs/ce, cas: none}}"
    )
    monkeypatch.chdir(made)
    good("run", tmp_path / "own.yaml", "--out", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "runs", "copy")
    words = ("run", "run/recipe.yaml", "--out", "run", "--dry-run")
    for changes in ((), ("--set", "evaluate.features=copy/ce", "--set", "score.init=copy/score")):
        assert good(*words, *changes).count("finished") == 3


def test_the_current_folder_is_a_folder_with_a_name(made, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = ("train-score", "--data", made / "d" / "others", "--out", ".", *SCORE)
    good(*words)
    good(*words, "--seed", 1)  # the earlier run is set aside
    assert len(list(tmp_path.glob("here.before-*"))) == 1
    monkeypatch.chdir(made / "runs" / "ce")
    good("sample", "--score", "../score", "--classifier", ".", "--n", 2, "--steps", 2, "--out", tmp_path / "s")
    assert "guided by classifier ce" in read_rows(tmp_path / "s" / "manifest.jsonl")[0]["guide"]


def test_a_classifier_of_other_classes_is_refused_before_it_is_trained(made, tmp_path):
    models = ("--score", made / "runs" / "score", "--data", made / "d" / "others")
    message = bad("train-classifier", *models, "--out", tmp_path / "c", *CLASSIFIER)
    assert "dog only in the former, ant only in the latter" in message
    assert not (tmp_path / "c" / "stage.json").exists()


def test_evaluation_prepares_images_as_training_did_and_matches_classes_by_name(made, tmp_path):
    samples, words = made / "runs" / "samples", ("--out", tmp_path / "e", "--set", "data.test_fraction=0.3")
    assert "no class dog" in good("evaluate", samples, "--data", made / "d" / "others", *words)
    good("evaluate", samples, "--data", made / "d" / "pets", *words)
    good("evaluate", made / "d" / "others", "--data", made / "d" / "others", *words)
    cats = ("evaluate", made / "d" / "others" / "cat", "--data", made / "d" / "others", *words)
    assert "--class NAME" in bad(*cats)
    good(*cats, "--class", "cat")


def test_images_of_one_class_need_no_folder_of_their_own(made, tmp_path):
    flat, words = made / "d" / "others" / "cat", ("--out", tmp_path / "e", "--set", "data.test_fraction=0.3")
    table = good("evaluate", flat, "--data", flat, "--class", "cat", *words)
    assert "FD@40" in table
    assert "class accuracy" not in table
    train = ("train-score", "--data", flat, "--out", tmp_path / "s", *SCORE)
    advice = re.search(r"--set data.single_class=NAME", bad(*train))
    good(*train, *advice[0].split())


def test_the_advice_of_a_message_about_images_can_be_followed(made, tmp_path):
    images(tmp_path / "few", ("cat", "dog"), n=12, sizes=(7, 9))
    (tmp_path / "few" / "cat" / "link.png").symlink_to(made / "d" / "pets" / "cat" / "0.png")
    words, followed = ["train-score", "--data", tmp_path / "few", "--out", tmp_path / "s", *SCORE], []
    for setting, value in (("data.follow_links", "true"), ("data.image_size", "SIDE")):
        assert f"--set {setting}={value}" in bad(*words, *followed)
        followed += ["--set", f"{setting}={value.replace('SIDE', '8')}"]
    good(*words, *followed)
    good("train-score", "--data", tmp_path / "few", "--out", tmp_path / "t", *SCORE, "--follow-links", *followed[2:])
    good("sample", "--score", tmp_path / "s", "--n", 8, "--steps", 2, "--out", tmp_path / "samples")
    words = ("evaluate", tmp_path / "samples", "--out", tmp_path / "e")
    advice = re.search(r"--set data.test_fraction=\S+", bad(*words))
    assert good(*words, *advice[0].split())


def messages():
    """Every text of the package that goes into an error for people, with the file it stands in."""
    root = Path(condgen.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError":
                parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                yield path.relative_to(root), " ".join(part for part in parts if isinstance(part, str))


def test_options_settings_and_commands_that_messages_name_exist():
    options = {name: set(re.findall(r"--[a-z][a-z-]*", good(name, "--help"))) for name in VERBS}
    options |= {"": {"--threads"}, "hf": {"--local-dir"}}
    stages = (schema.Recipe, schema.DiagnoseRecipe, schema.CalibrateRecipe, schema.SampleStage, schema.EvaluateStage)
    stages += (schema.ScoreStage, schema.ClassifierStage, schema.GeneratorStage)
    keys = {re.sub(r"\bNAME\.", "", row.key) for stage in stages for row in walk(stage)}
    for path, text in messages():
        within = [name for name in VERBS if load_verb(name) and path.parts[0] == "cli" and VERBS[name][0] == path.stem]
        known = set().union(*(options[name] for name in within or options), options["hf"])
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            everywhere = set().union(*options.values())
            assert option in (known if within and not re.search(r"condgen [a-z]", text) else everywhere), (path, text)
        for command in re.findall(r"\bcondgen ([a-z]+(?:-[a-z]+)*)", text):
            assert command in VERBS or "'condgen " not in text, (path, text)
        for key in re.findall(r"--set ([a-z_.]+)=", text):
            assert key in keys, (path, text)

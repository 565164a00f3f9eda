"""Adversarial score matching at the command line."""

from condgen.runs import read_rows


def test_an_adversary_is_a_flag_and_the_model_a_score_model(condgen, tmp_path):
    small = ("--steps", 3, "--batch", 16, "--set", "score.network.width=16", "--set", "score.training.log_every=1")
    adversarial = (
        "--adversarial",
        "--set",
        "score.adversarial.weight=0.5",
        "--set",
        "score.adversarial.network.width=8",
    )
    code, _, err = condgen("train-score", *small, *adversarial, "--out", tmp_path / "a")
    assert code == 0, err
    assert "weight: 0.5" in (tmp_path / "a" / "recipe.yaml").read_text()
    assert all(row["loss"] > row["dsm"] for row in read_rows(tmp_path / "a" / "log.jsonl"))
    code, out, err = condgen("train-score", *small, *adversarial, "--out", tmp_path / "a")
    assert (code, "nothing left to do" in out) == (0, True), err
    asked = ("--class", "3", "--per-class", 2, "--steps", 3)
    train = ("train-classifier", "--score", tmp_path / "a", "--steps", 2, "--batch", 16, "--out", tmp_path / "c")
    code, _, err = condgen(*train, "--set", "classifier.network.width=16")
    assert code == 0, err
    models = ("--score", tmp_path / "a", "--classifier", tmp_path / "c")
    code, out, err = condgen("sample", *models, *asked, "--out", tmp_path / "s")
    assert (code, "2 samples" in out) == (0, True), err


def test_mistakes_about_an_adversary_are_one_line(condgen, tmp_path):
    for options, message in (
        (("--set", "score.adversarial.weight=2"), "add --adversarial"),
        (("--adversarial", "--set", "score.adversarial.wieght=2"), "did you mean 'weight'?"),
        (("--adversarial", "--set", "score.training.betas=[0.5, 0.9]"), "leave training.betas out"),
    ):
        code, _, err = condgen("train-score", *options, "--out", tmp_path / "x")
        assert (code, message in err) == (2, True), err
        assert not (tmp_path / "x" / "model.safetensors").exists()

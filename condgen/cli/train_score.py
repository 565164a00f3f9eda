"""`condgen train-score`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from condgen.cli.options import Data, Overrides, RecipeFile, Size, from_settings
from condgen.cli.training import base_recipe, build_stage, train, training_keys
from condgen.errors import UserError
from condgen.recipes import ScoreStage, default_adversary


@from_settings(ScoreStage, training_keys("score"), defaults=False)
def train_score(
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/score"),
    conditional: Annotated[
        bool, typer.Option("--conditional", help="The network sees the label: for classifier-free guidance.")
    ] = False,
    adversarial: Annotated[
        bool,
        typer.Option(
            "--adversarial",
            help="Add a discriminator of the denoised images (Jolicoeur-Martineau et al. 2020). A step costs about "
            "2.5 times as much, and the score is biased at high noise.",
        ),
    ] = False,
    overrides: Overrides = None,
    *,
    given: dict[str, Any],
) -> None:
    """Train a score model by denoising score matching (Vincent 2011; Karras et al. 2022).

    It is unconditional unless --conditional is given. Without --data or --recipe it learns scikit-learn's digits.

    Other settings: --set score.network.width=512, --set score.training.precision=bfloat16,
    --set score.labels=separate (a network for each class), --set score.training.snapshots=[500] (keeps an early model,
    which can guide the later one). condgen settings score lists all.
    """
    base, loaded = base_recipe(recipe, size, data, overrides)
    score = base.score
    if adversarial and score.adversarial is None:
        score = score.model_copy(update={"adversarial": default_adversary(loaded)})
    adversary = next((text for text in overrides or () if text.startswith("score.adversarial.")), None)
    if adversary is not None and score.adversarial is None:
        raise UserError(f"--set {adversary} changes an objective that is off: add --adversarial")
    if conditional:
        given["score.labels"] = "embedding"
    train("score", out, build_stage(ScoreStage, score, base, given, overrides), loaded)

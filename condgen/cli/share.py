"""`condgen report`, `export`, `push`, `pack` and `tensorboard`: a run for others to see and to use."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.progress import show_report
from condgen.cli.terminal import say
from condgen.errors import UserError
from condgen.hub import upload


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="A run folder, or several to compare.")],
    out: Annotated[Path | None, typer.Option(help="The folder of a comparison; default: runs/comparison.")] = None,
) -> None:
    """Write report.html, report.md and report.json of a run, or one page that compares several.

    condgen report runs/digits

    condgen report runs/digits-0 runs/digits-1 runs/other --out runs/comparison

    A comparison shows the settings that differ, metrics, score errors, samples and cost. Runs of one recipe
    with different seeds are shown as mean and standard deviation over the seeds.
    """
    if len(folders) > 1:
        show_report(out or Path("runs/comparison"), folders)
    elif out is not None:
        raise UserError("--out is for comparisons: the report of one run lies in its own folder")
    else:
        show_report(folders[0])


def export(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, or of one of its models.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    license: Annotated[str, typer.Option(help="Of the weights, as the hub spells it: apache-2.0, ...")] = "unknown",
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Round the weights, to half the size.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also one-step generators as ONNX (half a minute).")] = False,
    web: Annotated[Path | None, typer.Option(help="Also draw.html, by npm's onnxruntime-web/dist.")] = None,
    diffusers: Annotated[str | None, typer.Option(help="Also a pipeline of diffusers, by this classifier.")] = None,
) -> None:
    """Write models as a folder for the Hugging Face hub: weights, config.json, pictures, a model card.

    Of a run, each model goes into a sub-folder. Read the card before you publish it. An exported folder serves wherever
    a command takes the folder of a model, and so does hf:OWNER/NAME/SUB-FOLDER once it is on the hub. draw.html draws
    from a one-step generator in a browser, without network or server.

    condgen export runs/digits --out digits --diffusers dlsm
    """
    from condgen.export.folder import export as write

    source = write(folder, out, license, rounded=bfloat16, onnx=onnx, web=web, diffusers=diffusers)
    say(f"{', '.join(model.name for model in source.models)}\ncard: {(out / 'README.md').resolve()}")
    if license == "unknown":
        say("no licence is chosen, so others have no right to use the weights: name one with --license")


def push(
    folder: Annotated[Path, typer.Argument(help="What condgen export has written.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A repository on the Hugging Face hub.")],
    private: Annotated[bool, typer.Option("--private", help="Create it as a private repository.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be uploaded.")] = False,
) -> None:
    """Upload exported models to the Hugging Face hub. Log in first, with hf auth login or HF_TOKEN.

    The repository is created if it does not exist. In the card, OWNER/NAME becomes its name. Files that were put into
    the folder after the export are not uploaded.
    """
    from condgen.export.folder import contents

    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UserError(f"{repository!r} is no name of a repository: write owner/name")
    files = contents(folder, repository)
    if dry_run:
        for file, content in files.items():
            say(f"{len(content) if isinstance(content, bytes) else content.stat().st_size:>12,}  {file}")
        say(f"nothing was uploaded: {len(files)} files would go to {repository}")
        return
    say(f"pushed: {upload(files, repository, f'condgen push {folder.resolve().name}', private=private)}")


def pack(
    samples: Annotated[Path, typer.Argument(help="A folder of samples.")],
    out: Annotated[Path, typer.Option(help="The file, such as samples.tar.")],
) -> None:
    """Write samples as a webdataset tar: pictures, classes, and how each was drawn.

    webdataset.WebDataset("samples.tar") and datasets.load_dataset("webdataset", data_files="samples.tar") give png, cls
    and json.
    """
    from condgen.export.pack import pack as write

    write(samples, out)
    say(f"{out} ({out.stat().st_size:,} bytes)")


def tensorboard(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, or of a model in training.")],
    out: Annotated[Path | None, typer.Option(help="For the event files; default: FOLDER/tensorboard.")] = None,
) -> None:
    """Write the logs of a run as TensorBoard event files: losses, previews with their samples, accuracy by noise level.

    The same command again writes them anew. Show them by tensorboard --logdir FOLDER/tensorboard.
    """
    from condgen.export.events import EVENTS, write_events

    place = out or folder / EVENTS
    say(f"{write_events(folder, place):,} rows and pictures\ntensorboard --logdir {place}")

"""`condgen push`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.terminal import say
from condgen.errors import UserError
from condgen.hub import upload


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
    from condgen.export import contents

    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UserError(f"{repository!r} is no name of a repository: write owner/name")
    files = contents(folder, repository)
    if dry_run:
        for file, content in files.items():
            say(f"{len(content) if isinstance(content, bytes) else content.stat().st_size:>12,}  {file}")
        say(f"nothing was uploaded: {len(files)} files would go to {repository}")
        return
    say(f"pushed: {upload(files, repository, f'condgen push {folder.resolve().name}', private=private)}")

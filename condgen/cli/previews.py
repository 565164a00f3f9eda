"""Pictures of a generator while it trains, and its figures at the end."""

from contextlib import closing
from pathlib import Path

from condgen.cli.terminal import console, say
from condgen.runs import Work

__all__ = ["follow_previews", "show_generators"]


def follow_previews(work: Work) -> Work:
    """The work itself; after each preview of a generator, the pictures in its folder are drawn.

    A picture that cannot be drawn is reported once, and training goes on.
    """
    from condgen.report import draw_previews

    failed: set[Path] = set()
    with closing(work):
        for event in work:
            trouble, folder = "", event.preview
            if folder is not None and folder not in failed:
                try:
                    draw_previews(folder, until=event.done)
                except Exception as error:
                    failed.add(folder)
                    trouble = f"{folder}: pictures cannot be drawn ({type(error).__name__}: {error}); training goes on"
            yield event._replace(message="\n".join(filter(None, (event.message, trouble))))


def show_generators(folder: Path) -> None:
    """Prints the last preview of every generator of a run or a stage: figures, warnings, where the pictures are."""
    from condgen.report import draw_previews, generator_table, read_run, to_rich

    found = {name: log for name, log in read_run(folder).generators.items() if log.previews}
    if not found:
        return
    console.print(to_rich(generator_table(found), console.width))
    for name, log in found.items():
        last = log.previews[-1]
        if log.collapsed:
            say(f"warning: {name}: {last.reading.warning()}")
        for picture in draw_previews(log.folder, last.step):
            say(f"{name}: {picture.resolve()}")

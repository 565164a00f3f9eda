"""Pictures of a generator while it trains, and its figures at the end."""

from contextlib import closing
from pathlib import Path

from condgen.cli.terminal import console, say
from condgen.runs import Work


def follow_previews(work: Work) -> Work:
    """The work itself; after each preview of a generator, the pictures in its folder are drawn.

    Training goes on where a picture cannot be drawn.
    """
    with closing(work):
        for event in work:
            trouble = ""
            if event.preview is not None:
                from condgen.report import draw_previews  # matplotlib takes a second

                try:
                    draw_previews(event.preview, until=event.done)
                except Exception as error:
                    trouble = f"\n{event.preview}: pictures cannot be drawn ({type(error).__name__}: {error})"
            yield event._replace(message=(event.message + trouble).strip())


def show_generators(folder: Path) -> None:
    """Prints the last preview of every generator of a run or a stage: figures, warnings, where the pictures are."""
    from condgen.report import draw_previews, generator_table, read_run, to_rich

    found = read_run(folder).generators
    if not found:
        return
    console.print(to_rich(generator_table(found), console.width))
    for name, log in found.items():
        last = log.previews[-1]
        if log.collapsed:
            say(f"warning: {name}: {last.warning()}")
        for picture in draw_previews(log.folder, last.step):
            say(f"{name}: {picture.resolve()}")

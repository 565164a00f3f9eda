"""What the person at the terminal sees of a generator in training: pictures as it goes, and figures at the end."""

from contextlib import closing
from pathlib import Path

from condgen.cli.progress import console
from condgen.runs import Progress, Work

__all__ = ["draw_as_it_goes", "show_generators"]


def draw_as_it_goes(work: Work) -> Work:
    """The work itself; whenever it has looked at a generator, the pictures in that folder are drawn anew.

    A picture is not worth a training: one that cannot be drawn is told once, and the work goes on. Afterwards
    `show_generators` draws again, and there a failure is an error like any other.
    """
    failed: set[Path] = set()
    with closing(work):
        for event in work:
            if event.preview is None or event.preview in failed:
                yield event
                continue
            trouble = _trouble(event, event.preview)
            if trouble:
                failed.add(event.preview)
            yield event._replace(message="\n".join(text for text in (event.message, trouble) if text))


def _trouble(event: Progress, folder: Path) -> str:
    """Draws; returns what went wrong in words, or nothing."""
    from condgen.report import draw_previews  # here and below: plots take a second to import, which most commands spare

    try:
        draw_previews(folder, until=event.done)
    except Exception as error:  # whatever it is, it can wait until the model is trained
        return (
            f"{event.stage}, step {event.done:,}: the pictures in {folder} cannot be drawn ({type(error).__name__}: "
            f"{error}); training goes on without them"
        )
    return ""


def show_generators(folder: Path) -> None:
    """The last look at every generator of a run, or of one stage's folder: figures, warnings, where the pictures are.

    Raises:
        UserError: a log or a kept look is damaged.
        OSError: the pictures cannot be written.
    """
    from condgen.report import draw_previews, generator_table, read_run, to_rich

    found = {who: log for who, log in read_run(folder).generators.items() if log.previews}
    if not found:
        return
    console.print(to_rich(generator_table(found), console.width))
    for who, log in found.items():
        last = log.previews[-1]
        if log.collapsed:
            console.print(f"warning: {who}: {last.reading.warning()}", style="bold", markup=False, soft_wrap=True)
        drawn = draw_previews(log.folder, last.step)
        if drawn:
            newest = f" (newest samples: {drawn[1].name} beside it)" if len(drawn) > 1 else ""
            console.print(f"{who}, as it evolved: {drawn[0].resolve()}{newest}", markup=False, soft_wrap=True)

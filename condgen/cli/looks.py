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
    from condgen.report import draw_looks  # here and below: plots take a second to import, which most commands spare

    try:
        draw_looks(folder, until=event.done)
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
    from condgen.report import draw_looks, generator_table, looks_of, read_run, to_rich

    run = read_run(folder)
    looks = looks_of(run.looks)
    if not looks:
        return
    console.print(to_rich(generator_table(run.looks), turned=False))
    for who, rows in looks.items():
        if rows[-1].reading.collapsed:
            console.print(f"warning: {who}: {rows[-1].reading.warning()}", style="bold", markup=False, soft_wrap=True)
        drawn = draw_looks(run.generators[who].folder, rows[-1].step)
        if drawn:
            newest = f" (newest samples: {drawn[1].name} beside it)" if len(drawn) > 1 else ""
            console.print(f"{who}, as it evolved: {drawn[0].resolve()}{newest}", markup=False, soft_wrap=True)

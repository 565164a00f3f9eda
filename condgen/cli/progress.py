"""Work in a folder: its lock, a progress bar a stage, what Ctrl-C does meanwhile, and the report of it."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bars, TaskID, TextColumn, TimeRemainingColumn

from condgen.cli.terminal import Stopped, console, say
from condgen.runs.layout import HELD_OUT_PICTURE, REPORT
from condgen.runs.side_by_side import on_signals
from condgen.runs.stage import Work, lock
from condgen.training.distributed import Processes

_PATIENCE = b"\nstopping after this step, with all of it saved; Ctrl-C again stops at once\n"


def show_report(folder: Path, compared: Sequence[Path] = ()) -> None:
    """Writes the report of a run, or into this folder one that compares several; prints its tables."""
    from condgen.report.build import build_report, summary_tables
    from condgen.report.compare import compare_runs
    from condgen.report.load import read_run
    from condgen.report.page import to_rich
    from condgen.report.score_errors import draw_held_out, held_out_sentences

    if not compared:
        build_report(folder)
    run = compare_runs(compared, folder) if compared else read_run(folder)
    for sentence in held_out_sentences(run):
        say(sentence)
    for table in summary_tables(run):
        console.print(to_rich(table, console.width))
    plot = run.folder / HELD_OUT_PICTURE
    if draw_held_out(run.held_out, plot):
        say(f"plot: {plot.resolve()}")
    say(f"report: {(run.folder / REPORT).resolve()}")


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects signals, so that work stops between two steps; a second Ctrl-C, unlike SIGTERM, stops at once."""
    found: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and found:
            raise KeyboardInterrupt
        if number == signal.SIGINT and console.is_terminal and not console.quiet:
            os.write(2, _PATIENCE)  # the console may be in use at this very moment
        found.append(number)

    with on_signals(note):
        yield found


def work_in(folder: Path, work: Work, processes: Processes) -> bool:
    """Works under the folder's lock, with a bar a stage; whether this process prints. Stopped after Ctrl-C."""
    bars = Bars(
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>12}"),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[note]}", markup=True),
        console=console,
        disable=not console.is_terminal or console.quiet,
    )
    tasks, ended = dict[str, TaskID](), set[str]()
    started = time.perf_counter()
    with lock(folder, processes), stop_signals() as signals, bars:
        for event in work:
            if event.message:
                say(event.message)
            if event.stage not in tasks:
                tasks[event.stage] = bars.add_task(event.stage, total=event.total, rate="", note="")
            seconds = event.seconds or time.perf_counter() - started
            rate = f"{event.images / seconds:,.0f} img/s" if event.images else ""
            note = event.note.replace("[", "(")
            bars.update(tasks[event.stage], completed=event.done, total=event.total, rate=rate, note=note)
            if event.done == event.total and event.stage not in ended and not console.is_terminal:
                ended.add(event.stage)
                say(f"{event.stage}: {event.done:,} of {event.total:,} in {seconds:.1f} s  {event.note}".rstrip())
            stop = bool(signals)
            if event.together:
                stop = processes.agree(stop)
            if stop:
                work.close()
                if event.together:
                    processes.wait()  # launchers kill the others as soon as one process ends
                raise Stopped(next(iter(signals), signal.SIGTERM))
    if not tasks and processes.is_main:
        say(f"nothing left to do: {folder} is finished")
    return processes.is_main

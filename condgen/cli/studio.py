"""`condgen studio`."""

import errno
import ipaddress
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from condgen.cli.progress import console
from condgen.errors import UserError
from condgen.hub import MODEL, model_folder
from condgen.recipes import read_yaml
from condgen.runs.layout import RECIPE_FILE
from condgen.training import Processes

__all__ = ["studio"]

_TRIED = 20  # ports


def studio(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar=MODEL,
            help="A run folder, or that of a score model or a generator alone, which may be on the Hugging Face hub.",
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="By default 7860, or the next that is free.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="The longest that one drawing may take.")] = 60.0,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote",
            help="Let --host be an address that others reach. The address that is printed then holds a random token, "
            "without which nothing is answered. Nothing is encrypted: over a network that is not yours, use ssh -L.",
        ),
    ] = False,
) -> None:
    """A live page of a run: choose class, method, sampler, seed; see samples, their way from noise, and their cost.

    condgen studio runs/digits

    It listens on this machine alone, and draws for one request at a time. Ctrl-C ends it.
    """
    if not _is_loopback(host) and not allow_remote:
        raise UserError(
            f"--host {host} can be reached by others: add --allow-remote if that is meant, which asks them for a "
            "token, or leave --host out"
        )
    try:
        import starlette  # noqa: F401 - these two are an extra
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"the studio needs the package {error.name}, which is an extra: pip install 'condgen[studio]'"
        ) from error
    from condgen.studio.app import Studio, build_app
    from condgen.studio.ask import Limits
    from condgen.studio.connection import Connection
    from condgen.studio.guard import new_token, own_names
    from condgen.studio.models import read_offer

    folder = model_folder(run)
    offer = read_offer(folder)
    if folder != Path(run):  # the cache's folder is called by a version, which tells nobody anything
        offer = replace(offer, name=run)
    if context.obj is None:
        torch.set_num_threads(_threads_of(folder) or torch.get_num_threads())  # as `condgen run` does
    listener = _listen(host, port)
    work = Studio(offer, Limits(seconds=seconds), Processes().device)
    token = new_token() if allow_remote else None
    app = build_app(work, own_names() if allow_remote else set(), token)
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        server_header=False,
        http=Connection,  # which bounds their number and their time
        ws="none",
        lifespan="off",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=0,  # drawings that nobody will see need not end
    )
    address = f"http://{_in_address(host)}:{listener.getsockname()[1]}/{f'?token={token}' if token else ''}"
    server, interrupted = uvicorn.Server(config), False
    try:
        console.print(f"{offer.name}: {_in_words(offer.methods)}\n{address}  (Ctrl-C ends it)", markup=False)
        console.file.flush()  # where it is no terminal, but another program that waits for the address
        if open_page:
            typer.launch(address)
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # which uvicorn passes on after it has ended
        interrupted = not hasattr(sys, "ps1")  # of a program, and not of somebody's session
    console.print("the studio has ended")  # also where uvicorn has swallowed it, which it does now and then
    listener.close()
    if not work.worker.close() or interrupted:
        console.file.flush()
        # One evaluation of a large network may go on for long, torch does not end in its midst, and Python takes its
        # time to take everything down: who ends the studio waits for none of it.
        os._exit(0)


def _in_words(methods: object) -> str:
    names = list(methods) if isinstance(methods, dict) else []
    return f"{len(names)} methods ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"


def _threads_of(run: Path) -> int | None:
    """The threads that a run's recipe asks for: networks as small as those of digits are slower on more."""
    if not (run / RECIPE_FILE).is_file():
        return None
    threads = read_yaml(run / RECIPE_FILE).get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_address(host: str) -> str:
    """The host as it stands in an address; this machine's own name where it listens at all of its addresses."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket at the port that is asked for, or the first free one from 7860 on."""
    problem: OSError | None = None
    for number in [port] if port is not None else range(7860, 7860 + _TRIED):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
            listener.listen(128)
        except OSError as error:
            listener.close()
            problem = error
            if error.errno != errno.EADDRINUSE:
                break
        else:
            return listener
    assert problem is not None
    if problem.errno == errno.EADDRINUSE:
        what = f"port {port} is" if port is not None else f"the ports from 7860 to {7860 + _TRIED - 1} are"
        raise UserError(f"{what} in use: choose another with --port") from problem
    raise UserError(f"cannot listen at {host}: {problem.strerror or problem}; choose another --host or --port")

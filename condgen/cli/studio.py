"""`condgen studio`."""

import errno
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from condgen.cli.terminal import console
from condgen.errors import UserError
from condgen.hub import MODEL, model_folder
from condgen.recipes import read_yaml
from condgen.runs.layout import RECIPE_FILE
from condgen.training import Processes

__all__ = ["studio"]

_CONNECTIONS = 400


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
    from condgen.studio.models import read_offer

    folder = model_folder(run)
    offer = read_offer(folder)
    if folder != Path(run):  # the name of the hub, not of a folder in its cache
        offer = replace(offer, name=run)
    if context.obj is None:
        torch.set_num_threads(_threads_of(folder) or torch.get_num_threads())  # as `condgen run` does
    listener = _listen(host, port)
    work = Studio(offer, Limits(seconds=seconds), Processes().device)
    token = secrets.token_urlsafe(32) if allow_remote else None
    names = {socket.gethostname().lower(), socket.getfqdn().lower()} if allow_remote else set()
    config = uvicorn.Config(
        build_app(work, names, token),
        log_level="critical",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=0,  # a drawing under way is given up
    )
    address = f"http://{_in_address(host)}:{listener.getsockname()[1]}/{f'?token={token}' if token else ''}"
    try:
        console.print(f"{offer.name}: {_in_words(offer.methods)}\n{address}  (Ctrl-C ends it)", markup=False)
        console.file.flush()  # a program may wait for the address
        if open_page:
            typer.launch(address)
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises it again after it has shut down
        pass
    finally:
        listener.close()
        work.close()
    console.print("the studio has ended")


def _in_words(methods: Mapping[str, object]) -> str:
    names = list(methods)
    return f"{len(names)} methods ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"


def _threads_of(run: Path) -> int | None:
    """The threads that a run's recipe asks for: networks as small as those of digits are slower on more."""
    if not (run / RECIPE_FILE).is_file():
        return None
    threads = read_yaml(run / RECIPE_FILE).get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_address(host: str) -> str:
    """The host as part of a URL; this machine's name for the wildcard addresses."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket at the given port, or at the first free one from 7860 on."""
    ports = [port] if port is not None else range(7860, 7880)
    for number in ports:
        try:
            return socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(
                    f"cannot listen at {host}: {error.strerror}; choose another --host or --port"
                ) from error
    raise UserError(f"port {port or '7860 to 7879'} is in use: choose another with --port")

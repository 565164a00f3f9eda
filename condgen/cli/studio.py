"""`condgen studio`."""

import errno
import socket
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.options import Device, Trust
from condgen.cli.terminal import console
from condgen.errors import UserError, from_extra
from condgen.hub import MODEL, model_folder
from condgen.training.distributed import Processes

_HOST, _PORT = "127.0.0.1", 7860


def studio(
    run: Annotated[str, typer.Argument(metavar=MODEL, help="A run folder, or that of a score model or a generator.")],
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="By default 7860, or else any.")] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    trust: Trust = False,
    device: Device = None,
) -> None:
    """A live page of a run: choose class, method, sampler and seed; see samples and their cost, two settings at once.

    condgen studio runs/digits

    It listens on this machine alone; from another one, use ssh -L 7860:localhost:7860. One request is drawn at a time.
    Models are read once: start it again after training. Ctrl-C ends it.
    """
    with from_extra("studio"):
        import starlette  # noqa: F401 - these two are an extra
        import uvicorn
    from condgen.studio.app import Studio, build_app
    from condgen.studio.offer import read_offer

    folder = model_folder(run)
    offer = read_offer(folder)
    if folder != Path(run):  # the name of the hub, not of a folder in its cache
        offer = replace(offer, name=run)
    work = Studio(offer, Processes().device)
    listener = _listen(port)
    # A drawing under way is given up in the end.
    config = uvicorn.Config(
        build_app(work),
        log_level="critical",
        ws="none",
        lifespan="off",
        limit_concurrency=400,
        timeout_graceful_shutdown=0,
    )
    address = f"http://{_HOST}:{listener.getsockname()[1]}/"
    try:
        console.print(f"{offer.name}: {len(offer.methods)} methods\n{address}  (Ctrl-C ends it)", markup=False)
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


def _listen(port: int | None) -> socket.socket:
    try:
        return socket.create_server((_HOST, port or _PORT))
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            return socket.create_server((_HOST, 0))
        raise UserError(f"cannot listen at port {port or _PORT}: {error.strerror}; choose another --port") from error

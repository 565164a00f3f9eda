"""The command `condgen`, also as `python -m condgen`."""

import signal


def main() -> None:
    """Runs the command line. A Ctrl-C while it is still being imported just ends it: no work has begun."""
    polite = signal.getsignal(signal.SIGINT)
    if polite is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from condgen.cli.app import main as run

    signal.signal(signal.SIGINT, polite)
    run()


if __name__ == "__main__":
    main()

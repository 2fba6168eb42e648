"""`python -m reuseport`, and the console script: refuses other systems, then hands over to the CLI."""

# Built in: `signal` would be a file's, perhaps the project's, and we may be root.
import _signal  # type: ignore[import-not-found]
import sys


def main() -> None:
    """Run the command line; exits with the command's status."""
    # Before any other import: some of them do not exist elsewhere and would fail with a traceback.
    if sys.platform != "linux":
        sys.stderr.write(f"Error: reuseport needs Linux; on {sys.platform} run uvicorn itself.\n")
        raise SystemExit(2)

    from reuseport import surroundings

    received = surroundings.handed_over()
    if received is not None:
        from reuseport.worker import afresh

        afresh.run(received, sys.argv.pop(1))

    surroundings.given = surroundings.begin_alone()

    # Until it is known whether this becomes a launcher, which reads them (launcher/siginfo.py), or not.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGTERM, _signal.SIGINT})

    surroundings.restrict()

    from reuseport import streams

    # Nothing has been opened yet that stays open.
    streams.ensure()

    from reuseport.launcher import headstart

    first = headstart.begun(sys.argv[1:])
    try:
        from reuseport.cli import cli

        cli.main(prog_name="reuseport", obj=first)
    finally:
        if first is not None:
            first.end()


if __name__ == "__main__":
    main()

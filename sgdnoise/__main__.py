"""Run the command line in a process of its own: ``sgdnoise``, or ``python -m sgdnoise``."""

from ._signals import end_at_once


def main() -> None:
    """Run the command line; Ctrl-C, SIGTERM and SIGHUP end it at once, with status 130, 143 and 129."""
    end_at_once()  # before all else is imported, which takes a moment
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()

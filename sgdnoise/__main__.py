"""Run the command line: ``python -m sgdnoise``."""

from .cli import main

if __name__ == "__main__":
    main()

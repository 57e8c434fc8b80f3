"""The `headrace` command; `python -m headrace` is the same."""

import sys

from headrace.first_process import run_as_first


def main() -> int:
    """Run the command and return its exit code."""
    return run_as_first(_command)


def _command() -> int:
    # Most of what starts is loaded here: the first process of a container does without it.
    from headrace.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(main())

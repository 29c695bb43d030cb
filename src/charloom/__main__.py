"""Starts the command line, or says what to install where the extra `charloom` is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("cyclopts", "rich", "safetensors")


def main() -> None:
    """Run `charloom` with the arguments of this process; exit with status 1 where a package it needs is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(f'charloom needs {", ".join(missing)}: pip install "telltales[charloom]"')
    from charloom import cli  # Not before the check: it imports what is checked.

    cli.main()


if __name__ == "__main__":
    main()

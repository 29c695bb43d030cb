"""Writes `hashes.txt`: for each pin of `constraints.txt`, the SHA-256 of the files that the package index has for it.

    .venv/bin/python supply/hashes.py

pip is asked which file it would take for each Python that the pins are for. Torch is left out: see `pins.hashed_pins`.
Exit status 1, and nothing is written, where the index gave no answer.
"""

from __future__ import annotations

import sys

from packaging.utils import canonicalize_name

from pins import PYTHONS, ROOT, CouldNotAsk, hashed_pins, offered

FILE = ROOT / "hashes.txt"
HEAD = """\
# The SHA-256 of every file that LAB_HASHES=1 ./lab installs, but torch's: written by supply/hashes.py from
# constraints.txt, for Linux on x86_64 with Python 3.11 to 3.13.
"""


def main() -> int:
    """Ask, and write what the answers say."""
    pinned = hashed_pins()
    found: dict[str, set[str]] = {name: set() for name in pinned}
    for python in PYTHONS:
        print(f"Python {python}: {len(pinned)} packages", file=sys.stderr)
        try:
            entries = offered(pinned, python)
        except CouldNotAsk as error:
            print(f"the package index gave no answer, and hashes.txt stays as it was: {error}", file=sys.stderr)
            return 1
        for entry in entries:
            name = canonicalize_name(entry["metadata"]["name"])
            found[name].add(entry["download_info"]["archive_info"]["hashes"]["sha256"])
    FILE.write_text(HEAD + "".join(line(name, pinned[name], found[name]) for name in pinned), encoding="utf-8")
    return 0


def line(name: str, version: str, hashes: set[str]) -> str:
    """A requirement as pip reads it."""
    return " \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{one}" for one in sorted(hashes))]) + "\n"


if __name__ == "__main__":
    sys.exit(main())

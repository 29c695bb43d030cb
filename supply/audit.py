"""Whether what is installed is what was pinned, unchanged, and known to be sound: `./lab audit`.

    ./lab audit              all of it
    ./lab audit --offline    without asking the package index

Exit status 1: something is wrong. What the package index did not answer is no failure, but it is said.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pip._internal.commands import create_command
from pip._vendor.requests import RequestException

from pins import ROOT, CouldNotAsk, hashed_pins, offered, pins, pip

HASHES = ROOT / "hashes.txt"
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\b")
OURS = "telltales"
OF_TORCH = re.compile("nvidia-|cuda-|triton")
"""What a torch for CUDA pins itself."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    count: int
    wrong: tuple[str, ...] = ()
    unasked: str = ""
    """Why it could not be looked at."""


def main() -> int:
    """Look at all of it, and say a line of each."""
    parser = argparse.ArgumentParser(prog="./lab audit", description="Whether what is installed is what was pinned.")
    parser.add_argument("--offline", action="store_true", help="leave out what needs the package index")
    options = parser.parse_args()
    wrong = 0
    for check in (*installed_checks(), *([] if options.offline else index_checks())):
        outcome = f"NOT ASKED: {check.unasked}" if check.unasked else f"{len(check.wrong)} wrong of {check.count:,}"
        print(f"{check.what}: {outcome}", flush=True)
        for line in check.wrong:
            print(f"  {line}")
        wrong += len(check.wrong)
    return int(wrong > 0)


def installed_checks() -> Iterator[Check]:
    """What needs nobody else."""
    everything = list(metadata.distributions())
    yield requirements()
    yield versions(everything)
    yield hashes_of_pins()
    yield files(everything)
    yield strangers(everything, Path(sysconfig.get_path("purelib")))


def index_checks() -> Iterator[Check]:
    """What only the package index knows."""
    yield offers(f"{sys.version_info.major}.{sys.version_info.minor}")
    yield advisories()


def requirements() -> Check:
    """`pip check`: a package without what it needs, or with another version of it."""
    said = pip("check")
    wrong = tuple(said.stdout.splitlines()) if said.returncode else ()
    return Check("installation whose requirements fit one another", max(1, len(wrong)), wrong)


def versions(installed: Collection[metadata.Distribution]) -> Check:
    """Installed packages that are not pinned, or at another version."""
    pinned = pins() | _pinned_by_extras()
    wrong = []
    seen = set()
    for one in installed:
        name, version = canonicalize_name(one.name), one.version.partition("+")[0]
        if name in seen:
            wrong.append(f"{name} is installed twice")
        elif name != OURS and not OF_TORCH.match(name) and pinned.get(name) != version:
            wrong.append(f"{name} {version} is installed; pinned: {pinned.get(name, 'no version of it')}")
        seen.add(name)
    return Check("installed packages at their pins", len(installed), tuple(wrong))


def hashes_of_pins(file: Path = HASHES) -> Check:
    """Pins that `hashes.txt` lacks or has at another version, and what it has besides."""
    pinned = set(hashed_pins().items())
    listed = {(name, version) for name, version, hashes in hashed(file) if hashes}
    wrong = tuple(f"{name} {version}: {_where(name, version)}" for name, version in sorted(pinned ^ listed))
    return Check("pins with their hashes", len(pinned), wrong)


def files(installed: Iterable[metadata.Distribution]) -> Check:
    """Installed files that are lost, or are not as they were when they were installed.

    It is damage that this finds. Who changes a file on purpose can change the list as well; installing anew with
    `LAB_HASHES=1` is the remedy.
    """
    count = 0
    wrong = []
    for one in installed:
        for file, listed in _record(one):
            mode, _, value = listed.partition("=")
            if not value:
                continue
            count += 1
            try:
                with Path(str(one.locate_file(file))).open("rb") as opened:
                    digest = hashlib.file_digest(opened, mode).digest()
            except OSError as error:
                wrong.append(f"{one.name}: {file}: {error.strerror}")
                continue
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != value:
                wrong.append(f"{one.name}: {file} has changed")
    return Check("installed files with the hash of their package's list", count, tuple(wrong))


def _record(one: metadata.Distribution) -> Iterator[tuple[str, str]]:
    """Each file of a package's list, and its hash as ``sha256=…``; `files` of some Pythons leaves out the lost ones."""
    for file, listed, *_ in csv.reader((one.read_text("RECORD") or "").splitlines()):
        yield file, listed


def strangers(installed: Iterable[metadata.Distribution], folder: Path) -> Check:
    """Files beside the packages that no package's list has: a `.pth` among them runs with every Python."""
    owned = {os.path.normpath(str(file.locate())) for one in installed for file in one.files or ()}
    found = [
        os.path.join(where, name)
        for where, _, names in os.walk(folder)
        if not where.endswith("__pycache__")
        for name in names
    ]
    wrong = tuple(f"{path} belongs to no package" for path in found if path not in owned)
    return Check("files of some package", len(found), wrong)


def offers(python: str) -> Check:
    """Pins that were yanked, or whose file has another hash than `hashes.txt`."""
    what = "pins that the package index offers as they were"
    try:
        entries = offered(hashed_pins(), python)
    except CouldNotAsk as error:
        return Check(what, 0, unasked=str(error))
    known = {name: hashes for name, _, hashes in hashed(HASHES)}
    wrong = []
    for entry in entries:
        name = canonicalize_name(entry["metadata"]["name"])
        if entry["is_yanked"]:
            wrong.append(f"{name} {entry['metadata']['version']} was yanked")
        if entry["download_info"]["archive_info"]["hashes"]["sha256"] not in known.get(name, ()):
            wrong.append(f"{name} {entry['metadata']['version']}: another file than hashes.txt has")
    return Check(what, len(entries), tuple(wrong))


def advisories() -> Check:
    """Known vulnerabilities of the pins, where the package index publishes them."""
    what = "pins without known vulnerabilities"
    # pip's own session and address: the user's certificates, proxies and index.
    command = create_command("download")
    options, _ = command.parse_args([])
    wrong = []
    with command.main_context():
        session = command.get_default_session(options)
        base = options.index_url.rstrip("/").removesuffix("/simple")
        for name, version in pins().items():
            try:
                answer = session.get(f"{base}/pypi/{name}/{version}/json", timeout=30)
                answer.raise_for_status()
                known = answer.json()["vulnerabilities"]
            except (RequestException, KeyError, ValueError) as error:
                said = f"{type(error).__name__}: {error}".replace(base, "the index")
                return Check(what, 0, unasked=f"the package index publishes none here ({said})")
            wrong += [f"{name} {version}: {_told(one)}" for one in known if not one.get("withdrawn")]
    return Check(what, len(pins()), tuple(wrong))


def hashed(file: Path) -> list[tuple[str, str, list[str]]]:
    """What `hashes.txt` lists: name, version and hashes."""
    entries = file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    split = [entry.split() for entry in entries if not entry.startswith("#")]
    return [(*first.split("=="), HASH.findall(" ".join(rest))) for first, *rest in split]


def _pinned_by_extras() -> dict[str, str]:
    """What the project itself asks for in one version only: nothing of it is installed unasked."""
    asked = map(Requirement, metadata.requires(OURS) or ())
    return {canonicalize_name(one.name): str(one.specifier)[2:] for one in asked if str(one.specifier)[:2] == "=="}


def _where(name: str, version: str) -> str:
    return "pinned, without a hash" if hashed_pins().get(name) == version else "hashed, and not pinned"


def _told(advisory: Mapping[str, Any]) -> str:
    fixed = ", ".join(advisory.get("fixed_in") or ()) or "no version"
    return f"{advisory.get('id', 'an advisory')}, mended in {fixed}: {advisory.get('summary') or advisory.get('link')}"


if __name__ == "__main__":
    sys.exit(main())

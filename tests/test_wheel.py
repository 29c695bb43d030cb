"""The wheel and the source archive, and what works where nothing is installed but the wheel and what it asks for."""

from __future__ import annotations

import email
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from closure import installed_closure

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
SHIPPED = {
    *("src", "tests", "supply", "benchmarks", "docs", "notebooks", ".ci", "lab"),
    *("pyproject.toml", "constraints.txt", "hashes.txt", ".gitignore", "PKG-INFO"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both archives."""
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (made,) = built.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def source(built: Path) -> Path:
    (made,) = built.glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def facts(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def build(project: Path, folder: Path) -> None:
    """Both archives of that project, in that folder."""
    subprocess.run(
        [sys.executable, "-P", "-m", "hatchling", "build", "-d", str(folder)],
        cwd=project,
        check=True,
        capture_output=True,
        umask=0o077,
    )


def pip(command: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--isolated", command, "--no-index", "--no-deps", *arguments], check=True
    )


def requirements(facts: Message, extra: str = "") -> list[Requirement]:
    every = map(Requirement, facts.get_all("Requires-Dist", []))
    return [needed for needed in every if needed.marker is None or needed.marker.evaluate({"extra": extra})]


def test_it_holds_every_file_of_both_packages(names: set[str]) -> None:
    files = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*") if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == {
        name for name in files if "__pycache__" not in name
    }
    assert {"charloom/py.typed", "telltales/py.typed"} <= names
    assert any(name.startswith("charloom/data/") and name.endswith((".gz", ".xz")) for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_source_archive_holds_the_project_and_nothing_else(source: Path) -> None:
    with tarfile.open(source) as archive:
        members = archive.getmembers()
    assert all(member.isfile() or member.isdir() for member in members)
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    files = {member.name.partition("/")[2] for member in members}
    assert {file.partition("/")[0] for file in files} == SHIPPED
    assert not [file for file in files if re.search(r"__pycache__|\.pyc$|\.venv|\.hypothesis|(^|/)runs/", file)]
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        tracked = {file for file in listed.splitlines() if (ROOT / file).exists()}
        assert tracked <= files, sorted(tracked - files)[:5]


def test_no_archive_names_the_place_where_it_was_made(wheel: Path, source: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(source) as archive:
        contents |= {member.name: _read(archive, member) for member in archive.getmembers()}
    place = str(ROOT).encode()
    assert [name for name, content in contents.items() if place in content] == []


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    return b"" if opened is None else opened.read()


def test_both_archives_are_the_same_wherever_and_whenever_they_are_made(
    built: Path, source: Path, tmp_path: Path
) -> None:
    """Made once more from the source archive: elsewhere, later, with other dates."""
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (project,) = tmp_path.iterdir()
    for number, path in enumerate(sorted(project.rglob("*"))):
        os.utime(path, (number, 1_000_000_000 + number))
    build(project, tmp_path / "again")
    hashes = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in (built, tmp_path / "again")
    ]
    assert len(hashes[0]) == 2
    assert hashes[0] == hashes[1]


def test_it_asks_for_torch_and_numpy_and_pins_nothing(facts: Message) -> None:
    assert (facts["Name"], facts["Requires-Python"]) == ("telltales", ">=3.11")
    assert {needed.name for needed in requirements(facts)} == {"torch", "numpy"}
    assert [str(needed.specifier) for needed in requirements(facts) if needed.name == "torch"] == [">=2.10"]
    assert {needed.name for needed in requirements(facts, "charloom")} - {"torch", "numpy"} == {
        "cyclopts",
        "rich",
        "filelock",
        "safetensors",
    }
    assert set(facts.get_all("Provides-Extra", [])) == {
        "bench",
        "bridges",
        "charloom",
        "dev",
        "fast",
        "fuzz",
        "notebooks",
        "report",
        "site",
    }


class Elsewhere:
    """A Python that sees the installed wheel and chosen packages, and nothing else of this environment."""

    def __init__(self, folder: Path, wheel: Path, needed: Sequence[Requirement]) -> None:
        self.installed = folder / "installed"
        self.packages = folder / "packages"
        self.home = folder / "home"
        pip("install", "--target", str(self.installed), str(wheel))
        self.packages.mkdir()
        self.home.mkdir()
        for distribution in installed_closure([needed.name for needed in needed]).values():
            for top in {Path(file).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
                link = self.packages / top
                if not link.exists():
                    link.symlink_to(distribution.locate_file(top))  # type: ignore[arg-type]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-P", *arguments],
            cwd=self.home,
            env={**os.environ, "PYTHONPATH": f"{self.installed}{os.pathsep}{self.packages}"},
            capture_output=True,
            text=True,
            check=False,
        )

    def charloom(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed script."""
        return self.run(str(self.installed / "bin" / "charloom"), *arguments)


@pytest.fixture(scope="module")
def without_extras(tmp_path_factory: pytest.TempPathFactory, wheel: Path, facts: Message) -> Elsewhere:
    return Elsewhere(tmp_path_factory.mktemp("without-extras"), wheel, requirements(facts))


@pytest.fixture(scope="module")
def with_charloom(tmp_path_factory: pytest.TempPathFactory, wheel: Path, facts: Message) -> Elsewhere:
    return Elsewhere(tmp_path_factory.mktemp("with-charloom"), wheel, requirements(facts, "charloom"))


def test_telltales_needs_torch_and_numpy_only(without_extras: Elsewhere, facts: Message) -> None:
    ended = without_extras.run("-c", "import telltales, torch, numpy; print(telltales.__file__, telltales.__version__)")
    assert ended.stdout == f"{without_extras.installed}/telltales/__init__.py {facts['Version']}\n", ended.stderr


@pytest.mark.parametrize("script", [True, False], ids=["charloom", "python -m charloom"])
def test_charloom_without_its_extra_says_what_to_install(without_extras: Elsewhere, script: bool) -> None:
    ended = without_extras.charloom("--help") if script else without_extras.run("-m", "charloom", "--help")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == 'charloom needs cyclopts, rich, safetensors: pip install "telltales[charloom]"\n'


def test_charloom_elsewhere_has_its_data(with_charloom: Elsewhere) -> None:
    ended = with_charloom.charloom("describe", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)

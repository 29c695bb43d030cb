"""Pins, their hashes, licences, and what the audit finds in installations that were tampered with."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import audit
import hashes
import licences
import pins
from torture import supply
from torture.shown import SHORT


def test_what_is_installed_is_what_was_pinned() -> None:
    shown = list(supply.show(SHORT, lambda line: None))
    assert [failure for one in shown for failure in one.failures] == []
    assert all(one.count > 25 for one in shown)


def test_the_page_of_licences_is_of_these_pins() -> None:
    """Where it is not: `.venv/bin/python supply/licences.py`."""
    rows = [line.split(" | ") for line in licences.PAGE.read_text(encoding="utf-8").splitlines() if " | " in line]
    assert {row[0].removeprefix("| "): row[1] for row in rows[1:]} == pins.pins()
    assert licences.PAGE.read_text(encoding="utf-8") == licences.page()
    assert licences.UNSAID not in licences.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"License-Expression": "MIT", "License": "GPL-3.0-only"}, "MIT"),
        ({"License": "apache-2.0"}, "Apache-2.0"),
        ({"License": "BSD 3-Clause License\n Copyright (c) 2001"}, "BSD-3-Clause"),
        ({"License": "BSD 3-Clause", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause"),
        ({"License": "MIT", "Classifier": "License :: OSI Approved :: GNU General Public License (GPL)"}, "MIT"),
        (
            {"License": "see LICENSE", "Classifier": "License :: OSI Approved :: GNU General Public License (GPL)"},
            "GPL",
        ),
        ({"License": "MIT-like", "Classifier": "License :: OSI Approved :: GNU General Public License v3"}, "GPL"),
        ({"License": "UNKNOWN", "Classifier": "License :: OSI Approved :: ISC License (ISCL)"}, "ISC"),
        ({"License": "ask my lawyer"}, "not said"),
        ({}, "not said"),
    ],
)
def test_a_licence_is_read(fields: dict[str, str], read: str) -> None:
    facts = metadata.PathDistribution(_Folder(fields)).metadata
    assert licences.licence(facts) == read


class _Folder:
    """A `.dist-info` with such metadata."""

    def __init__(self, fields: dict[str, str]) -> None:
        lines = [f"{name}: {text}".replace("\n", "\n        ") for name, text in fields.items()]
        self.text = "\n".join(["Metadata-Version: 2.4", "Name: x", "Version: 1", *lines, ""])

    def joinpath(self, name: str) -> _Folder:
        return self

    def read_text(self, encoding: str) -> str:
        return self.text


@pytest.mark.parametrize(
    ("expression", "is_so"),
    [
        ("MIT", True),
        ("MIT AND BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("MPL-2.0", False),
        ("(MIT OR GPL-3.0-only) AND MPL-2.0", False),
        ("not said", False),
    ],
)
def test_permissive_licences_are_told_from_others(expression: str, is_so: bool) -> None:
    assert licences.is_permissive(expression) is is_so


def install(folder: Path, name: str = "x", version: str = "1") -> None:
    """Put a package of one file there, as pip does."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    written = {f"{name}.py": "x = 1\n", f"{info.name}/METADATA": f"Name: {name}\nVersion: {version}\n"}
    for file, text in written.items():
        (folder / file).write_text(text)
    lines = [f"{file},sha256={_digest(text)},{len(text)}\n" for file, text in written.items()]
    (info / "RECORD").write_text("".join([*lines, f"{info.name}/RECORD,,\n"]))


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def found(folder: Path) -> list[str]:
    installed = list(metadata.distributions(path=[str(folder)]))
    checks = (audit.versions(installed), audit.files(installed), audit.strangers(installed, folder))
    return [line.replace(f"{folder}/", "") for check in checks for line in check.wrong]


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda folder: None, []),
        (lambda folder: (folder / "x.py").write_text("x = 2\n"), ["x: x.py has changed"]),
        (lambda folder: (folder / "x.py").unlink(), ["x: x.py: No such file or directory"]),
        (lambda folder: (folder / "at_once.pth").write_text("import x\n"), ["at_once.pth belongs to no package"]),
        (lambda folder: install(folder, "y"), ["y 1 is installed; pinned: no version of it"]),
        (lambda folder: install(folder, "z", "2"), ["z 2 is installed; pinned: 1"]),
        (lambda folder: install(folder, "x", "1+b"), ["x is installed twice"]),
        (lambda folder: install(folder, "z", "1+cpu"), []),
        (lambda folder: install(folder, "nvidia-nccl", "2"), []),
        (lambda folder: install(folder, "atheris", "3.0.0"), []),
        (lambda folder: install(folder, "atheris", "2"), ["atheris 2 is installed; pinned: 3.0.0"]),
    ],
)
def test_what_was_tampered_with_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tamper: Callable[[Path], object], told: list[str]
) -> None:
    monkeypatch.setattr(audit, "pins", lambda: {"x": "1", "z": "1"})
    install(tmp_path)
    tamper(tmp_path)
    assert found(tmp_path) == told


def test_hashes_and_pins_are_of_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "hashed_pins", lambda: {"a": "1", "b": "1", "c": "1", "e": "1"})
    file = tmp_path / "hashes.txt"
    one, other = "0" * 64, "1" * 64
    lines = [hashes.line("a", "1", {one, other}), hashes.line("b", "2", {one}), hashes.line("c", "1", {"0"})]
    file.write_text("# of all pins\n" + "".join([*lines, hashes.line("d", "1", {one})]))
    assert audit.hashes_of_pins(file).wrong == (
        "b 1: pinned, without a hash",
        "b 2: hashed, and not pinned",
        "c 1: pinned, without a hash",
        "d 1: hashed, and not pinned",
        "e 1: pinned, without a hash",
    )


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_pip_refuses_a_file_with_another_hash(tmp_path: Path, right: bool) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    install(tmp_path / "unpacked")
    (tmp_path / "unpacked/x-1.dist-info/WHEEL").write_text(
        "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in (tmp_path / "unpacked").rglob("*"):
            archive.write(path, path.relative_to(tmp_path / "unpacked"))
    digest = hashlib.sha256(wheel.read_bytes() if right else b"").hexdigest()
    (tmp_path / "hashes.txt").write_text(hashes.line("x", "1", {digest, "0" * 64}))
    ended = pins.pip(
        *("install", "--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "installed")),
        *("--require-hashes", "--no-deps", "--requirement", str(tmp_path / "hashes.txt")),
    )
    assert (ended.returncode == 0) is right, ended.stderr
    assert (tmp_path / "installed/x.py").exists() is right
    assert ("DO NOT MATCH THE HASHES" in ended.stderr) is not right


def test_what_was_yanked_or_is_another_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    name, version, (digest, *_) = audit.hashed(audit.HASHES)[0]

    def entry(yanked: bool, digest: str) -> dict[str, Any]:
        info = {"archive_info": {"hashes": {"sha256": digest}}}
        return {"metadata": {"name": name, "version": version}, "is_yanked": yanked, "download_info": info}

    monkeypatch.setattr(audit, "offered", lambda pinned, python: [entry(False, digest)])
    assert audit.offers("3.11").wrong == ()
    monkeypatch.setattr(audit, "offered", lambda pinned, python: [entry(True, digest), entry(False, "0" * 64)])
    assert audit.offers("3.11").wrong == (
        f"{name} {version} was yanked",
        f"{name} {version}: another file than hashes.txt has",
    )


def test_who_does_not_answer_was_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    check = audit.offers("3.11")
    assert (check.count, check.wrong) == (0, ())
    assert "No matching distribution" in check.unasked


class Index(http.server.BaseHTTPRequestHandler):
    """A package index that has advisories of x 1 only."""

    def do_GET(self) -> None:
        one = {"id": "PYSEC-1", "summary": "it leaks", "fixed_in": ["1.1"], "withdrawn": None}
        answers = {
            "/pypi/x/1/json": {"vulnerabilities": [one, {**one, "id": "PYSEC-0", "withdrawn": "2026-01-01"}]},
            "/pypi/y/1/json": {"vulnerabilities": []},
        }
        self.send_response(200 if self.path in answers else 404)
        self.end_headers()
        self.wfile.write(json.dumps(answers.get(self.path, {})).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Tell nothing."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with http.server.HTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
        yield
        server.shutdown()


@pytest.mark.usefixtures("index")
def test_advisories_are_told_if_the_index_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "pins", lambda: {"x": "1", "y": "1"})
    assert audit.advisories().wrong == ("x 1: PYSEC-1, mended in 1.1: it leaks",)
    monkeypatch.setattr(audit, "pins", lambda: {"z": "1"})
    check = audit.advisories()
    assert (check.count, check.wrong) == (0, ())
    assert "404" in check.unasked


def test_the_audit_says_what_it_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checks = [audit.Check("files", 2, ("x.py has changed",)), audit.Check("advisories", 0, unasked="no answer")]
    monkeypatch.setattr(audit, "installed_checks", lambda: checks[:1])
    monkeypatch.setattr(audit, "index_checks", lambda: checks[1:])
    monkeypatch.setattr(sys, "argv", ["audit"])
    assert audit.main() == 1
    assert capsys.readouterr().out == ("files: 1 wrong of 2\n  x.py has changed\nadvisories: NOT ASKED: no answer\n")
    monkeypatch.setattr(sys, "argv", ["audit", "--offline"])
    monkeypatch.setattr(audit, "installed_checks", lambda: [audit.Check("files", 2)])
    assert audit.main() == 0
    assert capsys.readouterr().out == "files: 0 wrong of 2\n"

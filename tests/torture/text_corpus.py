"""A fixed corpus of malformed and unusual text, each through the real commands: read by the policy, or refused."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import lzma
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from charloom.cli import main
from torture.shown import Shown

NAMES = (
    *("emma", "olivia", "ava", "mia", "sophia", "isabella", "liam", "noah"),
    *("zoe", "lea", "ben", "tom", "eva", "ida", "uma", "ivy"),
)
TEXT = "\n".join(NAMES) + "\n"
READ = "read"
NOBODY = 65534


@dataclass(frozen=True)
class Case:
    """A text and what becomes of it."""

    name: str
    data: bytes
    expected: str = READ
    """`READ`, or words of the message that refuses it, with the place."""


def _cases() -> Iterator[Case]:
    plain, packed = TEXT.encode(), gzip.compress(TEXT.encode(), mtime=0)
    yield Case("plain.txt", plain)
    yield Case("empty.txt", b"", "is empty")
    yield Case("only-mark.txt", codecs.BOM_UTF8, "is empty")
    yield Case("blank.txt", b" \n\t\n\r\n \xc2\xa0\n", "holds only blank lines (4)")
    yield Case("no-end.txt", plain[:-1])
    yield Case("one-line.txt", b"emma\n")
    yield Case("one-character.txt", b"e")
    yield Case("repeated.txt", b"emma\n" * 40)
    yield Case("crlf.txt", plain.replace(b"\n", b"\r\n"))
    yield Case("cr.txt", plain.replace(b"\n", b"\r"))
    yield Case("mixed-ends.txt", b"emma\r\nava\rmia\nzoe\r\r\n\nlea\r\n" + plain)
    yield Case("nel.txt", TEXT.replace("\n", "\n\u0085x\u2028y\u2029z\n").encode())
    yield Case("mark.txt", codecs.BOM_UTF8 + plain)
    yield Case("mark-inside.txt", plain + codecs.BOM_UTF8 + b"emma\n")
    yield Case("two-marks.txt", codecs.BOM_UTF8 * 2 + plain)
    for encoding, mark in (("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)):
        looks = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
        yield Case(f"{encoding}.txt", TEXT.encode(encoding), f"looks like {looks}")
        yield Case(f"{encoding}-mark.txt", mark + TEXT.encode(encoding), "line 1, character 1")
    yield Case("utf-32-le-mark.txt", codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"), "looks like UTF-32")
    yield Case("utf-32-be-mark.txt", codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), "line 1, character 1")
    yield Case("latin-1.txt", "emma\nzoë\n".encode("latin-1"), "line 2, character 3: the byte 0xEB is not valid")
    yield Case("nul.txt", b"emma\nav\0a\n", "line 2, character 3: holds the control character U+0000")
    yield Case("escape.txt", b"emma\n\x1b[2Java\n", "line 2, character 1: holds the control character U+001B")
    yield Case("delete.txt", b"emma\nava\x7f\n", "line 2, character 4: holds the control character U+007F")
    yield Case("8-bit-controls.txt", TEXT.encode() + "a\x9b2Jb\x84c\n".encode())
    yield Case("overlong.txt", b"emma\n\xc0\xaf\n", "line 2, character 1: the byte 0xC0 is not valid UTF-8")
    yield Case("surrogate.txt", b"emma\nx\xed\xa0\x80\n", "line 2, character 2: the bytes ED A0 80 are U+D800")
    yield Case("pair.txt", b"\xed\xa0\xbd\xed\xb8\x80\n", "line 1, character 1: the bytes ED A0 BD are U+D83D")
    yield Case("beyond.txt", b"a\n\xf4\x90\x80\x80\n", "line 2, character 1: the byte 0xF4 is not valid UTF-8")
    yield Case("cut.txt", plain + "日".encode()[:2], "line 17, character 1: ends in the middle of a character")
    border = b"ab\n" * (((1 << 20) - 1) // 3)
    yield Case("border-fault.txt", border + b"\xe6\x97\xff\n", f"line {border.count(10) + 1}, character 1: the byte")
    yield Case("late-control.txt", border + b"\x01\n", f"line {border.count(10) + 1}, character 1: holds the control")
    yield Case("joined.txt", ("👩‍👩‍👧‍👦\nमी\u200dठ\nمی‌خواهم\n" + TEXT).encode())
    yield Case("combining-only.txt", ("\u0301\n\u0323\u0301\n" * 20).encode())
    yield Case("right-to-left.txt", ("שלום\nسلام\n\u202eabc\u202c\n" + TEXT).encode())
    yield Case("private-use.txt", ("\ue000\uf8ff\U0010fffd\n" + TEXT).encode())
    yield Case("noncharacters.txt", ("\ufdd0\uffff\U0010ffff\n" + TEXT).encode())
    yield Case("markup.txt", ("[red]x[/]\n[/]\n\\[b]\n:smile:\n%s{0}\n" + TEXT).encode())
    yield Case("million.txt", b"emma\n" + b"x" * 1_000_000 + b"\n", "line 2: the line has 1,000,000 characters")
    yield Case("million-wide.txt", "日".encode() * 1_000_000, "line 1: the line has 1,000,000 characters")
    yield Case("packed.gz", packed)
    yield Case("packed.txt", packed)
    yield Case("packed.xz", lzma.compress(plain))
    yield Case("cut.gz", packed[:-12], "the archive is cut off")
    yield Case("cut.xz", lzma.compress(plain)[:-9], "the archive is cut off")
    yield Case("damaged.gz", packed[:20] + bytes([packed[20] ^ 255]) + packed[21:], "the archive is damaged")
    yield Case("trailing.gz", packed + b"trailing garbage", "the archive is damaged")
    yield Case("two-members.gz", packed + packed)
    yield Case("nested.gz", gzip.compress(packed, mtime=0), "line 1, character 1: holds the control character U+001F")
    yield Case("not.gz", plain, "is called .gz but holds no gzip data")
    yield Case("not.xz", plain, "is called .xz but holds no xz data")
    yield Case("empty.gz", b"", "is called .gz but is empty")
    yield Case("zip.txt", b"PK\x03\x04" + bytes(60), "is a zip archive")
    yield Case("bzip2.txt", b"BZh91AY&SY" + bytes(60), "is a bzip2 archive")
    yield Case("zstd.txt", b"\x28\xb5\x2f\xfd" + bytes(60), "is a zstd archive")
    yield Case("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1, character 1: the byte 0x89")
    yield Case("-dash.txt", plain)
    yield Case("with space & 'quote'.txt", b"\xff", "the byte 0xFF is not valid UTF-8")
    yield Case("new\nline\x1b[2J.txt", b"\xff", "new\\nline\\x1b[2J.txt, line 1, character 1: the byte 0xFF")


CASES = tuple(_cases())


@dataclass(frozen=True)
class Said:
    """What a command said."""

    status: int
    output: str
    messages: str


def command(*arguments: str, data: bytes = b"") -> Said:
    """A command of charloom, run here, with ``data`` on its standard input."""
    output, messages = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    status: object = 0
    with redirect_stdout(output), redirect_stderr(messages), patch.object(sys, "stdin", _reader(data)):
        try:
            main(arguments)
        except SystemExit as end:
            status = end.code
        except Exception:  # noqa: BLE001 -- what it is, is told as the interpreter would
            traceback.print_exc(file=messages)
            status = 1
        output.flush()
        messages.flush()
    raw = (stream.buffer for stream in (output, messages))
    texts = [one.getvalue().decode() for one in raw]  # type: ignore[attr-defined]
    return Said(int(status or 0), *texts)  # type: ignore[call-overload]


def _reader(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")


def tried(folder: Path, cases: Sequence[Case] = CASES) -> Iterator[Shown]:
    """Every case through every command that reads text; then what is no file, and what no model has seen."""
    with chdir(folder):
        Path("base.txt").write_text(TEXT, encoding="utf-8")
        assert command("train", "base", "--model", "bigram", "--data", "base.txt").status == 0
        failures = [fault for case in cases for fault in faults(case)]
        yield Shown(
            8, "malformed and unusual files through describe, count, train, score", 5 * len(cases), tuple(failures)
        )
        odd = list(_odd_sources())
        yield Shown(8, "folders, pipes, unreadable and missing files", len(odd), tuple(filter(None, odd)))
        unknown = list(_unknown_characters())
        yield Shown(8, "characters in prompts that no model has seen", len(unknown), tuple(filter(None, unknown)))


def faults(case: Case) -> list[str]:
    """What is wrong with how the commands take a case; they run in the current folder, which holds the run ``base``."""
    path = Path(case.name)
    path.write_bytes(case.data)
    before = _runs()
    file = f"./{case.name}"
    said = {
        "describe": command("describe", "--data", file, "--json"),
        "standard input": command("describe", "--data", "-", "--json", data=case.data),
        "count": command("count", file, "--json"),
        "train": command("train", "--model", "bigram", "--data", file, "--json"),
        "score": command("score", "--data", file, "--run", "base", "--json"),
    }
    path.unlink()
    found = [f"{what} of {case.name!r}: {fault}" for what, one in said.items() for fault in _faults(what, one, case)]
    if said["train"].status and _runs() != before:
        found.append(f"train of {case.name!r} was refused and left {_runs() - before}")
    if case.expected == READ and not found:
        items = {json.loads(said[what].output)["items"] for what in ("describe", "standard input", "count")}
        found += [f"{case.name!r} has {items} items"] if len(items) != 1 else []
    return found


def _faults(what: str, said: Said, case: Case) -> Iterator[str]:
    if said.status not in (0, 1, 2) or "Traceback" in said.messages:
        yield f"status {said.status}: {said.messages[-300:]}"
    if "\x1b" in said.messages + said.output:
        yield "an escape is printed"
    # Sound text may still be too little to split, or hold what a model has not seen.
    may_be_refused = what in ("train", "score")
    by_name = what == "standard input" and case.name.endswith((".gz", ".xz")) and "is called" in case.expected
    if case.expected == READ or by_name:
        if said.status and not may_be_refused and not by_name:
            yield f"is refused: {said.messages}"
        if said.status and "U+" not in said.messages and "too few" not in said.messages and not by_name:
            yield f"is refused for no reason of its own: {said.messages}"
        return
    message = said.messages.replace("\n", " ")
    if not said.status or said.output:
        yield f"is not refused: {said.output[:200]}"
    if case.expected.rpartition("txt, ")[2] not in message:
        yield f"says {message!r}, without {case.expected!r}"
    name = "standard input" if what == "standard input" else case.name.partition("\n")[0]
    if name not in message:
        yield f"does not name {name!r}: {message!r}"


def _runs() -> set[str]:
    return set(os.listdir("runs"))


def _odd_sources() -> Iterator[str]:
    """Each refused in one line, or read; what is wrong with it, or nothing."""
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    for name, words in (("folder", "is a folder"), ("loop", "cannot be read"), ("none.txt", "there is no such file")):
        for what in (("describe", "--data"), ("count",), ("train", "--model", "bigram", "--data"), ("score", "--data")):
            said = command(*what, name)
            fine = said.status == 1 and words in said.messages and not said.output
            yield "" if fine else f"{what[0]} of {name}: status {said.status}, {said.messages}"
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe")
        for what in (("describe", "--data"), ("count",)):
            writer = threading.Thread(target=Path("pipe").write_text, args=(TEXT,))
            writer.start()
            said = command(*what, "pipe", "--json")
            writer.join()
            fine = said.status == 0 and json.loads(said.output)["items"] == len(NAMES)
            yield "" if fine else f"{what[0]} of a pipe: status {said.status}, {said.messages}"
    with _unreadable("locked.txt"):
        for what in (("describe", "--data"), ("count",)):
            said = command(*what, "locked.txt")
            fine = said.status == 1 and "may not be read: permission denied" in said.messages
            yield "" if fine else f"{what[0]} of an unreadable file: status {said.status}, {said.messages}"


@contextmanager
def _unreadable(name: str) -> Iterator[None]:
    """A file that may not be read, not even by root, who becomes nobody for that time."""
    Path(name).write_text(TEXT, encoding="utf-8")
    Path(name).chmod(0)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        Path().chmod(0o755)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def _unknown_characters() -> Iterator[str]:
    """Each refused with its code point; what is wrong with it, or nothing."""
    prompts = (
        "Ж",
        "\u0301",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "\uffff",
        "e\nm",
        "e\tm",
        "👩‍👩‍👧",
        "[/]",
        "é",
        "\x9b",
    )
    for prompt in prompts:
        for what in (("sample", "--prefix"), ("best", "--prefix"), ("score",)):
            said = command(
                *what, prompt, "--run" if what == ("score",) else "--runs", "base" if what == ("score",) else "runs"
            )
            unknown = next(one for one in prompt if one not in TEXT.replace("\n", ""))
            fine = said.status == 1 and f"U+{ord(unknown):04X}" in said.messages and not said.output
            clean = "\x1b" not in said.messages and "Traceback" not in said.messages
            yield "" if fine and clean else f"{what[0]} of {prompt!r}: status {said.status}, {said.messages!r}"

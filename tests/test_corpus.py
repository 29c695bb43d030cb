"""Bytes to items: the decoding policy, its errors word by word, and the built-in names."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import sys
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charloom import corpus as corpus_module
from charloom import decoding
from charloom.config import DataConfig
from charloom.corpus import Corpus, load
from charloom.errors import DataError

ANY_CHUNK = [1, 2, 3, 5, 1 << 20]
WHITE_SPACE = " \t\x0b\x0c\x85\xa0\u1680\u2002\u2028\u2029\u202f\u205f\u3000"


@pytest.fixture(params=ANY_CHUNK)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Results and errors must not depend on where a chunk of bytes ends."""
    monkeypatch.setattr(decoding, "CHUNK", request.param)
    return int(request.param)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes bytes to a file in the current folder and gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(content: bytes, name: str = "names.txt") -> str:
        Path(name).write_bytes(content)
        return name

    return write


def items_of(name: str, **settings: object) -> list[str]:
    return load(DataConfig(data=name, **settings)).items


def error_of(name: str, **settings: object) -> DataError:
    with pytest.raises(DataError) as caught:
        load(DataConfig(data=name, **settings))
    return caught.value


@pytest.mark.usefixtures("chunk")
class TestPolicy:
    @pytest.mark.parametrize(
        ("content", "items"),
        [
            (b"one line", ["one line"]),
            (b"one line\n", ["one line"]),
            (b"\xef\xbb\xbfbom\n\xef\xbb\xbfinside\n", ["bom", "\ufeffinside"]),
            (b"crlf\r\nunix\nmac\rend\r", ["crlf", "unix", "mac", "end"]),
            (b"a\r\r\nb", ["a", "b"]),
            (b" \n\n a \n\t\nb\n \n", ["a", "b"]),
            ("\u3000全角\u3000\n\xa0a b\xa0".encode(), ["全角", "a b"]),
            ("a\u2028b\x85c\x0bd\x0ce\u2029f".encode(), ["a\u2028b\x85c\x0bd\x0ce\u2029f"]),
            ("👩\u200d👩\u200d👧\u200c\n\u200d".encode(), ["👩\u200d👩\u200d👧\u200c", "\u200d"]),
            ("e\u0301\n\u0301e".encode(), ["é", "\u0301e"]),
            ("日本語\nالعربية\nह\u093fन\u094dद\u0940".encode(), ["日本語", "العربية", "ह\u093fन\u094dद\u0940"]),
            ("\ue000\U0010ffff\u0378".encode(), ["\ue000\U0010ffff\u0378"]),
            (b"a.b.", ["a.b."]),
        ],
    )
    def test_lines(self, file: Callable[..., str], content: bytes, items: list[str]) -> None:
        assert items_of(file(content)) == items

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"\xef\xbb\xbf a\r\n\r\nb \r", " a\n\nb \n"),
            ("e\u0301\n\u0301".encode(), "é\n\u0301"),
            (b"x" * 30_000, "x" * 30_000),
        ],
    )
    def test_text(self, file: Callable[..., str], content: bytes, text: str) -> None:
        assert items_of(file(content), unit="text") == [text]

    def test_case(self, file: Callable[..., str]) -> None:
        name = file("Straße ΣΟΦΟΣ\nİ \u0390".encode())
        assert items_of(name) == ["Straße ΣΟΦΟΣ", "İ \u0390"]
        assert items_of(name, case="lower") == ["straße σοφος", "i̇ \u0390"]
        # Folding takes U+0390 apart, and composition must hold at the end.
        assert items_of(name, case="fold") == ["strasse σοφοσ", "i̇ \u0390"]
        assert items_of(name, case="fold", normalize="none") == ["strasse σοφοσ", "i̇ \u03b9\u0308\u0301"]

    def test_settings_can_be_turned_off(self, file: Callable[..., str]) -> None:
        name = file(" e\u0301 \n \n\n".encode())
        assert items_of(name, strip=False, normalize="none") == [" e\u0301 ", " "]

    def test_places_and_counts(self, file: Callable[..., str]) -> None:
        corpus = load(DataConfig(data=file(b"\n\n  anna \n \nbob\n")))
        assert list(corpus.lines) == [3, 5]
        assert (corpus.lines_read, corpus.blank_lines) == (5, 3)
        assert corpus.place(0, 0) == "names.txt, line 3, character 1"
        assert corpus.place(1, 2) == "names.txt, line 5, character 3"

    def test_places_in_text(self, file: Callable[..., str]) -> None:
        corpus = load(DataConfig(data=file(b"ab\r\n\r\ncd"), unit="text"))
        places = [corpus.place(0, index) for index in range(len("ab\n\ncd"))]
        at = [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2)]
        assert places == [f"names.txt, line {line}, character {character}" for line, character in at]
        assert corpus.lines_read == 3


UTF16_REMEDY = "Convert it: iconv -f UTF-16 -t UTF-8 names.txt > utf8.txt"
LATIN1_REMEDY = (
    "Convert it: iconv -f WINDOWS-1252 -t UTF-8 names.txt > utf8.txt"
    " (or the encoding that it is in, such as GB18030, after -f)."
)
BINARY_REMEDY = "Give a text file; this looks like a binary one."
NASTY = [
    (b"", "names.txt: is empty\nGive text with at least one item, one a line."),
    (b"\xef\xbb\xbf", "names.txt: is empty\nGive text with at least one item, one a line."),
    (b"\n \r\n\t\n", "names.txt: holds only blank lines (3)\nGive text with at least one item, one a line."),
    (
        b"anna\nbo\0b\n",
        f"names.txt, line 2, character 3: holds the control character U+0000\n{BINARY_REMEDY}",
    ),
    (
        "ж\r\n\r\nжж\x1b[31m".encode(),
        f"names.txt, line 3, character 3: holds the control character U+001B\n{BINARY_REMEDY}",
    ),
    (b"\x7f", f"names.txt, line 1, character 1: holds the control character U+007F\n{BINARY_REMEDY}"),
    (
        "Ren\u00e9e\nZo\u00eb".encode("latin-1"),
        "names.txt, line 1, character 4: the byte 0xE9 is not valid UTF-8; it looks like Latin-1 or another older"
        f" encoding\n{LATIN1_REMEDY}",
    ),
    (
        b"\xef\xbb\xbf\xe6\x97\xa5\n\xe6\x97\xa5\xe6\x97x",
        "names.txt, line 2, character 2: the byte 0xE6 is not valid UTF-8; it looks like Latin-1 or another older"
        f" encoding\n{LATIN1_REMEDY}",
    ),
    (
        b"ab\n\xe6\x97",
        "names.txt, line 2, character 1: ends in the middle of a character (bytes E6 97)\n"
        "It seems to be cut off: fetch it again.",
    ),
    (
        b"a\r\n\xed\xa0\x80b",
        "names.txt, line 2, character 1: the bytes ED A0 80 are U+D800 lone surrogate, which is not valid UTF-8\n"
        "Whatever wrote it took a character apart, as UTF-16 does; export it again as UTF-8.",
    ),
    (
        b"\xc0\x80",
        "names.txt, line 1, character 1: the byte 0xC0 is not valid UTF-8; it looks like Latin-1 or another older"
        f" encoding\n{LATIN1_REMEDY}",
    ),
    (
        b"a\r\xff\x01\x02",
        f"names.txt, line 2, character 1: the byte 0xFF is not valid UTF-8\n{BINARY_REMEDY}",
    ),
    (
        b"PK\x03\x04\x14\0",
        "names.txt: is a zip archive\nUnpack it first; gzip and xz are unpacked here.",
    ),
    (
        b"\x28\xb5\x2f\xfd\x04\0",
        "names.txt: is a zstd archive\nUnpack it first; gzip and xz are unpacked here.",
    ),
    (
        b"BZh91AY&SY",
        "names.txt: is a bzip2 archive\nUnpack it first; gzip and xz are unpacked here.",
    ),
]
WIDE = [
    (
        "anna\nbob\n".encode("utf-16"),
        f"names.txt, line 1, character 1: the byte 0xFF is not valid UTF-8; it looks like UTF-16\n{UTF16_REMEDY}",
    ),
    (
        "anna\nbob\n".encode("utf-32"),
        "names.txt, line 1, character 1: the byte 0xFF is not valid UTF-8; it looks like UTF-32\n"
        + UTF16_REMEDY.replace("16", "32"),
    ),
    (
        "anna\nbob\n".encode("utf-16-le"),
        "names.txt, line 1, character 2: holds the control character U+0000; it looks like UTF-16LE\n"
        + UTF16_REMEDY.replace("16", "16LE"),
    ),
    (
        "anna\nbob\n".encode("utf-16-be"),
        "names.txt, line 1, character 1: holds the control character U+0000; it looks like UTF-16BE\n"
        + UTF16_REMEDY.replace("16", "16BE"),
    ),
]


class TestNastyFiles:
    @pytest.mark.parametrize(("content", "message"), NASTY)
    @pytest.mark.usefixtures("chunk")
    def test_any_chunk(self, file: Callable[..., str], content: bytes, message: str) -> None:
        assert str(error_of(file(content))) == message

    @pytest.mark.parametrize(("content", "message"), WIDE)
    def test_wide_encodings(self, file: Callable[..., str], content: bytes, message: str) -> None:
        assert str(error_of(file(content))) == message

    def test_a_byte_order_mark_stands_at_the_start(
        self, file: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(decoding, "CHUNK", 8)
        assert "UTF-16" not in error_of(file(b"abcdefgh\xff\xfe")).fact

    @pytest.mark.parametrize(("content", "message"), [case for case in NASTY if ", line " in case[1]])
    def test_text_has_the_same_errors(self, file: Callable[..., str], content: bytes, message: str) -> None:
        assert str(error_of(file(content), unit="text")) == message

    @pytest.mark.parametrize("blank", [b"", b"\n\n", b" \t\r\n"])
    def test_blank_text(self, file: Callable[..., str], blank: bytes) -> None:
        assert error_of(file(blank), unit="text").where == "names.txt"

    @pytest.mark.parametrize("shift", range(4))
    def test_at_the_edge_of_a_real_chunk(self, file: Callable[..., str], shift: int) -> None:
        start = b"a\n" * (decoding.CHUNK // 2 - 1)  # Two bytes short of a whole chunk.
        good = start + b"x" * shift + "日本\n".encode()
        assert items_of(file(good))[-1] == "x" * shift + "日本"
        bad = error_of(file(start + b"x" * shift + b"\xe6\x97\n"))
        line = decoding.CHUNK // 2
        assert bad.where == f"names.txt, line {line}, character {shift + 1}"
        assert bad.fact.startswith("the byte 0xE6 is not valid UTF-8")

    @pytest.mark.parametrize("chunk_size", ANY_CHUNK[1:])
    def test_long_lines(self, file: Callable[..., str], monkeypatch: pytest.MonkeyPatch, chunk_size: int) -> None:
        monkeypatch.setattr(decoding, "CHUNK", chunk_size)
        assert items_of(file("é\nжжжж\n".encode()), max_line=4) == ["é", "жжжж"]
        assert str(error_of(file("é\nжжжжж\n\nb".encode()), max_line=4)) == (
            "names.txt, line 2: the line has 5 characters; at most 4 are accepted\n"
            "Raise --max-line, or read it all as one text with --unit text."
        )
        assert error_of(file(b"\n\nabcdefgh"), max_line=4).where == "names.txt, line 3"
        assert "has 8 characters" in error_of(file(b"\n\nabcdefgh"), max_line=4).fact

    def test_a_line_that_folding_makes_too_long(self, file: Callable[..., str]) -> None:
        name = file("a\nßß".encode())
        assert items_of(name, case="fold", max_line=4) == ["a", "ssss"]
        error = error_of(name, case="fold", max_line=3)
        assert (error.where, error.fact) == (
            "names.txt, line 2",
            "the line has 4 characters; at most 3 are accepted",
        )

    def test_what_is_wrong_first_is_reported(self, file: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoding, "CHUNK", 8)
        assert error_of(file(b"a\nabcdefghijklmnop\0"), max_line=4).fact.startswith("the line has at least ")
        assert error_of(file(b"ab\0\xff")).fact == "holds the control character U+0000"
        assert error_of(file(b"ab\xff\0")).fact.startswith("the byte 0xFF")

    def test_a_line_of_millions_of_characters_is_not_held(self, file: Callable[..., str]) -> None:
        name = file(b"b\n" + b"a" * 20_000_000 + b"\nc")
        tracemalloc.start()
        error = error_of(name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert error.where == "names.txt, line 2"
        assert error.fact == "the line has 20,000,000 characters; at most 10,000 are accepted"
        assert peak < 8 * decoding.CHUNK

    def test_a_line_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Endless(io.RawIOBase):
            def readinto(self, buffer: memoryview) -> int:
                buffer[:] = b"a" * len(buffer)
                return len(buffer)

        monkeypatch.setattr(corpus_module, "_COUNTED_LENGTH", 3 << 20)
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Endless()}))
        assert str(error_of("-")).startswith("standard input, line 1: the line has more than 3,145,728 ")


class TestSources:
    def test_missing(self, file: Callable[..., str]) -> None:
        file(b"a")
        assert str(error_of("nmes.txt")) == (
            "nmes.txt: there is no such file\nCheck the path, or leave --data out for the built-in names (ssa-2018)."
        )

    def test_folder(self, tmp_path: Path) -> None:
        assert str(error_of(str(tmp_path))) == f"{tmp_path}: is a folder, not a file\nName one file in it."

    def test_no_permission(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
        assert error_of("names.txt").fact == "may not be read: permission denied"

    def test_a_name_that_no_file_can_have(self) -> None:
        error = error_of("a\0\n\udcff.txt")
        assert str(error).startswith(r"a\x00\n\udcff.txt: cannot be read (embedded null byte)")

    def test_a_disk_that_fails(self, file: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(decoding._Rejoined, "readinto", fail)
        assert error_of(file(b"anna")).fact == "cannot be read ([Errno 5] Input/output error)"

    @pytest.mark.parametrize(
        ("name", "short"),
        [
            ("names.txt", "names"),
            ("names.txt.gz", "names"),
            ("names.xz", "names"),
            ("names.csv", "names.csv"),
            (".txt", ".txt"),
            ("a.b.txt", "a.b"),
        ],
    )
    def test_short_name(self, file: Callable[..., str], name: str, short: str) -> None:
        pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(name[-3:], bytes)
        assert load(DataConfig(data=file(pack(b"a"), name))).name == short

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(b"anna\n\nbob")))
        monkeypatch.setattr(sys, "stdin", stdin)
        corpus = load(DataConfig(data="-"))
        assert (corpus.items, corpus.name, corpus.source) == (["anna", "bob"], "stdin", "-")
        assert corpus.place(1, 0) == "standard input, line 3, character 1"
        assert not stdin.closed

    @pytest.mark.parametrize("head", [b"", b"a", b"anna\nbob\n"])
    def test_short_input(self, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(head)))
        if head:
            assert items_of("-") == head.decode().split()
        else:
            assert error_of("-").where == "standard input"

    def test_no_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert error_of("-").fact == "cannot be read (there is no standard input)"

    def test_remedy_without_a_plain_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("anna".encode("utf-16"))))
        assert error_of("-").remedy == "Convert it: iconv -f UTF-16 -t UTF-8"


@pytest.mark.parametrize(("pack", "extension"), [(gzip.compress, ".gz"), (lzma.compress, ".xz")])
class TestArchives:
    CONTENT = "anna\nжж\n".encode() * 1000

    @pytest.mark.usefixtures("chunk")
    def test_by_content_whatever_the_name(
        self, file: Callable[..., str], pack: Callable[[bytes], bytes], extension: str
    ) -> None:
        content = "anna\nжж\n".encode()
        assert items_of(file(pack(content), "names.txt" + extension)) == ["anna", "жж"]
        assert items_of(file(pack(content), "names")) == ["anna", "жж"]
        assert items_of(file(pack(content) + pack(content), "two")) == ["anna", "жж"] * 2

    def test_cut_off_anywhere(self, file: Callable[..., str], pack: Callable[[bytes], bytes], extension: str) -> None:
        packed = pack(self.CONTENT)
        for length in range(6, len(packed)):
            error = error_of(file(packed[:length], "names" + extension))
            assert (error.where, error.fact) == (f"names{extension}", "the archive is cut off")

    def test_damaged(self, file: Callable[..., str], pack: Callable[[bytes], bytes], extension: str) -> None:
        packed = bytearray(pack(self.CONTENT))
        for place in (len(packed) // 2, -3):
            damaged = packed.copy()
            damaged[place] ^= 0xFF
            error = error_of(file(bytes(damaged), "names" + extension))
            assert error.fact.startswith("the archive is damaged (") or error.fact == "the archive is cut off"

    def test_not_what_the_name_says(
        self, file: Callable[..., str], pack: Callable[[bytes], bytes], extension: str
    ) -> None:
        archive = {".gz": "gzip", ".xz": "xz"}[extension]
        error = error_of(file(b"anna\nbob", "names" + extension))
        assert (error.where, error.fact) == (f"names{extension}", f"is called {extension} but holds no {archive} data")
        assert error_of(file(b"", "names" + extension)).fact == f"is called {extension} but is empty"
        assert error_of(file(pack(b""), "names" + extension)).fact == "is empty"
        assert error_of(file(pack(b"a\0"), "names" + extension)).where == f"names{extension}, line 1, character 2"


class TestFromItems:
    def test_policy_is_that_of_lines(self) -> None:
        corpus = Corpus.from_items(iter([" Anna", "", "e\u0301 "]), name="list", config=DataConfig(case="lower"))
        assert corpus.items == ["anna", "é"]
        assert (corpus.name, corpus.lines_read, corpus.blank_lines) == ("list", 3, 1)
        assert corpus.place(1, 0) == "list, item 3, character 1"

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            ("a\nb", "items, item 2, character 2: holds U+000A control"),
            ("a\r", "items, item 2, character 2: holds U+000D control"),
            ("\0", "items, item 2, character 1: holds U+0000 control"),
            ("ab\ud800", "items, item 2, character 3: holds U+D800 lone surrogate"),
            (7, "items, item 2: is of type int, not a string"),
            ("x" * 10_001, "items, item 2: the item has 10,001 characters; at most 10,000 are accepted"),
        ],
    )
    def test_faults_name_the_item(self, monkeypatch: pytest.MonkeyPatch, item: object, message: str) -> None:
        for batch in (1, 2, 3):
            monkeypatch.setattr(corpus_module, "_BATCH", batch)
            with pytest.raises(DataError) as caught:
                Corpus.from_items(["fine", item, "fine"])
            assert str(caught.value).splitlines()[0] == message

    @pytest.mark.parametrize(("items", "fact"), [([], "is empty"), (["", " "], r"holds only blank items \(2\)")])
    def test_nothing(self, items: list[str], fact: str) -> None:
        with pytest.raises(DataError, match=f"^items: {fact}"):
            Corpus.from_items(items)

    def test_one_string_is_no_list(self) -> None:
        with pytest.raises(DataError, match="the items are one string"):
            Corpus.from_items("anna")

    def test_text(self) -> None:
        config = DataConfig(unit="text")
        assert Corpus.from_items(["a\r\nb\r"], config=config).items == ["a\nb\n"]
        with pytest.raises(DataError, match="2 items for unit text"):
            Corpus.from_items(["a", "b"], config=config)
        with pytest.raises(DataError, match="character 2: holds U\\+0000"):
            Corpus.from_items(["a\0"], config=config)
        with pytest.raises(DataError, match="is empty"):
            Corpus.from_items([""], config=config)


class TestBuiltin:
    def test_names(self) -> None:
        corpus = load(DataConfig())
        assert (len(corpus.items), len(set(corpus.items)), corpus.blank_lines) == (32_178, 29_619, 0)
        assert corpus.items[:3] == ["emma", "olivia", "ava"]
        assert corpus.items[-1] == "zzyzx"
        assert set("".join(corpus.items)) == set("abcdefghijklmnopqrstuvwxyz")
        assert corpus.place(5, 2) == "ssa-2018, line 6, character 3"

    def test_as_text(self) -> None:
        text = load(DataConfig(unit="text")).items[0]
        assert text == "".join(f"{item}\n" for item in load(DataConfig()).items)

    def test_checksum_stands_in_the_provenance(self) -> None:
        folder = Path(corpus_module.__file__).parent / "data"
        provenance = (folder / "PROVENANCE.md").read_text()
        packed = (folder / "yob2018.txt.xz").read_bytes()
        assert corpus_module.BUILTIN_SHA256 in provenance
        assert hashlib.sha256(packed).hexdigest() in provenance

    @pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
    def test_damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
        packed = (Path(corpus_module.__file__).parent / "data" / "yob2018.txt.xz").read_bytes()
        (tmp_path / "data").mkdir()
        if damage != "missing":
            changed = lzma.compress(lzma.decompress(packed).replace(b"Emma", b"Emmy"))
            (tmp_path / "data" / "yob2018.txt.xz").write_bytes(packed[:-9] if damage == "cut" else changed)
        monkeypatch.setattr(corpus_module, "files", lambda _: tmp_path)
        error = error_of("ssa-2018")
        assert error.fact.startswith("the built-in names ")
        assert error.remedy == "The installation is damaged: install charloom again."


class TestSha256:
    def test_is_that_of_a_clean_file(self, parity_names: Path) -> None:
        corpus = load(DataConfig(data=str(parity_names)))
        assert corpus.sha256 == hashlib.sha256(parity_names.read_bytes()).hexdigest()

    def test_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        items = ["a", "ж", "c", "d", "e"]
        for batch in (1, 2, 5, 6):
            monkeypatch.setattr(corpus_module, "_BATCH", batch)
            assert Corpus.from_items(items).sha256 == hashlib.sha256("a\nж\nc\nd\ne".encode()).hexdigest()


def plain_items(content: bytes, config: DataConfig) -> list[str] | None:
    """The policy in the plainest words, for all of the bytes at once; `None` where it refuses them."""
    try:
        text = content.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        return None
    if any((character < " " and character not in "\t\n\v\f") or character == "\x7f" for character in text):
        return None
    change = {"keep": str, "lower": str.lower, "fold": str.casefold}[config.case]
    form = (lambda line: unicodedata.normalize("NFC", line)) if config.normalize == "nfc" else str
    raw = [text] if config.unit == "text" else text.split("\n")
    items = [form(change(form(line))) for line in raw]
    if config.unit == "text":
        return items if items[0].strip() else None
    if max(map(len, raw + items)) > config.max_line:
        return None
    return [item for item in (item.strip() if config.strip else item for item in items) if item] or None


nasty_characters = st.one_of(
    st.sampled_from("abΣσßİ\u0390e\u0301\u0345\n\r\t\v\f\ufeff\x85\u2028 \u3000\u200d\0\x1b.😀"), st.characters()
)
contents = st.one_of(
    st.text(nasty_characters, max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xe6", b"\x97", b"\xa5", b"\xed\xa0\x80", b"\xef\xbb\xbf"])).map(
        b"".join
    ),
    st.binary(max_size=30),
)
configs = st.builds(
    DataConfig,
    data=st.just("-"),
    unit=st.sampled_from(["line", "text"]),
    case=st.sampled_from(["keep", "lower", "fold"]),
    normalize=st.sampled_from(["nfc", "none"]),
    strip=st.booleans(),
    max_line=st.sampled_from([3, 10_000]),
)


def load_bytes(content: bytes, config: DataConfig, chunk_size: int = 1 << 20) -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "CHUNK", chunk_size)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return load(config)


class TestProperties:
    @given(contents, configs, st.integers(1, 9))
    @example(b"a\r\nb", DataConfig(data="-"), 2)
    def test_equals_the_plain_policy(self, content: bytes, config: DataConfig, chunk_size: int) -> None:
        expected = plain_items(content, config)
        if expected is None or content.startswith((b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")):
            with pytest.raises(DataError):
                load_bytes(content, config, chunk_size)
        else:
            assert load_bytes(content, config, chunk_size).items == expected

    @given(contents, configs, st.integers(1, 9))
    def test_errors_do_not_depend_on_chunks(self, content: bytes, config: DataConfig, chunk_size: int) -> None:
        found = []
        for size in (chunk_size, 1 << 20):
            try:
                load_bytes(content, config, size)
            except DataError as error:
                found.append((error.where, error.fact.split(";")[0]))  # Without the guess at the encoding.
        assert found[1:] == found[:1]

    @given(contents, configs)
    def test_items_written_out_are_read_again(self, content: bytes, config: DataConfig) -> None:
        try:
            items = load_bytes(content, config).items
        except DataError:
            return
        assert load_bytes("\n".join(items).encode("utf-8-sig"), config).items == items
        assert Corpus.from_items(items, config=config).items == items

    @given(contents, configs)
    def test_errors_can_be_printed(self, content: bytes, config: DataConfig) -> None:
        caught = None
        try:
            load_bytes(content, config)
        except DataError as error:
            caught = error
        if caught:
            assert caught.where
            assert caught.remedy
            assert all(character.isprintable() or character == "\n" for character in str(caught))

"""How fast n-grams are counted from a file, end to end, and in how much memory. Alone: `python -m speedbench.counting`.

A file of a gigabyte is made of the names of a list, in turn from another place each time, and counted in a fresh
process, with the file in the page cache. The first count of a process has numba to load; the second has not. All counts
are compared with those of a dictionary.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charloom.config import DataConfig
from charloom.corpus import load
from speedbench.timing import memory_read

GIGABYTE = 1_000_000_000
CHILD = """
import json, re, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from charloom import counting
from charloom.config import DataConfig
if sys.argv[4] == "numpy":
    counting._why_not_compiled = lambda: "the benchmark wants it so"
seconds = []
for _ in range(int(sys.argv[5])):
    started = time.perf_counter()
    found = counting.count_file(DataConfig(data=sys.argv[1]), int(sys.argv[2]), threads=int(sys.argv[3]) or None)
    seconds.append(time.perf_counter() - started)
grams = [["".join(one or "." for one in gram.characters), gram.count] for gram in found.most_common()]
# Not getrusage: what that says is at least the memory of the process that started this one.
peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
result = {"seconds": seconds, "bytes": found.bytes_read, "peak": peak * 1024, "grams": grams}
print(json.dumps(result))
"""


def make_file(path: Path, names: list[str], size: int, seed: int = 0) -> int:
    """Write all names again and again, beginning anywhere, until there are ``size`` bytes; how often."""
    random_place = random.Random(seed)
    written = passes = 0
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else open(path, "wb") as file:
        while written < size:
            first = random_place.randrange(len(names))
            written += file.write("".join(f"{name}\n" for name in names[first:] + names[:first]).encode())
            passes += 1
    return passes


def by_dictionary(names: Iterable[str], order: int, passes: int) -> dict[str, int]:
    """The n-grams of the names, with ``.`` for the marker, each counted ``passes`` times."""
    counts: Counter[str] = Counter()
    for name in names:
        padded = "." * (order - 1) + name + "."
        counts.update(padded[start : start + order] for start in range(len(name) + 1))
    return {gram: count * passes for gram, count in counts.items()}


def measure(path: Path, order: int, *, threads: int, engine: str = "numba", rounds: int = 5) -> dict[str, Any]:
    """Count in a fresh process: bytes a second of the first count and of the fastest later one; bytes of memory."""
    arguments = [sys.executable, "-c", CHILD, str(path), str(order), str(threads), engine, str(rounds)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    first, *others = (result["bytes"] / seconds for seconds in result["seconds"])
    return {
        "grams": dict(result["grams"]),
        "first": first,
        "median": sorted(others)[len(others) // 2] if others else first,
        "best": max(others, default=first),
        "peak": result["peak"],
    }


def counting(names: list[str], size: int = GIGABYTE, rounds: int = 5) -> list[dict[str, Any]]:
    """Every case with one thread and all: bytes a second, bytes of memory, and whether the counts are right."""
    cyrillic = ["".join(chr(0x430 + ord(letter) % 32) for letter in name) for name in names]
    accented = [f"é{name}" if number % 20 == 0 else name for number, name in enumerate(names)]
    cases: list[tuple[str, str, list[str], int, int, str]] = [
        ("ASCII", "ascii.txt", names, size, 2, "numba"),
        ("ASCII", "ascii.txt", names, size, 3, "numba"),
        ("ASCII", "ascii.txt", names, size, 5, "numba"),
        ("one line in 20 with é", "accented.txt", accented, size // 4, 2, "numba"),
        ("Cyrillic", "cyrillic.txt", cyrillic, size // 4, 2, "numba"),
        ("ASCII, gzip", "ascii.gz", names, size // 4, 2, "numba"),
        ("ASCII, without numba", "short.txt", names, size // 10, 2, "numpy"),
        ("ASCII, without numba", "short.txt", names, size // 10, 5, "numpy"),
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, int] = {}
        for what, file, items, length, order, engine in cases:
            path = Path(folder) / file
            if file not in made:
                made[file] = make_file(path, items, length)
            expected = by_dictionary(items, order, made[file])
            for threads in (1, 0):
                measured = measure(
                    path, order, threads=threads, engine=engine, rounds=rounds if engine == "numba" else 2
                )
                right = measured.pop("grams") == expected
                rows.append({"what": what, "order": order, "threads": threads or "all", "right": right} | measured)
    return rows


def counting_lines(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each."""
    memory = memory_read()
    made = [
        f"one thread reads memory at {memory / 1e6:,.0f} MB/s; share: of that, one thread's best",
        f"{'':24}order  threads   MB/s: median    best   first count    peak MB  share  right",
    ]
    for row in rows:
        median, best, first, peak = (row[name] / 1e6 for name in ("median", "best", "first", "peak"))
        made.append(
            f"{row['what']:24}{row['order']:5}  {row['threads']!s:>7}  {median:14,.0f}{best:8,.0f}"
            f"{first:14,.0f}{peak:11,.0f}"
            f"{f'{1e6 * best / memory:.0%}' if row['threads'] == 1 else '':>7}  {row['right']}"
        )
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", default=None, help="a list of names in small letters a to z (default: the built-in ones)"
    )
    parser.add_argument("--bytes", type=int, default=GIGABYTE, help="size of the largest file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = load(DataConfig() if options.data is None else DataConfig(data=options.data)).items
    rows = counting(names, options.bytes, options.rounds)
    print(json.dumps(rows, indent=2)) if options.json else print("\n".join(counting_lines(rows)))
    print(f"names: {len(names):,}, SHA-256 {hashlib.sha256(chr(10).join(names).encode()).hexdigest()}", file=sys.stderr)


if __name__ == "__main__":
    main()

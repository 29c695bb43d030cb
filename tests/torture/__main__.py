"""`./lab torture`: what must never go wrong, tried at length, and the table of it."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence

from torture.shown import Effort, Part, Shown

INTERRUPTED = 130
PARTS = {
    "kills": "trainings of every family killed at random times, and gone on with",
    "crash_points": "death before, in and after every file operation; power loss; both, one point after the other",
    "writers": "several writers, moved and copied runs, clocks that jump",
    "determinism": "the same weights from process to process, and where not",
    "disks": "full and read-only disks",
    "damage": "damaged files of every kind that is read back",
    "poison": "files that would run something if they were unpickled, evaluated or imported",
    "fuzzing": "coverage-guided fuzzing of everything that reads",
    "texts": "malformed text",
    "terminals": "odd terminals, closed pipes, signals",
    "pages": "hostile names in every field of every page, opened in a browser",
    "watchers": "a watch whose every function fails",
    "memory": "peak memory at growing sizes",
    "suites": "the tests of the suite that hold a promise by themselves",
    "network": "every command without a network",
    "supply": "pins, hashes, licences, advisories",
}
EFFORTS = {
    "kills": "kills at random times, of all families and engines together (%(default)s)",
    "damages": "damaged files, and a tenth as many faults of a watch (%(default)s)",
    "texts": "texts made at random (%(default)s)",
    "fuzz_seconds": "seconds of fuzzing of each target (%(default)s)",
    "megabytes": "the largest input whose memory is measured (%(default)s)",
    "seed": "of all that is drawn at random (%(default)s)",
}
PROMISES = {
    1: "A killed training loses at most the steps since its last checkpoint and goes on bit-exactly",
    2: "The crash tests bite",
    3: "Every crash point is covered",
    4: "Bit-exactness is promised for the same threads, versions and device only; a change warns",
    5: "A damaged file is refused and changes nothing",
    6: "Nothing is ever unpickled or evaluated",
    7: "A full or read-only disk: the last checkpoint stands, and no success is claimed",
    8: "Bad text gets a clear error, or is read by a stated policy",
    9: "Memory is bounded",
    10: "Numbers are right",
    11: "Watching changes nothing, and never ends a training",
    12: "A report of hostile names is harmless",
    13: "Ctrl-C stops cleanly",
    14: "Nothing is asked of a network, and what is installed is known",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what was asked for, say how it went; 1 where something failed."""
    options = _options(arguments)
    if options.mutants:
        return _mutants(options)
    effort = Effort(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Effort)})
    rows: list[tuple[str, Shown]] = []
    for name in options.parts or PARTS:
        _say(f"{name}: {PARTS[name]}")
        part: Part = importlib.import_module(f"torture.{name}")  # type: ignore[assignment]
        began = time.perf_counter()
        try:
            for shown in part.show(effort, _say):
                rows.append((name, shown))
                _say(f"  {shown.what}: {_outcome(shown)}")
        except KeyboardInterrupt:
            _say("Interrupted; what was tried so far:")
            _print_table(rows)
            return INTERRUPTED
        _say(f"  {time.perf_counter() - began:.0f} s")
    if options.json:
        print(json.dumps([{"part": name} | dataclasses.asdict(shown) for name, shown in rows], indent=2))
    else:
        _print_table(rows)
    return int(any(shown.failures for _, shown in rows))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    listed = "\n".join(f"  {name:14}{said}" for name, said in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="./lab torture",
        description="Try what must never go wrong. All parts together take one to two hours on two cores.",
        epilog=f"parts:\n{listed}\n\nfor example:\n  ./lab torture kills --kills 500\n  ./lab torture --mutants",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="which parts; all, if none is named")
    for field in dataclasses.fields(Effort):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=field.default, metavar="N", help=EFFORTS[field.name])
    parser.add_argument(
        "--mutants", action="store_true", help="break the code, and see that a test fails, in place of all that"
    )
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="mutants side by side"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="the mutants with this in their description, file or test"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output in place of a table")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; parts: {', '.join(PARTS)}")
    return options


def _mutants(options: argparse.Namespace) -> int:
    from torture.mutants.running import every_mutant, try_all

    mutants = [one for one in every_mutant() if any(options.only in text for text in (one.what, one.file, one.test))]
    tried = []
    for number, one in enumerate(try_all(mutants, options.jobs), 1):
        tried.append(one)
        _say(f"{number} of {len(mutants)}  {one.mutant.what}: {'caught' if one.caught else f'NOT CAUGHT, {one.said}'}")
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in tried], indent=2))
    else:
        print("| promise | broken | caught by |\n|---|---|---|")
        for one in tried:
            by = f"`{one.mutant.test}`" if one.caught else f"**not caught**: {one.said}"
            print(f"| {one.mutant.promise} | {one.mutant.what} (`{one.mutant.file}`) | {by} |")
        print(f"\n{sum(one.caught for one in tried)} of {len(tried)} mutants caught")
    return int(not all(one.caught for one in tried))


def _print_table(rows: Sequence[tuple[str, Shown]]) -> None:
    print("| # | promise | tried | outcome | command |\n|---|---|---|---|---|")
    for promise, said in PROMISES.items():
        for name, shown in (row for row in rows if row[1].promise == promise):
            tried = f"{shown.count:,} {shown.what}" if shown.count else shown.what
            print(f"| {promise} | {said} | {tried} | {_outcome(shown)} | `./lab torture {name}` |")
    failed = [(name, failure) for name, shown in rows for failure in shown.failures]
    for name, failure in failed:
        print(f"\n{name}: {failure}")
    print(f"\n{len(failed)} failures" if failed else "\nall promises held")


def _outcome(shown: Shown) -> str:
    if shown.skipped:
        return f"not tried: {shown.skipped}"
    if shown.failures:
        return f"**{len(shown.failures)} of {shown.count:,} FAILED**"
    return f"{shown.count:,} held" + (f"; {shown.figures}" if shown.figures else "")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

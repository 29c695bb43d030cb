"""The command `telltales`: shows, judges, compares and draws the records that trainings leave. Needs no torch.

What takes long to import is imported where it is used, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from telltales import __version__
from telltales.errors import RecordError, TelltalesError, UsageError
from telltales.files import replacing

if TYPE_CHECKING:
    from telltales.record import Record

RECORD_NAME = "record.jsonl"
RECORD_HELP = f"a .jsonl file that a watched training wrote, or a folder that holds one {RECORD_NAME}"
VERDICT_STATUS = {None: 0, "note": 0, "warning": 3, "error": 4}
"""The exit status of `judge` by the worst finding that is still there."""
INTERRUPTED = 130
"""The exit status that shells give for Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments``, or those of the process; its exit status.

    0 for success, 1 for what failed, 2 for misuse, 3 and 4 for warnings and errors that `judge` finds; where argparse
    finds the misuse it raises `SystemExit`. Results go to standard output, messages to standard error.
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int | None] = options.run
    try:
        return run(options) or 0
    except TelltalesError as error:
        _complain(error)
        return error.exit_status
    except BrokenPipeError:
        # Whoever reads the output has seen enough.
        _drop_output()
    except OSError as error:
        place = None if error.filename is None else str(error.filename)
        _complain(RecordError(error.strerror or str(error), where=place))
        _drop_output()
        return RecordError.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def show(options: argparse.Namespace) -> None:
    """Print what is in a record."""
    (record,) = read_records([options.record]).values()
    if options.json:
        from telltales.report.summary import summary_json

        _print_json(summary_json(record))
    else:
        from telltales.report.terminal import summary_text

        _print(summary_text(record, _width()))


def judge(options: argparse.Namespace) -> int:
    """Print what is wrong with trainings; the exit status says how bad the worst is."""
    from telltales.finding import worst
    from telltales.verdicts import judge as findings_of

    records = read_records(options.records)
    found = {label: findings_of(record, mute=options.mute) for label, record in records.items()}
    if options.sarif is not None:
        from telltales.verdicts.sarif import sarif

        paths = [str(find_record(Path(argument))) for argument in options.records]
        log = sarif(dict(zip(paths, found.values(), strict=True)), __version__)
        with replacing(Path(options.sarif)) as file:
            file.write(json.dumps(log, indent=2, allow_nan=False).encode() + b"\n")
        _say(f"Wrote {options.sarif}")
    if options.json:
        _print_json({label: [finding.as_json() for finding in findings] for label, findings in found.items()})
    else:
        from telltales.report.findings import findings_text

        several = len(found) > 1
        _print(
            "\n".join(
                findings_text(findings, records[label], label if several else None, _width())
                for label, findings in found.items()
            )
        )
    return VERDICT_STATUS[worst(finding for findings in found.values() for finding in findings)]


def compare(options: argparse.Namespace) -> None:
    """Print what differs between records, and draw them side by side if asked to."""
    from telltales.report import comparing

    if len(options.records) < 2:
        raise UsageError("a comparison needs two records and was given one", remedy="telltales compare A B")
    records = read_records(options.records)
    comparison = comparing.compare(records)
    if options.html is not None:
        _write_report(options.html, records, None)
    if options.json:
        _print_json(comparison.as_json())
    else:
        _print(comparing.comparison_text(comparison, _width()))


def report(options: argparse.Namespace) -> None:
    """Draw records as one HTML file."""
    _write_report(options.html, read_records(options.records), options.title)


def read_records(arguments: Sequence[str]) -> dict[str, Record]:
    """Label → record. Raises `RecordError` for what can't be read, `UsageError` for a folder of several."""
    from telltales.record_file import read_record

    paths = [find_record(Path(argument)) for argument in arguments]
    return {label: read_record(path) for label, path in zip(labels(paths), paths, strict=True)}


def find_record(path: Path) -> Path:
    """The record file that ``path`` is, or the one in that folder or, if none is there, in one of its folders."""
    if not path.exists():
        raise RecordError("there is no such file or folder", where=str(path), remedy=f"Give {RECORD_HELP}.")
    if not path.is_dir():
        return path
    if (path / RECORD_NAME).exists():
        return path / RECORD_NAME
    found = sorted(path.glob(f"*/{RECORD_NAME}"))
    if not found:
        others = sorted(other.name for other in path.glob("*.jsonl"))
        remedy = f"It holds {', '.join(others[:5])}: name one." if others else f"Give {RECORD_HELP}."
        raise RecordError(f"no {RECORD_NAME} is in this folder", where=str(path), remedy=remedy)
    if len(found) > 1:
        some = ", ".join(str(other) for other in found[:5]) + (", …" if len(found) > 5 else "")
        raise UsageError(f"this folder holds {len(found)} records", where=str(path), remedy=f"Name one: {some}.")
    return found[0]


def labels(paths: Sequence[Path]) -> list[str]:
    """A name for each record file, no two the same: its own or its folder's, and the folders before if need be."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    parts = [(path.parent if path.name == RECORD_NAME else path.with_suffix("")).parts for path in absolute]
    different = list(dict.fromkeys(parts))
    short = [own[-1] for own in different]
    for length in range(2, max(map(len, different), default=0) + 1):
        short = [
            "/".join(own[-length:]) if short.count(name) > 1 else name
            for name, own in zip(short, different, strict=True)
        ]
    names: list[str] = []
    for own in parts:
        name = short[different.index(own)]
        # The same file twice: a record may well be compared with itself.
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        names.append(next(other for other in itertools.chain([name], numbered) if other not in names))
    return names


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as the other errors are said."""

    def error(self, message: str) -> NoReturn:
        from telltales.visible import visible

        self.exit(UsageError.exit_status, f"{self.format_usage()}telltales: error: {visible(message)}\n")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        "telltales",
        description="Shows, judges, compares and draws the records that watched trainings leave.",
        epilog="example:\n  telltales show run.jsonl",
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"telltales {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Callable[[argparse.Namespace], int | None], what: str, example: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            run.__name__,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            epilog=f"example:\n  telltales {run.__name__} {example}",
            formatter_class=raw,
            allow_abbrev=False,
        )
        added.set_defaults(run=run)
        return added

    one = command(show, "print what a training did: its loss, its gradients, its layers", "runs/first")
    one.add_argument("record", metavar="RECORD", help=RECORD_HELP)
    one.add_argument("--json", action="store_true", help="print JSON, with all layers")
    judged = command(judge, "say what is wrong with trainings: exit status 3 for warnings, 4 for errors", "runs/first")
    judged.add_argument("records", metavar="RECORD", nargs="+", help=RECORD_HELP)
    judged.add_argument("--json", action="store_true", help="print JSON, with all numbers")
    judged.add_argument("--sarif", metavar="OUT", help="write SARIF 2.1.0, for code hosts, to this file as well")
    judged.add_argument(
        "--mute",
        metavar="ID",
        action="append",
        default=[],
        help="leave a rule out, as dead-relu or dead-relu@encoder.*",
    )
    several = command(compare, "print what differs between trainings", "runs/first runs/second --html compared.html")
    several.add_argument("records", metavar="RECORD", nargs="+", help=RECORD_HELP)
    several.add_argument("--json", action="store_true", help="print JSON, with all that differs")
    several.add_argument("--html", metavar="OUT", help="draw them side by side, too, in this HTML file")
    drawn = command(report, "draw one or more trainings as an HTML file", "runs/first --html report.html")
    drawn.add_argument("records", metavar="RECORD", nargs="+", help=RECORD_HELP)
    drawn.add_argument("--html", metavar="OUT", required=True, help="the file to write; one that is there is replaced")
    drawn.add_argument("--title", help="the heading of the page")
    return parser


def _write_report(path: str, records: dict[str, Record], title: str | None) -> None:
    from telltales.report.html import write_report

    write_report(path, records, title)
    _say(f"Wrote {path}")


def _width() -> int:
    """The terminal's, or one that reads well in a file."""
    return shutil.get_terminal_size(fallback=(100, 24)).columns


def _print_json(content: Any) -> None:
    # Escapes for all but ASCII: it can be read whatever the output's encoding is, and nothing in it moves a cursor.
    _print(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _print(text: str) -> None:
    from telltales.report.sparkline import for_encoding

    if sys.stdout is not None:
        try:
            sys.stdout.write(for_encoding(text, sys.stdout.encoding))
            sys.stdout.flush()
        except OSError as error:
            # A broken pipe stays one: the number decides the type.
            raise OSError(error.errno, error.strerror, "standard output") from error


def _complain(error: TelltalesError) -> None:
    place = f"{error.where}: " if error.where else ""
    _say(f"telltales: error: {place}{error.fact}")
    if error.remedy:
        _say(error.remedy)


def _say(message: str) -> None:
    from telltales.report.sparkline import for_encoding
    from telltales.visible import visible

    if sys.stderr is not None:
        # What was done is done, though nobody reads of it.
        with contextlib.suppress(OSError, ValueError):
            print(for_encoding(visible(message), sys.stderr.encoding), file=sys.stderr, flush=True)


def _drop_output() -> None:
    """Let what could not be written go: Python would try once more at its end, and complain."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return

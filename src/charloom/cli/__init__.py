"""The command line. The commands' own imports are late, so that `charloom --help` need not wait for torch."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError
from rich import markup

from charloom.cli.checking import check
from charloom.cli.console import err, explain, log, out
from charloom.cli.counting import count
from charloom.cli.data import describe
from charloom.cli.experimenting import experiment
from charloom.cli.generating import best, sample, score
from charloom.cli.judging import evaluate, ladder, runs
from charloom.cli.options import with_values
from charloom.cli.quickstart import quickstart
from charloom.cli.recalling import recall
from charloom.cli.streams import drop, open_missing
from charloom.cli.training import find_lr, train
from charloom.errors import CharloomError

MISUSE = 2
INTERRUPTED = 128 + signal.SIGINT

app = App(
    name="charloom",
    help="Train small character-level language models on a text file, and generate more things like those in it.",
    help_epilogue=(
        "Commands that take a run use the latest one unless told otherwise. Results go to standard output, progress and"
        " messages to standard error. Exit status: 0 done, 1 failure, 2 misuse, 130 interrupted."
        " --debug with any command shows the traceback of an error."
    ),
    version=lambda: version("telltales"),
    version_flags=["--version"],
    help_format="plaintext",
    console=out,
    error_console=err,
    suppress_keyboard_interrupt=False,  # It would end without a word.
)
for command in (
    quickstart,
    describe,
    count,
    check,
    train,
    find_lr,
    sample,
    best,
    score,
    evaluate,
    ladder,
    experiment,
    recall,
    runs,
):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = with_values([token for token in tokens if token != "--debug"])
    open_missing()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # A terminal that cannot show a character shows `?`.
    warnings.showwarning = lambda message, *_, **__: log(f"[yellow]Note:[/] {markup.escape(str(message))}")
    try:
        app(tokens, exit_on_error=False, print_error=True, result_action="return_none")
        sys.stdout.flush()
    except CycloptsError:
        sys.exit(MISUSE)
    except CharloomError as error:
        if debug:
            raise
        explain(error)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        if debug:
            raise
        log("Interrupted.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output is gone, as with `| head`. Nothing is left to say, nor to flush at exit.
        drop(sys.stdout)
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        drop(sys.stdout)
        explain(CharloomError(error.strerror or str(error), where=str(error.filename or "standard output")))
        sys.exit(CharloomError.exit_status)

"""What reads text by the policy, and what keeps commands alive in odd surroundings, broken."""

from __future__ import annotations

from torture.mutants import Mutant

DECODING, CORPUS, STREAMS = "src/charloom/decoding.py", "src/charloom/corpus.py", "src/charloom/cli/streams.py"
PROGRESS = "src/charloom/cli/progress.py"
RANDOM = "tests/torture/test_texts.py::test_texts_made_at_random_are_read_by_the_policy_on_every_path"
POLICY = "tests/torture/test_texts.py::test_the_policy"
HANG_UP = "tests/torture/test_terminals.py::TestHangUp"
STREAM_TESTS = "tests/torture/test_terminals.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "control characters are read",
        8,
        DECODING,
        'CONTROL = re.compile(r"[\\x00-\\x08\\x0e-\\x1f\\x7f]")',
        'CONTROL = re.compile(r"[\\x00]")',
        RANDOM,
    ),
    Mutant(
        "the byte-order mark stays",
        8,
        DECODING,
        'text = text.removeprefix("\\ufeff")',
        "pass",
        POLICY,
    ),
    Mutant(
        "every byte-order mark is dropped",
        8,
        DECODING,
        'text = text.removeprefix("\\ufeff")',
        'text = text.replace("\\ufeff", "")',
        POLICY,
    ),
    Mutant(
        "a carriage return alone is no line end",
        8,
        DECODING,
        '.replace("\\r\\n", "\\n").replace("\\r", "\\n")',
        '.replace("\\r\\n", "\\n")',
        POLICY,
    ),
    Mutant(
        "a carriage return at the end of a piece is a line end of its own",
        8,
        DECODING,
        'held = "\\r" if text.endswith("\\r") and not last and not undecodable else ""',
        'held = ""',
        RANDOM,
    ),
    Mutant(
        "what can't be decoded is replaced",
        8,
        DECODING,
        'codecs.getincrementaldecoder("utf-8")()',
        'codecs.getincrementaldecoder("utf-8")("replace")',
        RANDOM,
    ),
    Mutant(
        "places are counted from the start of the piece",
        8,
        DECODING,
        'len(text) - text.rfind("\\n") if lines else column + len(text)',
        'len(text) - text.rfind("\\n")',
        RANDOM,
    ),
    Mutant(
        "an archive that is cut off is read as far as it goes",
        8,
        DECODING,
        "        cut = isinstance(error, EOFError)\n",
        "        if isinstance(error, EOFError):\n            return\n        cut = False\n",
        "tests/torture/test_texts.py::test_an_archive_whose_first_bytes_are_damaged_is_refused_by_counting",
    ),
    Mutant(
        "text is not composed again after a change of case",
        8,
        CORPUS,
        'return _composed(text.lower() if case == "lower" else text.casefold(), config)',
        'return text.lower() if case == "lower" else text.casefold()',
        RANDOM,
    ),
    Mutant(
        "which line is too long depends on the pieces",
        8,
        CORPUS,
        "if max(lengths) > self._config.max_line:",
        "if lengths[0] > self._config.max_line:",
        "tests/torture/test_texts.py::test_the_first_line_that_is_too_long_is_told_however_it_falls_into_pieces",
    ),
    Mutant(
        "damage in the first bytes of an archive is taken for its end",
        8,
        "src/charloom/counting/pieces.py",
        "held = filter(None, [bytes(memoryview(buffer)[: self._filled])])",
        "held = [bytes(memoryview(buffer)[: self._filled])]",
        "tests/torture/test_texts.py::test_an_archive_whose_first_bytes_are_damaged_is_refused_by_counting",
    ),
    Mutant(
        "closed descriptors are left to whatever is opened next",
        13,
        STREAMS,
        "os.open(os.devnull, os.O_RDWR)  # The lowest number that is free: this one.",
        "continue",
        f"{STREAM_TESTS}::test_closed_descriptors_are_taken_by_nothing",
    ),
    Mutant(
        "messages that nobody reads end a training",
        13,
        STREAMS,
        "        with suppress(OSError, ValueError):\n            self._stream.write(text)\n",
        "        self._stream.write(text)\n",
        f"{STREAM_TESTS}::test_messages_that_nobody_reads_end_nothing",
    ),
    Mutant(
        "a full disk below the results is not told",
        7,
        "src/charloom/cli/__init__.py",
        "        sys.exit(CharloomError.exit_status)",
        "        sys.exit(0)",
        f"{STREAM_TESTS}::test_a_full_disk_below_the_results_is_told",
    ),
    Mutant(
        "a hang-up kills a training",
        13,
        PROGRESS,
        "for number in (signal.SIGINT, signal.SIGTERM, HANG_UP)",
        "for number in (signal.SIGINT, signal.SIGTERM)",
        f"{HANG_UP}::test_it_ends_a_training_with_a_checkpoint_however_often_it_comes",
    ),
    Mutant(
        "a second hang-up kills a training before its checkpoint",
        13,
        PROGRESS,
        "                signal.signal(HANG_UP, signal.SIG_IGN)\n",
        "                pass\n",
        f"{HANG_UP}::test_it_ends_a_training_with_a_checkpoint_however_often_it_comes",
    ),
    Mutant(
        "a hang-up ends a training below nohup",
        13,
        PROGRESS,
        " and (number != HANG_UP or signal.getsignal(number) != signal.SIG_IGN)",
        "",
        f"{HANG_UP}::test_it_does_not_where_it_was_ignored",
    ),
    Mutant(
        "a terminal that is gone keeps the checkpoint from being written",
        13,
        PROGRESS,
        "            with suppress(OSError):\n                os.write(2,",
        "            if True:\n                os.write(2,",
        f"{HANG_UP}::test_the_word_that_cannot_be_said_is_left_out",
    ),
)

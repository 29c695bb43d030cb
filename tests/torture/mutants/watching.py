"""Breaks of what keeps a watch from ending a training, and its memory bounded."""

from __future__ import annotations

from torture.mutants import Mutant

WATCHING = "src/telltales/watching.py"
PROBES = "src/telltales/probes.py"
FUNCTIONS = "src/telltales/functions.py"
TURNS = "src/telltales/turns.py"
OBSERVING = "src/telltales/observing.py"
AUTOMATIC = "src/telltales/automatic.py"
ACTING = "src/telltales/acting.py"
WRITER = "src/telltales/record_file.py"
CAUGHT, NOT_CAUGHT = "except Exception as error:", "except BufferError as error:"
TESTS = "tests/torture/test_watchers.py::"
PART = f"{TESTS}test_a_part_that_fails_is_named_and_the_training_is_untouched"


def _uncaught(what: str, file: str, last: str, test: str) -> Mutant:
    """What is tried ends with the line ``last``; what it raises is caught no more."""
    return Mutant(what, 11, file, f"{last}{CAUGHT}", f"{last}{NOT_CAUGHT}", test)


def _of_part(what: str, file: str, last: str, part: str, said: str = "watching stops at step 0") -> Mutant:
    return _uncaught(what, file, last, f"{PART}[telltales.{part}-{said}]")


FUNCTIONS_OFF = "(functions that modules call)"

MUTANTS: tuple[Mutant, ...] = (
    _of_part("a step that fails", WATCHING, 'close("failed")\n            raise\n        ', "watching.Watch._observe"),
    _of_part(
        "an evaluation that fails",
        WATCHING,
        "                self._raise(finding)\n        except FOR_THE_CALLER:\n            raise\n        ",
        "recording.Recording.evaluate",
        "watching stops at step 1",
    ),
    _of_part(
        "steps passed over that fail",
        WATCHING,
        "                self._arm()\n        except FOR_THE_CALLER:\n            raise\n        ",
        "waiting.WaitingLosses.extend",
        "watching stops at step 4",
    ),
    Mutant(
        "attaching that fails",
        11,
        WATCHING,
        "            if isinstance(error, TelltalesError):\n",
        "            if isinstance(error, Exception):\n",
        f"{PART}[telltales.watching.Watch._placed-watching stops at step 0]",
    ),
    _of_part(
        "a probe that fails",
        PROBES,
        "register_hook(self._see_gradient)  # type: ignore[no-untyped-call]\n        ",
        "probes.ModuleProbe._see",
    ),
    _of_part(
        "a gradient's probe that fails",
        PROBES,
        "self._receiver.gradient(self.watched.name, gradient.detach())\n        ",
        "module_readings.ModuleReadings.gradient",
    ),
    _of_part(
        "entering a module that fails",
        FUNCTIONS,
        "self.probe.enter(self.place, module)\n        ",
        "functions.FunctionProbe.enter",
        FUNCTIONS_OFF,
    ),
    _of_part(
        "leaving a module that fails",
        FUNCTIONS,
        "self.probe.leave()\n        ",
        "functions.FunctionProbe.leave",
        FUNCTIONS_OFF,
    ),
    _of_part(
        "a function's probe that fails",
        FUNCTIONS,
        "self._probe.see(func, args, options, output)\n        ",
        "functions.FunctionProbe.see",
        FUNCTIONS_OFF,
    ),
    _of_part(
        "a backward pass's probe that fails",
        TURNS,
        "self._ended(reached)\n        ",
        "turns.StaleGradients.backward_ended",
    ),
    _of_part(
        "an optimizer's probe that fails",
        TURNS,
        "tell(optimizer)\n            ",
        "observing.ObservedStep.before_update",
    ),
    _of_part(
        "a mode's probe that fails",
        "src/telltales/structure.py",
        "self._probe.saw(module.training)\n            ",
        "structure.ModeProbe.saw",
        "watching stops at step 1",
    ),
    _of_part(
        "a look before an update that fails",
        ACTING,
        "found = self._found(optimizer)\n        ",
        "acting.UpdateGuard._found",
    ),
    _uncaught(
        "a loss's probe that fails",
        AUTOMATIC,
        "self.automatic.computed(output, options)\n        ",
        f"{TESTS}test_of_steps_that_count_themselves_too",
    ),
    _uncaught(
        "a callback that fails",
        ACTING,
        "callback(told)\n            ",
        f"{TESTS}test_one_rule_and_one_callback_that_fail_are_left_out_and_the_others_go_on",
    ),
    _uncaught(
        "a rule that fails",
        "src/telltales/verdicts/judging.py",
        "return rule.findings(run)\n        ",
        f"{TESTS}test_one_rule_and_one_callback_that_fail_are_left_out_and_the_others_go_on",
    ),
    _of_part(
        "a writer that fails",
        "src/telltales/recording.py",
        "line(self._writer)\n        ",
        "record_file.RecordWriter.observe",
        "the record is written no further, and goes on in memory",
    ),
    _uncaught(
        "a report that can't be drawn",
        WATCHING,
        "        except RecordError:\n            raise\n        ",
        f"{TESTS}test_a_report_on_a_training_that_is_over_says_what_is_wrong",
    ),
    _uncaught(
        "a callback in a loop of others that fails",
        "src/telltales/bridges/guarding.py",
        "        except FOR_THE_CALLER:\n            raise\n        ",
        f"{TESTS}test_a_callback_in_a_loop_of_others_does_no_harm",
    ),
    _uncaught(
        "a run that can't be watched",
        "src/charloom/watching.py",
        "            yield\n        ",
        f"{TESTS}test_a_run_that_cannot_be_watched_is_trained_all_the_same[step]",
    ),
    Mutant(
        "hooks on modules stay",
        11,
        OBSERVING,
        "                every.callback(probe.remove)\n",
        "",
        "tests/telltales/test_watching.py::test_an_exception_in_the_loop_leaves_nothing_behind",
    ),
    Mutant(
        "what an interrupt left is not taken away by the next call",
        11,
        WATCHING,
        "        if self._attached:\n            self._attempt(self._take_away)\n",
        "",
        f"{TESTS}test_an_interrupt_while_hooks_are_taken_away_leaves_none",
    ),
    Mutant(
        "a module whose probe failed passes for one that never ran",
        11,
        OBSERVING,
        "if not probe.calls and probe.error is None]",
        "if not probe.calls]",
        f"{TESTS}test_one_probe_that_fails_is_switched_off_and_the_others_go_on",
    ),
    Mutant(
        "the rest of a line that a disk took a part of is lost",
        11,
        WRITER,
        "            rest = rest[self._file.write(rest) :]\n",
        "            self._file.write(rest)\n            break\n",
        f"{TESTS}test_a_disk_that_takes_a_part_of_a_line_gets_the_rest",
    ),
    Mutant(
        "a record keeps all that was observed",
        9,
        "src/telltales/record.py",
        "    rows: int = 1024\n",
        "    rows: int = 1 << 20\n",
        "tests/torture/test_memory.py::test_memory_is_bounded[writing]",
    ),
)

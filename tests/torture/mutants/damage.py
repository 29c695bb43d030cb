"""Breaks of what reads: checksums, schemas, bounds, and the bans."""

from __future__ import annotations

from torture.mutants import Mutant

CHECKPOINT = "src/charloom/checkpoint.py"
SCHEMAS = "src/charloom/schemas.py"
TRAINING = "src/charloom/training.py"
OPTIMIZATION = "src/charloom/optimization.py"
RESUMING = "src/charloom/resuming.py"
RUNS = "src/charloom/runs.py"
MEMORY = "src/charloom/recall/memory.py"
READING = "src/telltales/record_reading.py"
LINES = "src/telltales/record_lines.py"
DAMAGE_TESTS = "tests/torture/test_damage.py"
RECORD_TESTS = "tests/telltales/test_record.py"
FUZZ_TESTS = "tests/torture/test_fuzzing.py::test_seeds_and_what_was_found_once_are_read_well"
POISON_TEST = "tests/torture/test_poison.py::test_nothing_is_unpickled_evaluated_or_imported"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a checkpoint's checksum is not compared",
        5,
        CHECKPOINT,
        '    if header["sha256"] != _digest(arrays, header["state"]):\n',
        "    if False:\n",
        "tests/test_checkpoint.py::test_every_changed_byte_is_refused",
    ),
    Mutant(
        "the checksum of a JSON file is not compared",
        5,
        CHECKPOINT,
        "        if seal != _seal(read):\n",
        "        if False:\n",
        f"{DAMAGE_TESTS}::test_sealed_json_is_read_only_as_it_was_written",
    ),
    Mutant(
        "of a key that stands twice the last one counts",
        5,
        CHECKPOINT,
        "        if key in content:\n",
        "        if False:\n",
        f"{DAMAGE_TESTS}::test_a_key_that_stands_twice_is_refused",
    ),
    Mutant(
        "JSON may be as deep as it likes",
        5,
        CHECKPOINT,
        "    if level:\n",
        "    if False:\n",
        f"{DAMAGE_TESTS}::test_json_that_no_writer_writes_is_refused",
    ),
    Mutant(
        "a JSON number may be infinite",
        5,
        CHECKPOINT,
        "    if not math.isfinite(value):\n",
        "    if False:\n",
        "tests/test_checkpoint.py::test_a_number_that_damage_made_infinite_is_refused",
    ),
    Mutant(
        "weights are put into a model before the rest of the state is checked",
        5,
        TRAINING,
        "        _check_progress(progress, self.steps)\n",
        '        load_arrays(self.model, parts["model"])\n        _check_progress(progress, self.steps)\n',
        "tests/test_training.py::test_a_state_that_does_not_fit_is_refused_and_touches_nothing",
    ),
    Mutant(
        "a training goes on with half of what its optimizer remembers",
        5,
        OPTIMIZATION,
        "    if arrays and set(arrays) != expected:\n",
        "    if False:\n",
        f"{DAMAGE_TESTS}::test_an_optimizer_state_of_another_rule_is_refused_before_anything_is_changed",
    ),
    Mutant(
        "a training goes on from any history",
        5,
        RESUMING,
        '        if state["history_sha256"] in (None, history_sha256(run, state["history_bytes"])):\n',
        "        if True:\n",
        f"{DAMAGE_TESTS}::test_a_history_that_is_not_the_checkpoints_is_set_aside_and_the_training_goes_on",
    ),
    Mutant(
        "a result may be anything",
        5,
        SCHEMAS,
        "    if not fits(content, ResultJson) or",
        "    if False and",
        "tests/test_runs.py::test_a_foreign_result_is_refused",
    ),
    Mutant(
        "an integer may overflow a float",
        5,
        SCHEMAS,
        "        return abs(value) < LARGEST_INTEGER\n",
        "        return True\n",
        "tests/test_runs.py::test_a_foreign_configuration_is_refused",
    ),
    Mutant(
        "a run's weights need not be those of its result",
        5,
        RUNS,
        '        if result is not None and digest_of_arrays(arrays) != result["weights_sha256"]:\n',
        "        if False:\n",
        "tests/test_runs.py::test_weights_that_are_not_the_results_are_refused",
    ),
    Mutant(
        "a network of any size is made before its weights are looked at",
        5,
        RUNS,
        "            models.plain_model(self.model.family, arrays, ",
        "            dict(a=arrays, ",
        "tests/test_runs.py::test_a_network_of_impossible_size_is_refused_before_it_is_made",
    ),
    Mutant(
        "one damaged run hides all others",
        5,
        RUNS,
        "        except CharloomError as error:\n",
        "        except ZeroDivisionError as error:\n",
        "tests/test_runs.py::test_a_damaged_run_is_left_out_of_the_list_and_hides_no_other",
    ),
    Mutant(
        "sessions may be more than a float holds",
        5,
        MEMORY,
        '"the file", 0, MOST_SESSIONS)',
        '"the file", 0, float("inf"))',
        f"{FUZZ_TESTS}[memory]",
    ),
    Mutant(
        "an order of n-grams may have any number of digits",
        5,
        "src/charloom/config/model.py",
        r"ngram:(\d{1,9})",
        r"ngram:(\d+)",
        f"{FUZZ_TESTS}[config]",
    ),
    Mutant(
        "the checksum of a record's line is not compared",
        5,
        READING,
        "        if expected != line:\n",
        "        if False:\n",
        f"{RECORD_TESTS}::test_a_line_that_is_missing_changed_repeated_or_moved_is_noticed",
    ),
    Mutant(
        "a record's line is checked by itself, not after those before it",
        5,
        LINES,
        "    check = zlib.crc32(line, before)\n",
        "    check = zlib.crc32(line)\n",
        f"{RECORD_TESTS}::test_a_line_that_is_missing_changed_repeated_or_moved_is_noticed",
    ),
    Mutant(
        "what a record says of modules may be of any type",
        5,
        READING,
        "            wrong = misfit(line.get(what, {}), kind)\n",
        "            wrong = None\n",
        f"{RECORD_TESTS}::test_a_damaged_line_is_named",
    ),
    Mutant(
        "a record may ask for any memory",
        5,
        READING,
        "            if cells > MOST_CELLS:\n",
        "            if False:\n",
        f"{RECORD_TESTS}::test_a_table_that_would_not_fit_is_refused",
    ),
    Mutant(
        "losses may come before those that are known",
        5,
        READING,
        "    if not record.losses.last_step < first <= LARGEST_STEP - losses.size:\n",
        "    if False:\n",
        f"{RECORD_TESTS}::test_a_damaged_line_is_named",
    ),
    Mutant(
        "a thousand splits are all spared",
        5,
        "src/telltales/series.py",
        " if len(best) <= max(1, self._capacity // 4) else set()",
        "",
        f"{RECORD_TESTS}::test_many_splits_stay_within_bounds",
    ),
    Mutant(
        "what is not JSON is unpickled",
        6,
        CHECKPOINT,
        "        text = content.decode()\n",
        '        text = content.decode() if content[:1] in b"{[" else str(__import__("pickle").loads(content))\n',
        POISON_TEST,
    ),
    Mutant(
        "a line of a record that is no object is unpickled",
        6,
        LINES,
        "    return json.loads(line, parse_constant",
        '    if line[:1] != b"{":\n        __import__("pickle").loads(line)\n'
        "    return json.loads(line, parse_constant",
        POISON_TEST,
    ),
    Mutant(
        "a model's name is evaluated",
        6,
        "src/charloom/vocabulary.py",
        "        if not isinstance(content, dict) or set(content) !=",
        '        if isinstance(content, dict) and "characters" in content:\n'
        '            eval(content["characters"])\n'
        "        if not isinstance(content, dict) or set(content) !=",
        POISON_TEST,
    ),
    Mutant(
        "the lint allows torch.load",
        6,
        "pyproject.toml",
        '"torch.load".msg = "It unpickles: see charloom.checkpoint."\n',
        "",
        POISON_TEST,
    ),
)

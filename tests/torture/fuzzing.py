"""Everything that reads, given bytes that no writer wrote: guided by which code they reach, where atheris is installed.

As a command: ``python -P -m torture.fuzzing TARGET SECONDS SEED FOLDER``, which is a process for atheris.
"""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from torture.processes import environment
from torture.shown import Effort, Progress, Shown

CORPUS = Path(__file__).parent / "corpus"
"""TARGET/…: inputs that something was wrong with once."""
WORTH_GUIDING = 10
"""From so many seconds on a process for atheris is worth its start."""
LONGEST = 1 << 15
GRACE = 120


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Each target for a while."""
    from torture.targets import CONTROL, TARGETS

    guided = effort.fuzz_seconds >= WORTH_GUIDING and importlib.util.find_spec("atheris") is not None
    if not guided and effort.fuzz_seconds >= WORTH_GUIDING:
        progress("  by chance, as atheris is not installed: .venv/bin/python -m pip install -e '.[fuzz]'")
    fuzz = by_coverage if guided else by_chance
    count, _, found = fuzz(CONTROL, min(effort.fuzz_seconds, WORTH_GUIDING), effort.seed)
    missed = () if found and "planted" in found[0] else (f"the planted fault is not found: {found}",)
    yield Shown(5, "fuzzed: a planted fault, which must be found", count, missed)
    for name, target in TARGETS.items():
        progress(f"  {target.what}, {effort.fuzz_seconds} s{' guided by coverage' if guided else ''}")
        count, figures, failures = fuzz(name, effort.fuzz_seconds, effort.seed)
        yield Shown(6 if name == "names" else 5, f"fuzzed: {target.what}", count, tuple(failures), figures)


def by_coverage(name: str, seconds: float, seed: int) -> tuple[int, str, list[str]]:
    """How many inputs were run, how much code they reached, and what went wrong: in a process of its own."""
    from torture.targets import CONTROL, EVERY

    with tempfile.TemporaryDirectory() as made:
        inputs, found = Path(made) / "inputs", Path(tempfile.gettempdir()) / f"torture-found-{name}"
        inputs.mkdir()
        found.mkdir(exist_ok=True)
        for number, content in enumerate([*EVERY[name].seeds(), *(path.read_bytes() for path in known(name))]):
            (inputs / str(number)).write_bytes(content)
        command = [
            sys.executable,
            "-P",
            "-m",
            "torture.fuzzing",
            name,
            str(seconds),
            str(seed + 1),
            str(inputs),
            str(found),
        ]
        ended = subprocess.run(
            command, env=environment(), capture_output=True, text=True, errors="replace",
            timeout=seconds + GRACE, check=False,
        )  # fmt: skip
        said = ended.stdout + ended.stderr
        left = sorted(found.iterdir())
        if name == CONTROL or not left:
            shutil.rmtree(found)
    counted = re.findall(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\t", said, re.MULTILINE)
    count = max((int(one or other) for one, other in counted), default=0)
    reached = re.findall(r"cov: (\d+)", said)
    words = said[max(0, said.find("Uncaught Python exception")) :][:700]
    failures = [f"{name}: {words} (the input is kept: {left})"] if ended.returncode else []
    return count, f"{reached[-1] if reached else 0} branches reached", failures


def by_chance(name: str, seconds: float, seed: int) -> tuple[int, str, list[str]]:
    """The same without guidance: bytes by hypothesis, and seeds that are damaged; a failing input is made small."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    from torture.targets import EVERY

    target = EVERY[name]
    seeds, count = target.seeds(), 0
    end = time.perf_counter() + seconds

    def damaged(content: bytes, number: int) -> bytes:
        draw = random.Random(number)
        for _ in range(draw.randrange(1, 4)):
            try:
                content = draw.choice(target.damages)(content, draw) if content else draw.randbytes(9)
            except (ValueError, RecursionError):
                content = target.damages[0](content, draw)
        return content[:LONGEST]

    inputs = st.one_of(
        st.binary(max_size=200),
        st.sampled_from(seeds),
        st.builds(damaged, st.sampled_from(seeds), st.integers(0, 1 << 32)),
    )

    def run(content: bytes) -> None:
        nonlocal count
        count += 1
        target.run(content)

    for path in known(name):
        run(path.read_bytes())
    while True:
        seed += 1
        test = settings(max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
            seeded(seed)(given(inputs)(run))
        )
        try:
            test()
        except Exception as error:  # noqa: BLE001 -- that is what is looked for
            notes = " ".join(getattr(error, "__notes__", []))
            return count, "by chance", [f"{name}: {type(error).__name__}: {str(error)[:400]} {notes[:300]}"]
        if time.perf_counter() > end:
            return count, "by chance", []


def known(name: str) -> list[Path]:
    """Inputs that something was wrong with once."""
    return sorted((CORPUS / name).iterdir()) if (CORPUS / name).is_dir() else []


def main(name: str, seconds: str, seed: str, inputs: str, found: str) -> None:
    """Fuzz one target in this process, which ends with it."""
    import warnings

    import atheris

    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=["charloom", "telltales"], enable_loader_override=False):
        from torture.targets import EVERY
    run = EVERY[name].run
    limits = [f"-max_total_time={int(float(seconds))}", f"-max_len={LONGEST}", "-timeout=30", "-rss_limit_mb=4096"]
    options = [f"-seed={seed}", f"-artifact_prefix={found}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *options, inputs], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The bootstrap, tried with a stand-in for Python that notes its calls and obeys `FAKE_*`: nothing is installed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from closure import installed_closure

ROOT = Path(__file__).parent.parent
TOOLS = ("bash", "cat", "cmp", "cp", "dirname", "env", "mkdir", "mv", "readlink", "rm", "sh", "sleep", "touch")

FAKE_PYTHON = r"""#!/bin/sh
case "$*" in
    *sys.version_info*) printf '%s\n' "${FAKE_VERSION:-3.11}" "$0" "$0"; exit ;;
    *flock*) exec "$FAKE_REAL" "$@" ;;
    *'-m pip --version'*) exit "${FAKE_NO_PIP:-0}" ;;
esac
{ printf '%s' "$PWD"; printf '\t%s' "$@"; printf '\n'; } >>"$FAKE_LOG"
case "$*" in
    *'-m venv'*) rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *'-m pip'*) echo 'Collecting'; eval "${FAKE_PIP-}" ;;
    *'-m charloom'*) eval "${FAKE_CHARLOOM-}" ;;
esac
"""


class Sandbox:
    """A copy of the bootstrap in a folder with a space in its name, and a PATH with no more than it may use."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.home = folder / "some where"
        self.project = folder / "the project"
        self.log = folder / "calls"
        self.started: list[subprocess.Popen[str]] = []
        for made in (self.bin, self.home, self.project / ".ci"):
            made.mkdir(parents=True)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None, f"{tool} is missing"
            (self.bin / tool).symlink_to(found)
        self.add_python("python3")
        for name in ("lab", ".ci/run"):
            shutil.copy(ROOT / name, self.project / name)
        (self.project / "constraints.txt").write_text("torch==1\n")
        (self.project / "pyproject.toml").write_text("[project]\n")

    @property
    def complete(self) -> Path:
        return self.project / ".venv" / "lab" / "complete"

    def add_python(self, name: str, version: str = "${FAKE_VERSION:-3.11}") -> Path:
        python = self.bin / name
        python.write_text(FAKE_PYTHON.replace("${FAKE_VERSION:-3.11}", version))
        python.chmod(0o755)
        return python

    def start(
        self, *args: str, program: Path | None = None, cwd: Path | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [program or self.project / "lab", *args],
            cwd=cwd or self.home,
            env={"PATH": str(self.bin), "FAKE_LOG": str(self.log), "FAKE_REAL": sys.executable, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.started.append(process)
        return process

    def run(self, *args: str, **options: Any) -> tuple[int, str, str]:
        """Exit status, standard output and standard error. The options are those of `start`."""
        process = self.start(*args, **options)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def close(self) -> None:
        """End what still runs."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def calls(self) -> list[list[str]]:
        """What the stand-in was called with since the last time: the folder, then the arguments."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split("\t") for line in lines]

    def steps(self) -> str:
        """The calls since the last time, shortened to one word each."""
        return " ".join(step_of(call) for call in self.calls())


def step_of(call: list[str]) -> str:
    if "install" in call:
        return {".[charloom,fast,report,dev]": "project", ".[bench,bridges,notebooks,site]": "more"}.get(
            call[-1], call[-1]
        )
    return "check" if "check" in call else call[call.index("-m") + 1]


FROM_NOTHING = "venv torch editables project"
UPDATE = "torch editables project"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path)
    yield made
    made.close()


@pytest.fixture
def installed(sandbox: Sandbox) -> Sandbox:
    status, _, err = sandbox.run("describe")
    assert (status, sandbox.steps()) == (0, f"{FROM_NOTHING} charloom"), err
    return sandbox


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def test_it_is_a_posix_script() -> None:
    assert os.access(ROOT / "lab", os.X_OK)
    assert (ROOT / "lab").read_text().startswith("#!/bin/sh\n")
    subprocess.run([shutil.which("dash") or "sh", "-n", ROOT / "lab"], check=True)


def test_first_use_installs_torch_first_and_always_with_the_constraints(sandbox: Sandbox) -> None:
    status, out, err = sandbox.run("describe")
    calls = sandbox.calls()
    assert (status, out) == (0, "")
    assert [step_of(call) for call in calls] == [*FROM_NOTHING.split(), "charloom"]
    assert calls[0][1:] == ["-P", "-m", "venv", "--clear", "--without-pip", ".venv"]
    for call in calls[1:4]:
        assert call[0] == str(sandbox.project)
        assert "install -c constraints.txt" in " ".join(call)
        assert "--python .venv/bin/python" in " ".join(call)
    assert calls[3][-3:] == ["--no-build-isolation", "--editable", ".[charloom,fast,report,dev]"]
    assert err.count("Collecting") == 3
    assert re.findall(r"^lab: \[(./.)\]", err, re.MULTILINE) == ["1/4", "2/4", "3/4", "4/4"]


def test_a_rerun_calls_nothing_but_the_command(installed: Sandbox) -> None:
    assert installed.run("describe") == (0, "", "")
    assert installed.steps() == "charloom"


def test_charloom_runs_where_the_caller_is_with_its_arguments_as_they_are(installed: Sandbox) -> None:
    arguments = ["sample", "--prefix", "a b", "--data", "../x.txt", "", "$HOME", "*"]
    assert installed.run(*arguments)[0] == 0
    assert installed.calls() == [[str(installed.home), "-P", "-m", "charloom", *arguments]]


def test_tests_run_in_the_project(installed: Sandbox) -> None:
    installed.run("test", "-k", "a or b")
    assert installed.calls()[1:] == [[str(installed.project), "-P", "-m", "pytest", "-k", "a or b"]]


def test_all_tests_run_side_by_side(installed: Sandbox) -> None:
    installed.run("test")
    parallel = ["-n", "logical", "--maxprocesses", "4", "--dist", "worksteal"]
    assert installed.calls()[1:] == [[str(installed.project), "-P", "-m", "pytest", *parallel]]


def test_what_the_tests_and_the_bench_need_besides_is_installed_once(installed: Sandbox) -> None:
    installed.run("test")
    assert installed.steps() == "more pytest"
    installed.run("bench", "faults", "--table")
    assert installed.calls() == [[str(installed.home), "-m", "faultbench", "--table"]]
    (installed.project / "constraints.txt").write_text("torch==2\n")
    installed.run("test")
    assert installed.steps() == f"{UPDATE} more pytest"


def test_without_what_the_tests_need_they_do_not_start(installed: Sandbox) -> None:
    status, _, err = installed.run("test", FAKE_PIP="exit 1")
    assert (status, installed.steps()) == (1, "more")
    assert "pip failed" in err


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (
            ["notebook", "--ip=x"],
            ["-m", "jupyterlab", "--notebook-dir={project}", "--LabApp.default_url=/lab/tree/notebooks", "--ip=x"],
        ),
        (["notebooks", "02"], ["-P", "{project}/notebooks/build.py", "02"]),
        (["site", "folder"], ["-P", "{project}/docs/site.py", "folder"]),
    ],
)
def test_the_notebooks_and_the_site_have_what_they_need(
    installed: Sandbox, arguments: list[str], called: list[str]
) -> None:
    installed.run(*arguments)
    install, run = installed.calls()
    assert step_of(install) == "more"
    assert run[1:] == [part.format(project=installed.project) for part in called]


def test_the_audit_asks_for_nothing_more(installed: Sandbox) -> None:
    installed.run("audit", "--offline")
    assert installed.calls() == [[str(installed.home), f"{installed.project}/supply/audit.py", "--offline"]]


def test_an_unknown_benchmark_is_misuse(installed: Sandbox) -> None:
    status, _, err = installed.run("bench", "sped")
    assert (status, err) == (2, "lab: there are five benchmarks: faults, quiet, speed, gpu and watching\n")


def test_continuous_integration_runs_the_tests(sandbox: Sandbox) -> None:
    status, _, err = sandbox.run(str(sandbox.project / ".ci" / "run"), program=sandbox.bin / "bash")
    assert (status, sandbox.steps()) == (0, f"{FROM_NOTHING} more pytest"), err


@pytest.mark.parametrize(("user", "installs", "there"), [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1000, 0, 0)])
def test_continuous_integration_installs_a_browser_if_it_can(
    sandbox: Sandbox, user: int, installs: int, there: int
) -> None:
    noted = sandbox.home / "apt"
    fakes = {"id": f"echo {user}", "apt-get": f'echo "$*" >>"{noted}"; exit {installs}', "timeout": 'shift 3; "$@"'}
    for name, body in (fakes | ({"chromium": "exit"} if there else {})).items():
        (sandbox.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (sandbox.bin / name).chmod(0o755)
    status, _, err = sandbox.run(str(sandbox.project / ".ci" / "run"), program=sandbox.bin / "bash")
    assert (status, sandbox.steps()) == (0, f"{FROM_NOTHING} more pytest"), err
    asked = noted.read_text().splitlines() if noted.exists() else []
    install = "-qq install --yes --no-install-recommends chromium"
    assert asked == ([] if user or there else ["-qq update"] if installs else ["-qq update", install])
    assert ("no chromium could be installed" in err) == bool(asked and installs)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]], ids=["none", "--help", "-h", "help"])
def test_usage_comes_before_the_help_of_charloom(installed: Sandbox, arguments: list[str]) -> None:
    status, out, err = installed.run(*arguments)
    assert (status, err) == (0, "")
    assert out.startswith("./lab quickstart ")
    assert installed.calls() == [[str(installed.home), "-P", "-m", "charloom", "--help"]]


def test_the_exit_status_is_the_commands(installed: Sandbox) -> None:
    (installed.project / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 7\n")
    assert installed.run("describe") == (7, "", "")


@pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "relative"])
def test_a_link_to_it_works(installed: Sandbox, absolute: bool) -> None:
    link = installed.home / "deeper" / "lab link"
    link.parent.mkdir()
    target = installed.project / "lab"
    link.symlink_to(target if absolute else os.path.relpath(target, link.parent))
    second = installed.home / "again"
    second.symlink_to("deeper/lab link")
    assert installed.run("describe", program=second) == (0, "", "")
    assert installed.steps() == "charloom"


def test_it_starts_through_sh_by_its_bare_name(installed: Sandbox) -> None:
    status, _, err = installed.run("lab", "describe", program=installed.bin / "sh", cwd=installed.project)
    assert (status, err, installed.steps()) == (0, "", "charloom")


def test_an_old_python_gets_one_line(sandbox: Sandbox) -> None:
    status, out, err = sandbox.run("describe", FAKE_VERSION="3.10")
    assert (status, out) == (1, "")
    assert err == (
        "lab: needs Python 3.11 or newer with pip (found: python3 is 3.10); PYTHON=/path/to/python names another\n"
    )
    assert sandbox.calls() == []


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.9"])
def test_older_pythons_are_told_from_newer_ones(sandbox: Sandbox, version: str) -> None:
    assert sandbox.run("describe", FAKE_VERSION=version)[0] == 1


@pytest.mark.parametrize("version", ["3.11", "3.13", "3.20", "4.0"])
def test_newer_pythons_are_told_from_older_ones(sandbox: Sandbox, version: str) -> None:
    assert sandbox.run("describe", FAKE_VERSION=version)[0] == 0


def test_no_python_and_no_pip_get_one_line(sandbox: Sandbox) -> None:
    _, _, err = sandbox.run("describe", FAKE_NO_PIP="1")
    assert "found: python3 has no pip" in err
    (sandbox.bin / "python3").unlink()
    status, _, err = sandbox.run("describe")
    assert status == 1
    assert "found: none" in err
    assert err.count("\n") == 1


def test_a_newer_python_beside_an_old_one_is_found(sandbox: Sandbox) -> None:
    sandbox.add_python("python3", "3.10")
    sandbox.add_python("python3.12", "3.12")
    status, _, err = sandbox.run("describe")
    assert status == 0
    assert "Python 3.12" in err


def test_the_variable_names_the_python(sandbox: Sandbox) -> None:
    python = sandbox.add_python("other python", "3.13")
    assert "Python 3.13" in sandbox.run("describe", PYTHON=str(python))[2]
    shutil.rmtree(sandbox.project / ".venv")
    assert "found: none" in sandbox.run("describe", PYTHON="/nowhere/python")[2]


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_changed_pins_are_installed(installed: Sandbox, name: str) -> None:
    with (installed.project / name).open("a") as file:
        file.write("# changed\n")
    installed.run("describe")
    assert installed.steps() == f"{UPDATE} charloom"
    installed.run("describe")
    assert installed.steps() == "charloom"


def test_a_moved_project_starts_over(installed: Sandbox) -> None:
    installed.project = installed.project.rename(installed.project.with_name("moved"))
    installed.run("describe")
    assert installed.steps() == f"{FROM_NOTHING} charloom"


def test_a_vanished_python_starts_over(installed: Sandbox) -> None:
    python = installed.project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    installed.run("describe")
    assert installed.steps() == f"{FROM_NOTHING} charloom"


@pytest.mark.parametrize("step", UPDATE.split())
def test_a_failed_step_stops_it_and_the_next_call_starts_over(sandbox: Sandbox, step: str) -> None:
    failing = {"torch": "torch", "editables": "hatchling", "project": "--editable"}[step]
    status, out, err = sandbox.run("describe", FAKE_PIP=f'case "$*" in *{failing}*) exit 3 ;; esac')
    assert (status, out) == (1, "")
    assert err.endswith("lab: pip failed, as it says above; ./lab starts the installation over\n")
    assert sandbox.steps() == FROM_NOTHING[: FROM_NOTHING.index(step) + len(step)]
    assert not sandbox.complete.exists()
    sandbox.run("describe")
    assert sandbox.steps() == f"{FROM_NOTHING} charloom"


def test_a_failed_update_starts_over(installed: Sandbox) -> None:
    (installed.project / "constraints.txt").write_text("torch==2\n")
    assert installed.run("describe", FAKE_PIP="exit 1")[0] == 1
    assert installed.steps() == "torch"
    installed.run("describe")
    assert installed.steps() == f"{FROM_NOTHING} charloom"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_an_interrupted_installation_starts_over(sandbox: Sandbox, number: signal.Signals) -> None:
    begun = sandbox.home / "begun"
    # One process, and no handler of its own: a signal that comes before the sleep must not be lost.
    hang = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL);"
        f" open({str(begun)!r}, 'w').close(); time.sleep(60)"
    )
    process = sandbox.start("describe", FAKE_PIP=f'exec "$FAKE_REAL" -S -c "{hang}"')
    until(begun.exists)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ("interrupted; the next ./lab starts the installation over" in err) == (number == signal.SIGINT)
    assert sandbox.steps() == "venv torch"
    assert not sandbox.complete.exists()
    sandbox.run("describe")
    assert sandbox.steps() == f"{FROM_NOTHING} charloom"


def test_two_at_once_install_once(sandbox: Sandbox) -> None:
    begun, go = sandbox.home / "begun", sandbox.home / "go"
    pip = f"touch '{begun}'; while [ ! -e '{go}' ]; do sleep 0.01; done"
    first = sandbox.start("describe", FAKE_PIP=pip)
    until(begun.exists)
    second = sandbox.start("describe", FAKE_PIP=pip)
    assert second.stderr is not None
    assert second.stderr.readline() == "lab: waiting for another installation to end\n"
    assert sandbox.steps() == "venv torch"
    go.touch()
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert sandbox.steps() == "editables project charloom charloom"


def test_the_command_does_not_hold_the_lock(sandbox: Sandbox) -> None:
    begun = sandbox.home / "begun"
    sandbox.start("train", FAKE_CHARLOOM=f"touch '{begun}'; sleep 60")
    until(begun.exists)
    (sandbox.project / "constraints.txt").write_text("torch==2\n")
    assert sandbox.run("describe")[0] == 0


def test_another_index_is_for_torch_alone_and_is_remembered(sandbox: Sandbox) -> None:
    index = "https://example.org/cpu"
    sandbox.run("describe", LAB_TORCH_INDEX=index)
    for call in sandbox.calls():
        assert ("--no-deps --index-url" in " ".join(call)) == (step_of(call) == "torch")
        assert (index in call) == (step_of(call) == "torch")

    sandbox.run("describe")
    assert sandbox.steps() == "charloom"
    (sandbox.project / "constraints.txt").write_text("torch==2\n")
    sandbox.run("describe")
    assert sum(index in call for call in sandbox.calls()) == 1

    sandbox.run("describe", LAB_TORCH_INDEX="")
    assert sandbox.steps() == f"{FROM_NOTHING} charloom"


HASHED = "venv hashes.txt torch . check charloom"


def test_with_hashes_everything_but_torch_is_checked(sandbox: Sandbox) -> None:
    status, _, err = sandbox.run("describe", LAB_HASHES="1")
    calls = sandbox.calls()
    assert (status, " ".join(map(step_of, calls))) == (0, HASHED)
    assert "install -c constraints.txt --require-hashes --no-deps -r hashes.txt" in " ".join(calls[1])
    assert calls[3][-3:] == ["--no-deps", "--editable", "."]
    assert re.findall(r"^lab: \[(./.)\]", err, re.MULTILINE) == ["1/4", "2/4", "3/4", "4/4"]
    sandbox.run("test")
    assert sandbox.steps() == "pytest"


def test_hashes_are_remembered_and_asked_for_anew_only_from_nothing(installed: Sandbox) -> None:
    installed.run("describe", LAB_HASHES="1")
    assert installed.steps() == HASHED
    installed.run("describe")
    assert installed.steps() == "charloom"
    (installed.project / "constraints.txt").write_text("torch==2\n")
    installed.run("describe")
    assert installed.steps() == HASHED.removeprefix("venv ")
    installed.run("describe", LAB_HASHES="")
    assert installed.steps() == f"{FROM_NOTHING} charloom"


@pytest.mark.parametrize("failing", ["hashes.txt", "check"])
def test_a_hash_or_a_package_that_is_wrong_stops_it(sandbox: Sandbox, failing: str) -> None:
    status, _, err = sandbox.run("describe", LAB_HASHES="1", FAKE_PIP=f'case "$*" in *{failing}) exit 1 ;; esac')
    assert (status, sandbox.complete.exists()) == (1, False)
    assert sandbox.steps() == HASHED[: HASHED.index(failing) + len(failing)]
    assert err.splitlines()[-1].startswith("lab: ")


def test_an_installation_from_before_hashes_is_kept(installed: Sandbox) -> None:
    root, index, _ = installed.complete.read_text().split("\n", 2)
    installed.complete.write_text(f"{root}\n{index}\n")
    installed.run("describe")
    assert installed.steps() == "charloom"


def test_everything_that_is_installed_is_pinned() -> None:
    """Name by name, the pins are the project with its extras and all they need."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    closure = installed_closure(["telltales[charloom,fast,report,dev,bench,bridges,notebooks,site]"])
    del closure["telltales"]
    assert {canonicalize_name(name): version for name, version in pins.items()} == {
        name: distribution.version.partition("+")[0]
        for name, distribution in closure.items()
        if not name.startswith(("nvidia-", "cuda-", "triton"))  # A torch with CUDA pins these itself.
    }

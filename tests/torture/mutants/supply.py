"""The network is asked; what is installed is not what was pinned."""

from __future__ import annotations

from torture.mutants import Mutant

PROMISE = 14
NETWORK = "tests/torture/test_network.py"
SUPPLY = "tests/torture/test_supply.py"
WHEEL = "tests/test_wheel.py"
ASKS = 'try:\n    __import__("socket").getaddrinfo("nobody.invalid", 80)\nexcept OSError:\n    pass\n'

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "charloom asks for a name at its start, and does without",
        PROMISE,
        "src/charloom/cli/__init__.py",
        "MISUSE = 2\n",
        f"MISUSE = 2\n{ASKS}",
        f"{NETWORK}::test_a_training_and_its_report_ask_nothing",
    ),
    Mutant(
        "a report asks for a name as it is drawn",
        PROMISE,
        "src/telltales/report/svg.py",
        "from __future__ import annotations\n",
        f"from __future__ import annotations\n{ASKS}",
        f"{NETWORK}::test_a_training_and_its_report_ask_nothing",
    ),
    Mutant(
        "the hook lets connections pass",
        PROMISE,
        "tests/torture/guard/sitecustomize.py",
        '"socket.connect", "socket.sendto", "socket.sendmsg"),\n        *("socket.getaddrinfo"',
        '"socket.sendto", "socket.sendmsg"),\n        *("socket.getaddrinfo"',
        f"{NETWORK}::test_the_hook_refuses_each_way[socket.connect]",
    ),
    Mutant(
        "a pin has no hash",
        PROMISE,
        "hashes.txt",
        "six==1.17.0 \\\n    --hash=sha256:",
        "six==1.17.0 # ",
        f"{SUPPLY}::test_what_is_installed_is_what_was_pinned",
    ),
    Mutant(
        "the page of licences is of another version",
        PROMISE,
        "docs/licences.md",
        "| six | 1.17.0 |",
        "| six | 1.16.0 |",
        f"{SUPPLY}::test_the_page_of_licences_is_of_these_pins",
    ),
    Mutant(
        "a changed file is not noticed",
        PROMISE,
        "supply/audit.py",
        " != value:",
        ' == "":',
        f"{SUPPLY}::test_what_was_tampered_with_is_found",
    ),
    Mutant(
        "a package that is not pinned is not noticed",
        PROMISE,
        "supply/audit.py",
        "pinned.get(name) != version:",
        "pinned.get(name, version) != version:",
        f"{SUPPLY}::test_what_was_tampered_with_is_found",
    ),
    Mutant(
        "yanked pins are not noticed",
        PROMISE,
        "supply/audit.py",
        'if entry["is_yanked"]:',
        'if not entry["is_yanked"]:',
        f"{SUPPLY}::test_what_was_yanked_or_is_another_file_is_told",
    ),
    Mutant(
        "copyleft passes as permissive",
        PROMISE,
        "supply/licences.py",
        "all(part.strip() in PERMISSIVE",
        "any(part.strip() in PERMISSIVE",
        f"{SUPPLY}::test_permissive_licences_are_told_from_others",
    ),
    Mutant(
        "./lab installs without looking at the hashes",
        PROMISE,
        "lab",
        "pip_install --require-hashes --no-deps",
        "pip_install --no-deps",
        "tests/test_lab.py::test_with_hashes_everything_but_torch_is_checked",
    ),
    Mutant(
        "the source archive has whatever lies there",
        PROMISE,
        "pyproject.toml",
        '    ".ci",\n    "CHANGELOG.md",\n',
        '    "CHANGELOG.md",\n',
        f"{WHEEL}::test_the_source_archive_holds_the_project_and_nothing_else",
    ),
    Mutant(
        "archives carry the dates of their files",
        PROMISE,
        "pyproject.toml",
        "[tool.hatch.build.targets.sdist]\n",
        "[tool.hatch.build.targets.sdist]\nreproducible = false\n",
        f"{WHEEL}::test_both_archives_are_the_same_wherever_and_whenever_they_are_made",
    ),
)

"""Lint, format, types and imports, as set in pyproject.toml; and that each of these checks can fail."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
CONTRACTS = {contract["id"]: contract for contract in SETTINGS["importlinter"]["contracts"]}

RUFF = ("-m", "ruff", "check", "--quiet", "--no-cache")
LINT_IMPORTS = ("-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-logo", "--no-cache")


def python(*arguments: str, cwd: Path = ROOT, text: str | None = None) -> tuple[int, str]:
    """Exit status and output of a Python of this environment."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


@pytest.mark.parametrize(
    "arguments",
    [RUFF, ("-m", "ruff", "format", "--check", "--quiet", "--no-cache"), ("-m", "mypy"), LINT_IMPORTS],
    ids=["lint", "format", "types", "imports"],
)
def test_the_project_keeps_its_rules(arguments: tuple[str, ...]) -> None:
    status, output = python(*arguments)
    assert status == 0, output


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import pickle\n", "TID251"),
        ("from pickle import loads\n", "TID251"),
        ("import torch\n\ntorch.load('x')\n", "TID251"),
        ("from torch import save\n", "TID251"),
        ("eval(input())\n", "S307"),
        ("exec(input())\n", "S102"),
        ("try:\n    print()\nexcept Exception:\n    pass\n", "BLE001"),
    ],
)
def test_what_is_banned_is_found(code: str, rule: str) -> None:
    status, output = python(
        *RUFF, "--output-format", "concise", "--stdin-filename", "src/charloom/x.py", "-", text=code
    )
    assert status == 1
    assert f" {rule} " in output


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """Every file that the contracts name, empty."""
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    modules = {f"charloom.{layer.strip('()')}" for layer in CONTRACTS["layers"]["layers"]} - {"charloom.models"}
    modules.update(CONTRACTS["without-torch"]["source_modules"])
    layers = [name.strip("() ") for layer in CONTRACTS["telltales-layers"]["layers"] for name in layer.split("|")]
    modules.update({f"telltales.{layer}" for layer in layers} - {"telltales.report"})
    packages = ("charloom", "charloom.models", "telltales", "telltales.report")
    modules.update(f"{package}.__init__" for package in packages)
    for module in modules:
        write(tmp_path, module.replace(".", "/"), "")
    return tmp_path


def write(folder: Path, module: str, code: str) -> None:
    path = folder / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)


def broken_contracts(folder: Path) -> set[str]:
    output = python(*LINT_IMPORTS, cwd=folder)[1]
    assert "Contracts: " in output, output
    return {key for key, contract in CONTRACTS.items() if f"{contract['name']} BROKEN" in output}


@pytest.mark.parametrize(
    ("module", "code", "broken"),
    [
        ("telltales/watching", "import charloom.config", {"telltales-alone"}),
        ("charloom/training", "import telltales", {"one-file-watches"}),
        ("charloom/cli", "from telltales import __version__", {"one-file-watches"}),
        ("charloom/config", "import charloom.corpus", {"layers"}),
        ("charloom/corpus", "def late():\n    import charloom.training", {"layers"}),
        ("charloom/afterthought", "", {"layers"}),
        ("charloom/models/counts", "from charloom import fit", {"no-way-round"}),
        ("charloom/models/counts", "import charloom.loss", {"layers", "tensors-only"}),
        ("charloom/models/counts", "import charloom.config", {"tensors-only"}),
        ("charloom/models/__init__", "import charloom.vocabulary", {"tensors-only"}),
        ("charloom/loss", "import charloom.contexts", {"tensors-only"}),
        ("charloom/models/counts", "import torch", {"without-torch"}),
        ("charloom/sampling", "def late():\n    import torch", {"without-torch"}),
        ("charloom/experiments", "import rich", {"terminal"}),
        ("telltales/watching", "import cyclopts", {"terminal"}),
        ("telltales/report/html", "import rich", {"terminal"}),
        ("telltales/watching", "import matplotlib", {"terminal"}),
        ("telltales/record", "import torch", {"records-without-torch"}),
        ("telltales/report/html", "def late():\n    import torch", {"records-without-torch"}),
        ("telltales/record", "import telltales.transfer", {"telltales-layers"}),
        ("telltales/probes", "import telltales.watching", {"telltales-layers"}),
        ("telltales/afterthought", "", {"telltales-layers"}),
    ],
)
def test_a_contract_is_broken(skeleton: Path, module: str, code: str, broken: set[str]) -> None:
    write(skeleton, module, code)
    assert broken_contracts(skeleton) == broken


def test_what_the_contracts_allow(skeleton: Path) -> None:
    write(skeleton, "charloom/watching", "import telltales\nfrom telltales import watch")
    write(skeleton, "telltales/watching", "import torch\nimport telltales.report.html")
    write(skeleton, "telltales/report/html", "import telltales.record")
    write(skeleton, "telltales/report/terminal", "import rich.live")
    write(skeleton, "telltales/report/axes", "def late():\n    import matplotlib")
    write(skeleton, "charloom/training", "import torch\nimport charloom.models.mlp")
    write(skeleton, "charloom/models/mlp", "import torch\nimport charloom.initialization\nimport charloom.errors")
    write(skeleton, "charloom/initialization", "import torch\nimport charloom.errors")
    write(skeleton, "charloom/loss", "import torch\nimport charloom.models.mlp")
    write(skeleton, "charloom/sampling", "import charloom.loss")
    (skeleton / "charloom/cli.py").unlink()
    write(skeleton, "charloom/cli/__init__", "import cyclopts\nimport charloom.watching")
    write(skeleton, "charloom/cli/tables", "import rich.table\nfrom charloom import experiments")
    assert broken_contracts(skeleton) == set()


@pytest.mark.parametrize(
    ("contract", "others"),
    [("without-torch", ["charloom.cli"]), ("records-without-torch", ["telltales.report.html"])],
)
def test_what_needs_no_torch_loads_none(contract: str, others: list[str]) -> None:
    """The contract sees direct imports only; this sees them all."""
    modules = ", ".join([*CONTRACTS[contract]["source_modules"], *others])
    status, output = python("-P", "-c", f"import {modules}, sys; sys.exit('torch' in sys.modules)")
    assert status == 0, output

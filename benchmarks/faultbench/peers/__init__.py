"""Other tools of the kind, each behind an adapter that uses it as its own page recommends.

What a tool says is mapped to the ids of telltales generously: where its message names a cause of which ours is one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from faultbench.listening import Listening
from faultbench.peers import doctor, naive, snitch, torch_audit, torchtest

_ALL: dict[str, tuple[str, Callable[[], Listening]]] = {
    "gradsnitch": ("gradsnitch", snitch.Snitch),
    "torch-audit": ("torch_audit", torch_audit.Audit),
    "torchtest2": ("torchtest2", torchtest.Torchtest),
    "training-doctor": ("training_doctor", doctor.Doctor),
    "naive": ("torch", naive.Naive),
}

PEERS: dict[str, Callable[[], Listening]] = {name: make for name, (module, make) in _ALL.items() if find_spec(module)}
"""Those that are installed: pip install gradsnitch torch-audit torchtest2 training-doctor."""

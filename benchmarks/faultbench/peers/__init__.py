"""Other tools of the kind, each behind an adapter."""

from __future__ import annotations

from collections.abc import Callable

from faultbench.listening import Listening

PEERS: dict[str, Callable[[], Listening]] = {}

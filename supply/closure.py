"""What an installed package brings with it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def installed_closure(requirements: Iterable[str]) -> dict[str, metadata.Distribution]:
    """The installed distributions that ``requirements`` need, themselves included, by normalised name.

    What markers or extras leave out is left out. Raises `importlib.metadata.PackageNotFoundError` where one is missing.
    """
    closure: dict[str, metadata.Distribution] = {}
    seen = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        closure[name] = metadata.distribution(name)
        for needed in map(Requirement, closure[name].requires or ()):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append(needed)
    return closure

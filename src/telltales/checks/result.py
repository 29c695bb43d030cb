"""What preflight gives back: the findings, and what was and was not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from telltales.finding import Finding


class NotApplicable(Exception):
    """The check has nothing to say of this model or batch; the message says why."""


class Preflight(list[Finding]):
    """The findings, roots first, as a list; with what was looked at, so that nothing else passes for healthy."""

    def __init__(
        self, findings: Iterable[Finding] = (), looked_at: Iterable[str] = (), left_out: Mapping[str, str] | None = None
    ) -> None:
        """``looked_at``: the rules that were checked. ``left_out``: rule → why it was not."""
        super().__init__(findings)
        self.looked_at = tuple(looked_at)
        self.left_out = dict(left_out or {})

    def __str__(self) -> str:
        found = [str(finding) for finding in self] or ["nothing found"]
        lines = [*found, f"looked at: {', '.join(self.looked_at) or 'nothing'}"]
        reasons: dict[str, list[str]] = {}
        for rule, reason in self.left_out.items():
            reasons.setdefault(reason, []).append(rule)
        lines += [f"left out ({reason}): {', '.join(rules)}" for reason, rules in reasons.items()]
        return "\n".join(lines)

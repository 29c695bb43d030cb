"""What fails in a callback ends the watching, not the training that calls it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from telltales.failures import warn_of
from telltales.watching import FOR_THE_CALLER

Hook = TypeVar("Hook", bound=Callable[..., None])


def harmless(hook: Hook) -> Hook:
    """Let a method of a callback with a ``watch`` do no harm: what fails is a warning, and closes the watch.

    What a training is to be ended with passes: see `telltales.watching.FOR_THE_CALLER`.
    """

    @wraps(hook)
    def guarded(self: Any, *args: Any, **options: Any) -> None:
        try:
            hook(self, *args, **options)
        except FOR_THE_CALLER:
            raise
        except Exception as error:  # noqa: BLE001 - watching must not end a training
            if self.watch is not None:
                self.watch.close("failed")
            warn_of(f"{hook.__name__} failed, and watching stops", error)

    return cast(Hook, guarded)

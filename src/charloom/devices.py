"""Where a network trains, with how many threads, and on which random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from charloom.checkpoint import Arrays
from charloom.config import Precision
from charloom.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device by name; ``auto`` is a GPU where there is one. Raises `ConfigError` when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available", remedy="Use --device cpu or auto.")
    return torch.device(name)


def instruction_set() -> str:
    """The vector instructions that PyTorch uses on this processor, as ``AVX512``: sums are rounded by their order."""
    return str(torch.backends.cpu.get_cpu_capability())


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Make a GPU's float32 products in TF32 where that is the precision, and in full float32 otherwise.

    TF32 keeps 10 of 23 bits of the numbers that are multiplied; sums are float32. On a CPU nothing is changed.
    """
    if device.type != "cuda":
        yield
        return
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        settings.fp32_precision = before


class Surroundings:
    """The random streams and the thread count of one training, put in place of the caller's while it runs."""

    def __init__(self, device: torch.device, threads: int, seed: int) -> None:
        self._device = device
        self._threads = threads
        self._seed = seed
        self._cpu = torch.Generator().manual_seed(seed).get_state()
        self._cuda: torch.Tensor | None = None
        self._inside = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Go on with this training's random streams and threads, and leave the caller's as they were."""
        threads = torch.get_num_threads()
        cuda = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.set_num_threads(self._threads)
            torch.set_rng_state(self._cpu)
            if cuda:
                if self._cuda is None:
                    torch.cuda.manual_seed(self._seed)
                else:
                    torch.cuda.set_rng_state(self._cuda, self._device)
            self._inside = True
            try:
                yield
            finally:
                self._remember()
                self._inside = False
                torch.set_num_threads(threads)

    def arrays(self) -> Arrays:
        """The state of the random streams: ``cpu`` and, on a GPU that has trained, ``cuda``."""
        if self._inside:
            self._remember()
        arrays = {"cpu": self._cpu.numpy()}
        return arrays if self._cuda is None else arrays | {"cuda": self._cuda.numpy()}

    def restore(self, arrays: Arrays) -> None:
        """The inverse of `arrays`. Raises `KeyError` or `RuntimeError` for what is no such state."""
        state = torch.from_numpy(arrays["cpu"].copy())
        torch.Generator().set_state(state)
        self._cpu = state
        if self._device.type == "cuda" and "cuda" in arrays:
            self._cuda = torch.from_numpy(arrays["cuda"].copy())

    def _remember(self) -> None:
        self._cpu = torch.get_rng_state()
        if self._device.type == "cuda":
            self._cuda = torch.cuda.get_rng_state(self._device)

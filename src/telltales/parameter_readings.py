"""What one observed step says of the parameters: their gradients, their values before the update, and the update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from telltales.moments import Measured, Numbers, OnDevice
from telltales.observation import COLUMNS, Histogram, Reading
from telltales.statistics import norms, spectral_norm
from telltales.transfer import STACKED, Transfer, stacks


@dataclass
class Stack:
    """Tensors of one shape as the rows of a matrix."""

    names: list[str]
    matrix: torch.Tensor


class ParameterReadings:
    """Takes gradients and parameters in while the step runs; gives tables when it is over."""

    def __init__(
        self,
        transfer: Transfer,
        parameters: Mapping[str, torch.nn.Parameter],
        *,
        pictures: bool,
        spectral_norms: bool,
        keep_gradients: bool,
    ) -> None:
        """``parameters``: those that are trained, by name."""
        self._transfer = transfer
        self._parameters = parameters
        self._pictures = pictures
        self._spectral = spectral_norms
        self._keep = keep_gradients
        self._before: list[Stack] = []
        self._snapshotted: set[str] = set()
        self._gradients = LatestGradients(transfer, pictures)
        self._used_norms: list[tuple[list[str], int]] = []
        self._weights = Measured(transfer, pictures)
        self._changes: list[tuple[int, int]] = []
        self._spectral_tickets: dict[str, int] = {}
        self._pair_tickets: list[tuple[int, int]] = []
        self._previous: list[Stack] = []
        self.gradients: list[Stack] = []
        """The step's gradients themselves, where they are kept for `compare_with`."""

    def snapshot(self, names: Iterable[str]) -> None:
        """Keep the values of parameters as they are before the update; what is already kept stays."""
        names = [name for name in names if name in self._parameters and name not in self._snapshotted]
        self._snapshotted.update(names)
        tensors = [self._parameters[name].detach() for name in names]
        for places, matrix in stacks(tensors):
            shared = matrix.data_ptr() == tensors[places[0]].data_ptr()
            self._before.append(Stack([names[p] for p in places], matrix.clone() if shared else matrix))

    def backward_ended(self, names: Iterable[str], scale: float) -> None:
        """Measure the gradients that a backward pass has just completed, divided by the loss scale."""
        for stack in self._stacked_gradients(names):
            matrix = stack.matrix / scale if scale != 1 else stack.matrix
            # A gradient on its own is not copied so far, and clipping would change it.
            if len(stack.names) == 1 and scale == 1 and (self._keep or matrix.numel() <= STACKED):
                matrix = matrix.clone()
            self._gradients.take(Stack(stack.names, matrix))
            if self._keep:
                self.gradients = [kept for kept in self.gradients if kept.names != stack.names]
                self.gradients.append(Stack(stack.names, matrix))

    def updated(self, names: Iterable[str]) -> None:
        """An optimizer has just used the gradients of these parameters: they are what the step is about."""
        names = list(names)
        self.backward_ended([name for name in names if name not in self._gradients], 1.0)
        self._gradients.settle(names)
        self._used_norms += [
            (stack.names, self._transfer.put(norms(stack.matrix))) for stack in self._stacked_gradients(names)
        ]

    def compare_with(self, previous: list[Stack]) -> None:
        """Relate this step's gradients to those of the step before, for the noise scale."""
        self._previous = previous

    def put(self) -> None:
        """Measure the changes, and what else had to wait for the end of the step."""
        if not self._used_norms:
            self.backward_ended([name for name in self._parameters if name not in self._gradients], 1.0)
        self._gradients.put()
        for stack in self._before:
            self._put_change(stack)
        by_names = {tuple(stack.names): stack.matrix for stack in self._previous}
        for stack in self.gradients:
            before = by_names.get(tuple(stack.names))
            if before is not None and before.shape == stack.matrix.shape:
                dot = (before * stack.matrix).sum()
                apart = (before - stack.matrix).square().sum()
                self._pair_tickets.append((self._transfer.put(dot), self._transfer.put(apart)))

    def look_closer(self) -> None:
        """See `Measured.look_closer`."""
        self._weights.look_closer()
        self._gradients.look_closer()

    def tables(self) -> dict[str, Reading]:
        """After the transfers: the tables of gradients, weights and updates."""
        weights, updates = self._weights_and_updates()
        tables = {"gradient": self._gradient_rows(weights), "weight": weights, "update": updates}
        return {kind: self._ordered(rows) for kind, rows in tables.items() if rows}

    def histograms(self) -> dict[str, dict[str, Histogram]]:
        """After the transfer: the histograms of gradients and weights."""
        return {"gradient": self._gradients.histograms(), "weight": self._weights.histograms()}

    def norms(self) -> dict[str, float]:
        """After the transfer: the norm of all gradients together, before clipping and as the optimizers used them."""
        names, n, rows = self._gradients.complete()
        found = {"gradient_norm": math.sqrt(float(n @ rows[:, 2] ** 2))} if names else {}
        used = self._used()
        if used:
            found["gradient_norm_used"] = math.sqrt(sum(norm**2 for norm in used.values()))
        return found

    def pair(self) -> tuple[float, float] | None:
        """After the transfer: this step's gradient times the one before, and the squared distance between both."""
        if not self._pair_tickets:
            return None
        dots, apart = zip(*((self._transfer[a], self._transfer[b]) for a, b in self._pair_tickets), strict=True)
        return float(np.sum(dots)), float(np.sum(apart))

    def _stacked_gradients(self, names: Iterable[str]) -> list[Stack]:
        found = {
            name: gradient
            for name in names
            if name in self._parameters and (gradient := self._parameters[name].grad) is not None
        }
        listed = list(found)
        return [Stack([listed[p] for p in places], matrix) for places, matrix in stacks(list(found.values()))]

    def _put_change(self, stack: Stack) -> None:
        tensors = [self._parameters[name].detach() for name in stack.names]
        ((_, after),) = stacks(tensors)
        change = after - stack.matrix
        mean = change.mean(1)
        self._weights.measure(stack.names, stack.matrix)
        self._changes.append((self._transfer.put(mean), self._transfer.put(norms(change - mean[:, None]))))
        if self._spectral and tensors[0].dim() >= 2 and not tensors[0].is_complex():
            for name, row in zip(stack.names, stack.matrix, strict=True):
                self._spectral_tickets[name] = self._transfer.put(spectral_norm(row.reshape(tensors[0].shape)))

    def _weights_and_updates(self) -> tuple[dict[str, Numbers], dict[str, Numbers]]:
        names, n, rows = self._weights.complete()
        if not names:
            return {}, {}
        mean, std, rms, low, high, _, nonfinite = rows.T
        moved_mean, distance = (
            np.concatenate([self._transfer[pair[which]] for pair in self._changes]).astype(np.float64)
            for which in (0, 1)
        )
        tickets = (self._spectral_tickets.get(name) for name in names)
        spectral = [math.nan if ticket is None else float(self._transfer[ticket]) for ticket in tickets]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            moved_std = distance / np.sqrt(n - 1)
            moved_rms = np.sqrt(distance**2 / n + moved_mean**2)
        ratio = self._ratios(names, moved_std, moved_rms, std, rms)
        weights = np.stack([mean, std, rms, rms * np.sqrt(n), low, high, nonfinite, np.array(spectral)], 1)
        updates = np.stack([moved_std, moved_rms, moved_rms * np.sqrt(n), ratio], 1)
        return dict(zip(names, weights, strict=True)), dict(zip(names, updates, strict=True))

    def _gradient_rows(self, weights: Mapping[str, Numbers]) -> dict[str, Numbers]:
        names, n, rows = self._gradients.complete()
        if not names:
            return {}
        mean, std, rms, low, high, zeros, nonfinite = rows.T
        unknown = np.full(len(COLUMNS["weight"]), np.nan)
        of_weights = np.array([weights.get(name, unknown)[1:3] for name in names])
        ratio = self._ratios(names, std, rms, *of_weights.T)
        used = self._used()
        norm_used = np.array([used.get(name, math.nan) for name in names])
        table = np.stack([mean, std, rms, rms * np.sqrt(n), low, high, zeros, nonfinite, ratio, norm_used], 1)
        return dict(zip(names, table, strict=True))

    def _used(self) -> dict[str, float]:
        return {
            name: float(norm)
            for names, ticket in self._used_norms
            for name, norm in zip(names, self._transfer[ticket], strict=True)
        }

    def _ordered(self, rows: Mapping[str, Numbers]) -> Reading:
        names = tuple(name for name in self._parameters if name in rows)
        return Reading(names, np.array([rows[name] for name in names], np.float32))

    def _ratios(self, names: list[str], std: Numbers, rms: Numbers, of_std: Numbers, of_rms: Numbers) -> Numbers:
        """Std to std for a matrix, as in the lecture; RMS to RMS for a vector, whose std says little (a norm's gain
        starts as all ones), and for a constant. NaN where the parameter is zero."""
        is_matrix = np.array([self._parameters[name].dim() >= 2 for name in names])
        by_std = is_matrix & (of_std > 0)
        above, below = np.where(by_std, std, rms), np.where(by_std, of_std, of_rms)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.where(below > 0, above / below, np.nan)


class LatestGradients:
    """The gradients of each parameter as the last backward pass before its update left them."""

    def __init__(self, transfer: Transfer, histograms: bool) -> None:
        self._with_histograms = histograms
        self._latest: dict[str, tuple[OnDevice, int]] = {}
        self._settled: dict[str, tuple[OnDevice, int]] = {}
        self._measured = Measured(transfer, histograms)

    def __contains__(self, name: str) -> bool:
        return name in self._latest

    def take(self, stack: Stack) -> None:
        """What a backward pass has completed, in place of what one before it did."""
        found = OnDevice.of(stack.matrix, self._with_histograms)
        self._latest |= {name: (found, row) for row, name in enumerate(stack.names)}

    def settle(self, names: Iterable[str]) -> None:
        """An update has used these; what a later backward pass leaves is not this step's."""
        self._settled |= {name: self._latest[name] for name in names if name in self._latest}

    def put(self) -> None:
        """Let those that count be sent."""
        rows: dict[int, tuple[OnDevice, dict[str, int]]] = {}
        for name, (found, row) in (self._latest | self._settled).items():
            rows.setdefault(id(found), (found, {}))[1][name] = row
        for found, places in rows.values():
            wanted = list(places.values())
            whole = wanted == list(range(found.moments.shape[0]))
            self._measured.add(list(places), found if whole else found.rows(wanted))

    def look_closer(self) -> None:
        self._measured.look_closer()

    def complete(self) -> tuple[list[str], NDArray[np.int64], Numbers]:
        return self._measured.complete()

    def histograms(self) -> dict[str, Histogram]:
        return self._measured.histograms()

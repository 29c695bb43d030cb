"""How many examples each class has, and how many of them are predicted wrongly."""

from __future__ import annotations

import torch

from telltales.errors import UsageError


def class_errors(predicted: torch.Tensor | None, targets: torch.Tensor | None) -> dict[str, tuple[int, int]] | None:
    """Class → its examples and its errors. ``predicted``: scores (N, C) or classes (N,). Targets below 0 are left out.

    Further dimensions, as places in a text, count as examples, where scores have the classes last. None without both.

    Raises `UsageError` where shapes do not fit.
    """
    if predicted is None or targets is None:
        if predicted is not targets:
            raise UsageError("predicted and targets go together", remedy="Give both of them, or neither.")
        return None
    if predicted.shape[:-1] == targets.shape and predicted.ndim > targets.ndim:
        predicted = predicted.argmax(-1)
    if predicted.shape != targets.shape:
        shapes = f"{tuple(predicted.shape)} and {tuple(targets.shape)}"
        raise UsageError(
            f"predicted and targets have the shapes {shapes}", remedy="Give scores (N, C) and classes (N,)."
        )
    known = targets >= 0
    targets, wrong = targets[known].flatten(), (predicted != targets)[known].flatten()
    labels, places = torch.unique(targets, return_inverse=True)
    counts = torch.zeros(len(labels), 2, dtype=torch.long, device=targets.device)
    counts.index_add_(0, places, torch.stack([torch.ones_like(places), wrong.long()], dim=1))
    return {
        str(label): (count, missed) for label, (count, missed) in zip(labels.tolist(), counts.tolist(), strict=True)
    }

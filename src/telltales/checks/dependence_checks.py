"""On what an output depends: on other examples, on later positions, on the input at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.utils import _pytree as pytree

from telltales.catalogue import made
from telltales.checks.calling import Calling
from telltales.checks.look import Look
from telltales.checks.loss_checks import is_along_the_batch
from telltales.checks.restoring import restored
from telltales.checks.result import NotApplicable
from telltales.finding import Finding
from telltales.thresholds import DEPENDS, NEXT_TOKEN


def batch_mixing(look: Look) -> Iterator[Finding]:
    """An example is exchanged for another, and the output of a third one changes."""
    size = look.calling.size
    _assert_batch_first(look)
    with restored(look.model):
        look.model.eval()
        before = _output(look, look.calling)
        if before.dim() == 0 or before.shape[0] != size or size < 2:
            raise NotApplicable("the output's first dimension is not the input's")
        if before.shape == (size, size) and _is_matching(look):
            raise NotApplicable("the output compares each example with each")
        scale = _scale(before)
        for changed in sorted({0, size // 2, size - 1}):
            after = _output(look, look.calling.mapped(_Exchanged(changed, size)))
            difference = (after - before).abs().reshape(size, -1).amax(1)
            difference[changed] = 0
            others = (difference > DEPENDS * scale).nonzero().flatten().tolist()
            if others:
                evidence = (
                    f"with example {changed} exchanged, the outputs of {len(others)} of the {size - 1} others change, "
                    f"example {others[0]}'s by {float(difference[others[0]]):.3g} (std of the outputs: {scale:.3g})"
                )
                numbers = {"changed": changed, "others": others[:32], "size": size}
                yield made("batch-mixing", evidence, numbers=numbers)
                return


def _assert_batch_first(look: Look) -> None:
    """Raises `NotApplicable` where it is not sure that the first dimension is the batch, or examples may meet."""
    main = look.calling.main
    if main is None or look.calling.size < 2:
        raise NotApplicable("there are not two examples in the batch")
    if any(leaf is not main and _ties_examples(leaf, look.calling.size) for leaf in look.calling.tensors):
        raise NotApplicable("an input says which examples belong together")
    if is_along_the_batch(look):
        raise NotApplicable("the softmax runs over the batch")
    for event in look.seen.events:
        module = event.module
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.track_running_stats:
            raise NotApplicable("a batch norm without buffers mixes examples on purpose")
    time_first = any(getattr(module, "batch_first", True) is False for module in look.model.modules())
    targets = [leaf for leaf in pytree.tree_leaves(look.calling.targets) if isinstance(leaf, torch.Tensor)]
    is_sure = any(leaf.dim() and leaf.shape[0] == look.calling.size for leaf in targets) and (
        main.dim() < 3 or all(leaf.dim() < 2 or leaf.shape[1] != main.shape[1] for leaf in targets)
    )
    if time_first and main.dim() >= 2 and (not is_sure or main.shape[0] == main.shape[1]):
        raise NotApplicable("which dimension is the batch is not certain")
    if time_first and any(leaf.dim() > 1 and leaf.shape[:2] == main.shape[:2] for leaf in targets):
        raise NotApplicable("which dimension is the batch is not certain")


def _is_matching(look: Look) -> bool:
    """Whether each example is to be matched with its own number, as images with their captions."""
    own = torch.arange(look.calling.size)
    return any(torch.equal(call.target.detach().cpu().flatten(), own) for call in look.seen.losses)


def _ties_examples(leaf: torch.Tensor, size: int) -> bool:
    """Whether an input says which examples belong together: a graph's edges as a list (2, edges) or a matrix."""
    if leaf.layout != torch.strided or leaf.shape == (size, size):
        return True
    is_number = not leaf.is_floating_point() and not leaf.is_complex() and leaf.dtype != torch.bool
    return is_number and leaf.dim() == 2 and leaf.shape[0] == 2 != size


class _Exchanged:
    """Puts another example's values in one example's place."""

    def __init__(self, changed: int, size: int) -> None:
        self._changed, self._size = changed, size

    def __call__(self, leaf: torch.Tensor) -> torch.Tensor:
        if not leaf.dim() or leaf.shape[0] != self._size:
            return leaf
        same = (leaf == leaf[self._changed]).reshape(self._size, -1).all(1)
        others = (~same).nonzero().flatten().tolist()
        if not others:
            return leaf
        result = leaf.detach().clone()
        result[self._changed] = leaf[others[0]]
        return result


def future_leak(look: Look) -> Iterator[Finding]:
    """Later positions are changed, and the output at an earlier one changes; or the target is the input itself."""
    tokens = look.calling.main
    if tokens is None or tokens.dim() < 2 or tokens.shape[1] < 3:
        raise NotApplicable("the input is no sequence")
    copies = _targets_are_inputs(look, tokens)
    is_sequence = look.sequence
    if is_sequence is None:
        is_sequence = _is_next_token(look, tokens)
        if not is_sequence and not copies:
            raise NotApplicable("the targets are not the inputs shifted by one; say sequence=True if they should be")
    length = int(tokens.shape[1])
    with restored(look.model):
        look.model.eval()
        leak = _leak(look, tokens, length)
    if is_sequence and leak is not None:
        seen, changed, difference, scale = leak
        evidence = (
            f"with the inputs from position {changed} on changed, the output at position {seen} changes by "
            f"{difference:.3g} (std of the outputs: {scale:.3g})"
        )
        yield made("future-leak", evidence, numbers={"position": seen, "changed": changed, "length": length})
    elif copies and (look.sequence or leak is None):
        evidence = (
            f"the targets are the {tokens.numel():,} inputs themselves, position by position: they are not shifted"
        )
        yield made("future-leak", evidence, numbers={"targets": "inputs", "length": length})


def _leak(look: Look, tokens: torch.Tensor, length: int) -> tuple[int, int, float, float] | None:
    """The last position that sees later ones, from where on these were changed, and by how much it changed."""
    before = _positions(_output(look, look.calling), tokens)
    scale = _scale(before)
    for last in sorted({0, length // 2 - 1, length - 2}):
        after = _positions(_output(look, _from(look.calling, tokens, last + 1)), tokens)
        difference = (after - before).abs()[:, : last + 1].amax((0, 2))
        seeing = (difference > DEPENDS * scale).nonzero().flatten().tolist()
        if seeing:
            return seeing[-1], last + 1, float(difference[seeing[-1]]), scale
    return None


def _from(calling: Calling, tokens: torch.Tensor, first: int) -> Calling:
    """With other inputs from position ``first`` on."""

    def change(leaf: torch.Tensor) -> torch.Tensor:
        if leaf is not tokens:
            return leaf
        result = leaf.detach().clone()
        if leaf.is_floating_point():
            result[:, first:] = leaf[:, first:].flip(0) + leaf.std() + 1
        else:
            known = torch.unique(leaf)
            result[:, first:] = known[(torch.searchsorted(known, leaf[:, first:].contiguous()) + 1) % known.numel()]
        return result

    return calling.mapped(change)


def _positions(output: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The output as (batch, position, units). Raises `NotApplicable` where it has no positions."""
    batch, length = tokens.shape[:2]
    if output.dim() >= 2 and tuple(output.shape[:2]) == (batch, length):
        return output.reshape(batch, length, -1)
    if output.dim() == 3 and output.shape[0] == batch and output.shape[2] == length:
        return output.transpose(1, 2)
    if output.dim() == 2 and output.shape[0] == batch * length:
        return output.reshape(batch, length, -1)
    raise NotApplicable("the output does not have the input's positions")


def _target_tensor(look: Look) -> torch.Tensor | None:
    leaves = [leaf for leaf in pytree.tree_leaves(look.calling.targets) if isinstance(leaf, torch.Tensor)]
    return leaves[0] if len(leaves) == 1 else None


def _is_next_token(look: Look, tokens: torch.Tensor) -> bool:
    """Whether the targets are class numbers and nearly all of them the next position's input."""
    target = _target_tensor(look)
    if target is None or target.is_floating_point() or tokens.is_floating_point() or target.numel() != tokens.numel():
        return False
    target, ids = target.reshape(tokens.shape)[:, :-1], tokens[:, 1:]
    counts = target >= 0
    is_varied = torch.unique(tokens).numel() > 2
    return is_varied and bool(counts.any()) and float((target == ids)[counts].float().mean()) >= NEXT_TOKEN


def _targets_are_inputs(look: Look, tokens: torch.Tensor) -> bool:
    """Whether the loss compares each position with its own input. A loss may do the shifting itself."""
    target = _target_tensor(look)
    if target is None or tokens.is_floating_point() or target.shape != tokens.shape or torch.unique(tokens).numel() < 3:
        return False
    calls = look.seen.losses
    is_shifted = not calls or any(call.target.numel() != tokens.numel() for call in calls)
    is_shifted = is_shifted or any(not torch.equal(call.target.flatten(), tokens.flatten()) for call in calls)
    return not is_shifted and torch.equal(target, tokens)


def _output(look: Look, calling: Calling) -> torch.Tensor:
    torch.manual_seed(look.seed)
    with torch.no_grad():
        return calling.output(look.model).detach().float()


def _scale(output: torch.Tensor) -> float:
    """The outputs' size; 1e-12 where they are all the same, as those of an output layer that starts at zero."""
    return max(float(output.std()) if output.numel() > 1 else 0.0, 1e-12)


def exchanged(calling: Calling) -> Calling:
    """With each example's inputs given to the next one, so that none fits its target."""
    size = calling.size
    return calling.mapped(lambda leaf: leaf.roll(1, 0) if leaf.dim() and leaf.shape[0] == size else leaf)


def blanked(calling: Calling) -> Calling:
    """With the same inputs for every example: those of the first."""
    size = calling.size

    def first(leaf: torch.Tensor) -> torch.Tensor:
        return leaf[:1].expand_as(leaf).clone() if leaf.dim() and leaf.shape[0] == size else leaf

    return replace(calling, inputs=calling.mapped(first).inputs)

"""From a finding to a concrete change, where the remedy is mechanical. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from telltales.finding import Finding
from telltales.thresholds import UPDATE_GUIDE

MOST_LINES = 12
"""So many lines of code are written out; more places are counted."""


@dataclass(frozen=True)
class Prescription:
    """One change that should make a finding go away."""

    rule: str
    kind: str
    """What is changed: ``initial-weights``, ``output-scale``, ``bias``, ``parameters``, ``optimizer``,
    ``learning-rate``, ``weight-decay``, ``epsilon``, ``order``, ``zero-grad``, ``mode``, ``loss`` or ``stop``."""
    text: str
    """The change in words."""
    code: str
    """The change as Python, with ``model`` and ``optimizer`` standing for yours."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The numbers and names of the change."""

    def as_json(self) -> dict[str, Any]:
        return {"rule": self.rule, "kind": self.kind, "text": self.text, "code": self.code, "values": dict(self.values)}

    def __str__(self) -> str:
        return f"{self.text}\n    " + self.code.replace("\n", "\n    ")


def prescribe(finding: Finding) -> Prescription | None:
    """The change that a finding calls for; None where it takes a person to say what that is."""
    write = _WRITERS.get(finding.rule)
    return None if write is None else write(finding)


def _made(finding: Finding, kind: str, text: str, code: str, **values: Any) -> Prescription:
    return Prescription(finding.rule, kind, text, code, values)


def _initial_weights(finding: Finding) -> Prescription | None:
    layers: Mapping[str, Mapping[str, float]] = finding.numbers.get("layers") or {}
    if not isinstance(layers, Mapping) or not layers:
        return None
    shown = list(layers.items())[:MOST_LINES]
    code = [f'torch.nn.init.normal_(model.get_parameter("{name}"), std={one["right"]:.4g})' for name, one in shown]
    more = [f"# and {len(layers) - len(shown)} more"] if len(layers) > len(shown) else []
    parts = (f"{name} from a std of {one['std']:.3g} to {_gain(one)} = {one['right']:.3g}" for name, one in shown)
    return _made(finding, "initial-weights", "Rescale " + "; ".join(parts) + ".", "\n".join(code + more), layers=layers)


def _gain(layer: Mapping[str, float]) -> str:
    return f"{layer['gain']:.3g}/sqrt({layer['fan_in']:.0f})"


def _output_scale(finding: Finding) -> Prescription | None:
    name = str(finding.numbers.get("output") or "output")
    code = f'with torch.no_grad():\n    model.get_submodule("{name}").weight.mul_(0.1)\n    '
    code += f'model.get_submodule("{name}").bias.zero_()'
    text = f"Multiply the first weights of the output layer ({name}) by 0.1, and start its bias at zero."
    return _made(finding, "output-scale", text, code, factor=0.1, module=name)


def _bias(finding: Finding) -> Prescription | None:
    names = _places(finding)
    code = "\n".join(f'model.get_submodule("{name.removesuffix(".bias")}").bias = None' for name in names[:MOST_LINES])
    text = f"Drop the bias of {', '.join(names[:MOST_LINES])} (bias=False): the norm after it takes it away."
    return _made(finding, "bias", text, code, names=names)


def _parameters(finding: Finding) -> Prescription | None:
    names = [str(name) for name in finding.numbers.get("missing", _places(finding))]
    listed = ", ".join(f'"{name}"' for name in names[:MOST_LINES])
    more = f"  # and {len(names) - MOST_LINES} more" if len(names) > MOST_LINES else ""
    code = f'optimizer.add_param_group({{"params": [model.get_parameter(name) for name in ({listed},)]}}){more}'
    return _made(finding, "parameters", f"Add {len(names)} parameters to the optimizer.", code, names=names)


def _optimizer(finding: Finding) -> Prescription | None:
    if not finding.numbers.get("missing"):
        return None
    text = "Make the optimizer again, now that the model has its final parameters."
    code = "optimizer = type(optimizer)(model.parameters(), **optimizer.defaults)"
    return _made(finding, "optimizer", text, code)


def _learning_rate(finding: Finding) -> Prescription | None:
    ratio, rate = float(finding.numbers.get("ratio", math.nan)), float(finding.numbers.get("learning_rate", math.nan))
    if not (ratio > 0 and rate > 0 and math.isfinite(rate / ratio)):
        return None
    value = float(f"{rate * float(UPDATE_GUIDE) / ratio:.1g}")
    text = f"Set the learning rate to {value:g} in place of {rate:g}: the update ratio comes to about {UPDATE_GUIDE:g}."
    return _made(finding, "learning-rate", text, _in_groups("lr", value), value=value, before=rate)


def _weight_decay(finding: Finding) -> Prescription | None:
    before, share = float(finding.numbers.get("weight_decay", math.nan)), float(finding.numbers.get("share", math.nan))
    if not (before > 0 and share > 0):
        return None
    # A twentieth of the update is a usual share.
    value = float(f"{before * min(0.05 / share, 0.1):.1g}")
    text = f"Set the weight decay to {value:g} in place of {before:g}."
    return _made(finding, "weight-decay", text, _in_groups("weight_decay", value), value=value, before=before)


def _epsilon(finding: Finding) -> Prescription | None:
    return _made(finding, "epsilon", "Set Adam's epsilon to 1e-8.", _in_groups("eps", 1e-8), value=1e-8)


def _in_groups(key: str, value: float) -> str:
    return f'for group in optimizer.param_groups:\n    group["{key}"] = {value:g}'


def _order(finding: Finding) -> Prescription | None:
    code = "loader = torch.utils.data.DataLoader(dataset, batch_size, shuffle=True)"
    return _made(finding, "order", "Shuffle the examples before each epoch.", code)


def _zero_grad(finding: Finding) -> Prescription | None:
    return _made(finding, "zero-grad", "Clear the gradients before each backward pass.", "optimizer.zero_grad()")


def _mode(finding: Finding) -> Prescription | None:
    where = finding.numbers.get("training", "step")
    call, when = ("train", "training steps") if where == "step" else ("eval", f"measuring the {where} loss")
    return _made(finding, "mode", f"Call model.{call}() before {when}.", f"model.{call}()", mode=call)


def _loss(finding: Finding) -> Prescription | None:
    changes = {
        "double-softmax": (
            "Give the loss logits: leave the softmax or sigmoid to it.",
            "loss = loss_fn(logits, targets)",
        ),
        "missing-log-softmax": (
            "Use cross_entropy, which takes the log-softmax itself.",
            "loss = torch.nn.functional.cross_entropy(logits, targets)",
        ),
        "shape-layout": (
            "Give prediction and target the same shape.",
            "loss = loss_fn(prediction.reshape(targets.shape), targets)",
        ),
        "loss-reduction": ("Take the mean over the batch, and minimise it.", 'loss = loss_fn(..., reduction="mean")'),
    }
    text, code = changes[finding.rule]
    return _made(finding, "loss", text, code)


def _stop(finding: Finding) -> Prescription | None:
    step = finding.numbers.get("best_step")
    if step is None:
        return None
    return _made(finding, "stop", f"Keep the weights of step {step:,} and stop there.", f"steps = {step}", step=step)


def _decay_groups(finding: Finding) -> Prescription | None:
    code = (
        "matrices = [p for p in model.parameters() if p.dim() >= 2]\n"
        "others = [p for p in model.parameters() if p.dim() < 2]\n"
        'groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]\n'
        "optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)"
    )
    return _made(finding, "optimizer", "Decay the matrices only.", code)


def _adamw(finding: Finding) -> Prescription | None:
    code = "optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)"
    return _made(finding, "optimizer", "Use AdamW, which decays apart from the gradient.", code)


def _places(finding: Finding) -> Sequence[str]:
    return finding.places or ((finding.where,) if finding.where else ())


_WRITERS: Mapping[str, Callable[[Finding], Prescription | None]] = {
    "poor-init": _initial_weights,
    "initial-loss": _output_scale,
    "bias-before-norm": _bias,
    "unregistered-parameter": _parameters,
    "optimizer-mismatch": _optimizer,
    "learning-rate-too-high": _learning_rate,
    "learning-rate-too-low": _learning_rate,
    "update-too-large": _learning_rate,
    "excessive-weight-decay": _weight_decay,
    "low-adam-epsilon": _epsilon,
    "unshuffled-data": _order,
    "missing-zero-grad": _zero_grad,
    "train-eval-mode": _mode,
    "double-softmax": _loss,
    "missing-log-softmax": _loss,
    "shape-layout": _loss,
    "loss-reduction": _loss,
    "overfitting": _stop,
    "overtraining": _stop,
    "decay-on-norm": _decay_groups,
    "adam-l2": _adamw,
}

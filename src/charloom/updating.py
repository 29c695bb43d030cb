"""The update of an optimizer, without what surrounds it in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from jaxtyping import Float


class Update(Protocol):
    """What a training step ends with."""

    def __call__(self, learning_rate: float | torch.Tensor) -> None:
        """Update every parameter by its gradient."""

    def clear_gradients(self) -> None:
        """Forget every gradient."""

    def clip(self, largest: float) -> None:
        """Scale the gradients down so that their common norm is at most this."""

    def release(self) -> None:
        """Leave the optimizer as if it had made the updates itself."""


class OptimizerStep:
    """The optimizer's own step, with its hooks."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def __call__(self, learning_rate: float | torch.Tensor) -> None:
        """Update every parameter by its gradient."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()

    def clear_gradients(self) -> None:
        """Forget every gradient."""
        self._optimizer.zero_grad()

    def clip(self, largest: float) -> None:
        """Scale the gradients down so that their common norm is at most this."""
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, largest)

    def release(self) -> None:
        """Nothing to do."""


class FusedUpdate:
    """The update of an optimizer from `build_optimizer`: the same kernels, and so the same bits.

    `torch.optim.Optimizer.step` looks for hooks and profilers, gathers and sorts its tensors, and counts the steps of
    each parameter by itself. For a small network on a CPU that takes a third of the whole step. Here the tensors are
    gathered once, and all parameters share one count of steps until `release`. Hooks of the optimizer are not called.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._adam = "betas" in optimizer.param_groups[0]
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._remembered: list[list[list[torch.Tensor]]] = []
        for group in optimizer.param_groups:
            names = ("exp_avg", "exp_avg_sq") if self._adam else ("momentum_buffer",) * (group["momentum"] > 0)
            buffers = [[self._buffer(parameter, name) for parameter in group["params"]] for name in names]
            self._remembered.append(buffers)
        self._step = torch.zeros((), device=self._parameters[0].device)
        self.gather()

    def __call__(self, learning_rate: float | Float[torch.Tensor, ""]) -> None:
        """Update every parameter by its gradient. A rate that is a tensor (float32) lies on the parameters' device."""
        with torch.no_grad():
            if self._adam:
                self._step.add_(1)
            for group, buffers in zip(self._optimizer.param_groups, self._remembered, strict=True):
                gradients = [parameter.grad for parameter in group["params"]]
                update = self._as_adam if self._adam else self._as_sgd
                update(group, gradients, buffers, learning_rate)

    def clear_gradients(self) -> None:
        """Forget every gradient."""
        for parameter in self._parameters:
            parameter.grad = None

    def clip(self, largest: float) -> None:
        """`torch.nn.utils.clip_grad_norm_`, to the bit, without sorting the gradients by where and what they are."""
        with torch.no_grad():
            gradients: list[Any] = [parameter.grad for parameter in self._parameters]
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            torch._foreach_mul_(gradients, torch.clamp(largest / (norm + 1e-6), max=1.0))

    def tensors(self) -> list[torch.Tensor]:
        """All that an update changes: parameters, what the optimizer remembers, and the count of steps."""
        remembered = [tensor for buffers in self._remembered for buffer in buffers for tensor in buffer]
        return [*self._parameters, *remembered, self._step]

    def gather(self) -> None:
        """Go on from what the optimizer remembers, after `release`."""
        if self._adam:
            self._step.copy_(torch.as_tensor(self._optimizer.state[self._parameters[0]].get("step", 0.0)))
            for parameter in self._parameters:
                self._optimizer.state[parameter]["step"] = self._step

    def release(self) -> None:
        """Give each parameter its own count of steps again, as `torch.optim.Optimizer.step` needs it."""
        if self._adam:
            for parameter in self._parameters:
                self._optimizer.state[parameter]["step"] = self._step.clone()

    def _as_adam(self, group: dict[str, Any], gradients: Any, buffers: Any, learning_rate: Any) -> None:
        kernel: Any = torch._fused_adamw_ if isinstance(self._optimizer, torch.optim.AdamW) else torch._fused_adam_
        kernel(
            group["params"],
            gradients,
            *buffers,
            [],
            [self._step] * len(gradients),
            lr=learning_rate,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _as_sgd(self, group: dict[str, Any], gradients: Any, buffers: Any, learning_rate: Any) -> None:
        torch._fused_sgd_(
            group["params"],
            gradients,
            *(buffers or [[]]),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )

    def _buffer(self, parameter: torch.Tensor, name: str) -> torch.Tensor:
        """What is remembered of a parameter; before the first step, zeros, which give the same first update."""
        remembered: dict[str, torch.Tensor] = self._optimizer.state[parameter]
        if remembered.get(name) is None:
            remembered[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return remembered[name]

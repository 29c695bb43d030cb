"""What watching costs: each preset, and what else is used for it, on a small and a larger network.

    .venv/bin/python benchmarks/watching.py                 the deep MLP, then the transformer
    .venv/bin/python benchmarks/watching.py --only mlp      one of them
    .venv/bin/python benchmarks/watching.py --device cuda   on a GPU, the transformer on batches of 64 × 64

For every watcher two copies of one training take turns, a block of steps each, one of them watched; every step is
timed, and medians are compared. "Observed step" is what a step costs that is looked at, "other step" one that is not,
both in plain steps; "10,000" and "100,000" are what this adds to so many steps under the schedule (for the peers: under
the default schedule of telltales), and "measured" is the whole time of 10,000 watched steps against plain ones (of the
transformer on a GPU, 2,000). A GPU is waited for after each step that is timed alone, and in "measured" after a block.
Peers that are not installed are left out: pip install tensorboard wandb.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import telltales

Watcher = Callable[[nn.Module, torch.optim.Optimizer, Path, Callable[[int], bool]], Callable[[int, torch.Tensor], None]]
HORIZONS = (10_000, 100_000)


class Program:
    """A network, its optimizer and its batches."""

    def __init__(self, name: str, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Callable[[], Any]) -> None:
        self.name, self.model, self.optimizer, self.batch = name, model, optimizer, batch

    def step(self) -> torch.Tensor:
        inputs, targets = self.batch()
        loss = nn.functional.cross_entropy(self.model(inputs).flatten(0, -2), targets.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


def deep_mlp(device: str) -> Program:
    """Five hidden layers of 100 with batch norm and tanh on three characters, 47 thousand parameters, batch 32."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Embedding(27, 10), nn.Flatten()]
    inputs = 30
    for _ in range(5):
        layers += [nn.Linear(inputs, 100, bias=False), nn.BatchNorm1d(100), nn.Tanh()]
        inputs = 100
    model = nn.Sequential(*layers, nn.Linear(inputs, 27)).to(device)

    def batch() -> Any:
        return torch.randint(27, (32, 3), device=device), torch.randint(27, (32,), device=device)

    return Program("deep MLP, batch 32", model, torch.optim.SGD(model.parameters(), lr=0.1), batch)


class Decoder(nn.Module):
    def __init__(self, width: int = 384, layers: int = 6, vocabulary: int = 256, length: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(width, 6, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embedding(x) + self.position, mask=self.mask, is_causal=True))


def transformer(device: str) -> Program:
    """A decoder of six blocks, 384 wide, 10.9 million parameters, batches of 8 × 64 tokens (64 × 64 on a GPU)."""
    torch.manual_seed(0)
    model, rows = Decoder().to(device), 8 if device == "cpu" else 64

    def batch() -> Any:
        tokens = torch.randint(256, (rows, 65), device=device)
        return tokens[:, :-1], tokens[:, 1:]

    return Program(f"transformer, {rows} × 64 tokens", model, torch.optim.AdamW(model.parameters(), lr=3e-4), batch)


def ours(preset: str) -> Watcher:
    def attach(model, optimizer, folder, schedule):  # type: ignore[no-untyped-def]
        watch = telltales.watch(model, optimizer, preset=preset, schedule=schedule, path=folder / "record.jsonl")
        return lambda step, loss: watch.step(loss)

    return attach


def naive_hooks(model, optimizer, folder, schedule):  # type: ignore[no-untyped-def]
    """What people write first: hooks that take each statistic to the host by itself."""
    seen: dict[str, list[float]] = {}
    handles: list[Any] = []

    def statistics_of(name: str, x: torch.Tensor) -> None:
        x = x.detach().float()
        seen[name] = [x.mean().item(), x.std().item(), x.min().item(), x.max().item(), (x == 0).float().mean().item()]
        seen[f"{name} histogram"] = torch.histc(x, 64).tolist()

    def install() -> None:
        for name, module in model.named_modules():
            if not list(module.children()):
                handles.append(module.register_forward_hook(lambda m, a, out, n=name: observe(n, out)))

    def observe(name: str, out: torch.Tensor) -> None:
        statistics_of(name, out)
        if out.requires_grad:
            out.register_hook(lambda g: statistics_of(f"{name} gradient", g))

    def step(number: int, loss: torch.Tensor) -> None:
        if schedule(number):
            for name, parameter in model.named_parameters():
                statistics_of(f"{name} weight", parameter)
                if parameter.grad is not None:
                    statistics_of(f"{name} weight gradient", parameter.grad)
        for handle in handles:
            handle.remove()
        handles.clear()
        if schedule(number + 1):
            install()

    install()
    return step


def tensorboard(model, optimizer, folder, schedule):  # type: ignore[no-untyped-def]
    """Histograms of weights and their gradients; TensorBoard has none of activations or updates."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder / "tensorboard")

    def step(number: int, loss: torch.Tensor) -> None:
        if schedule(number):
            writer.add_scalar("loss", loss.detach(), number)
            for name, parameter in model.named_parameters():
                writer.add_histogram(name, parameter, number)
                if parameter.grad is not None:
                    writer.add_histogram(f"{name}/gradient", parameter.grad, number)

    return step


def wandb_watch(model, optimizer, folder, schedule):  # type: ignore[no-untyped-def]
    """``wandb.watch(log="all")``, offline: histograms of weights and their gradients."""
    import wandb

    os.environ["WANDB_SILENT"] = "true"
    run = wandb.init(mode="offline", dir=folder, project="bench", reinit="finish_previous")
    # Its own frequency counts backward passes; every one is looked at, and logged when the schedule says so.
    run.watch(model, log="all", log_freq=1 if schedule(1234) else 500)

    def step(number: int, loss: torch.Tensor) -> None:
        if schedule(number):
            run.log({"loss": loss.detach()}, step=number)

    return step


WATCHERS: dict[str, tuple[Watcher, Callable[[int], bool]]] = {
    "telltales economy": (ours("economy"), telltales.PRESETS["economy"].schedule),
    "telltales standard": (ours("standard"), telltales.PRESETS["standard"].schedule),
    "telltales full": (ours("full"), telltales.PRESETS["full"].schedule),
    "naive hooks": (naive_hooks, telltales.PRESETS["standard"].schedule),
    "TensorBoard": (tensorboard, telltales.PRESETS["standard"].schedule),
    "W&B watch": (wandb_watch, telltales.PRESETS["standard"].schedule),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("mlp", "transformer"))
    parser.add_argument("--watcher", action="append", choices=WATCHERS, help="this one only; may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    on = torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} thread(s)"
    print(f"torch {torch.__version__}, {on}")
    watchers = options.watcher or list(WATCHERS)
    # Steps to look at one by one, and steps under the real schedule, both for each side.
    if options.only != "transformer":
        compare(partial(deep_mlp, options.device), watchers, probing=200, running=10_000, block=100)
    if options.only != "mlp" and options.device == "cpu":
        compare(partial(transformer, options.device), watchers, probing=8, running=0, block=4)
    elif options.only != "mlp":
        compare(partial(transformer, options.device), watchers, probing=50, running=2_000, block=50)


def compare(make: Callable[[], Program], watchers: list[str], probing: int, running: int, block: int) -> None:
    program = make()
    parameters = sum(parameter.numel() for parameter in program.model.parameters())
    print(f"\n{program.name} ({parameters:,} parameters)")
    print(
        f"{'':20}{'plain step':>12}{'observed step':>15}{'other step':>12}{'10,000':>10}{'100,000':>10}{'measured':>10}"
    )
    for name in watchers:
        attach, schedule = WATCHERS[name]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.suppress(ImportError):
            plain, observed = take_turns(make, attach, lambda step: True, probing, block, Path(folder) / "a")
            unlooked, other = take_turns(make, attach, lambda step: step < 2, 5 * probing, block, Path(folder) / "b")
            base = statistics.median(plain)
            costs = statistics.median(observed) / base, statistics.median(other[2:]) / statistics.median(unlooked[2:])
            expected = ""
            for horizon in HORIZONS:
                share = sum(schedule(step) for step in range(horizon)) / horizon
                expected += f"{share * costs[0] + (1 - share) * costs[1] - 1:>+10.1%}"
            measured = ""
            if running and schedule(1234) is False:
                plain, watched = take_turns(make, attach, schedule, running, block, Path(folder) / "c", wait=False)
                measured = f"{sum(watched) / sum(plain) - 1:+.1%}"
            cells = f"{base * 1e6:>9,.0f} µs{costs[0]:>14.2f}×{costs[1]:>11.3f}×{expected}{measured:>10}"
            print(f"{name:20}{cells}", flush=True)


def take_turns(
    make: Callable[[], Program],
    attach: Watcher,
    schedule: Callable[[int], bool],
    steps: int,
    block: int,
    folder: Path,
    wait: bool = True,
) -> tuple[list[float], list[float]]:
    """Seconds of each step of a plain and of a watched training, which run a block of steps in turn.

    ``wait``: for a GPU, after every step rather than at the end of a block.
    """
    folder.mkdir()
    plain, watched = make(), make()
    watch = attach(watched.model, watched.optimizer, folder, schedule)
    times: tuple[list[float], list[float]] = ([], [])
    for first in range(0, steps, block):
        for side, program in enumerate((plain, watched)):
            last = min(first + block, steps) - 1
            for number in range(first, last + 1):
                started = time.perf_counter()
                loss = program.step()
                if side:
                    watch(number, loss)
                if loss.is_cuda and (wait or number == last):
                    torch.cuda.synchronize()
                times[side].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()

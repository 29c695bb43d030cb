"""`python -m faultbench.quiet`: long healthy trainings of odd kinds, and every warning that telltales gives of them."""

from __future__ import annotations

import argparse
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

KINDS = (
    ("GAN, two optimizers", "digits-gan", "plain"),
    ("REINFORCE", "pole-reinforce", "plain"),
    ("LoRA, its B at zero, most frozen", "names-lora", "plain"),
    ("warm-up and cosine, weights tied", "text-decoder", "plain"),
    ("warm-up and cosine", "text-gru", "warm-up and cosine"),
    ("gradients accumulated", "text-lstm", "plain"),
    ("gradients accumulated", "names-tanh", "accumulated"),
    ("residual branches that begin at zero", "digits-residual", "plain"),
)
"""What it is, a program, and a variant of it."""


def main() -> int:
    parser = argparse.ArgumentParser("faultbench.quiet", description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()

    import torch

    from faultbench.ours import Telltales
    from faultbench.programs.program import warm_up_and_cosine
    from faultbench.running import HEALTHY, Job
    from faultbench.training import run

    torch.set_num_threads(1)
    print(f"{options.steps:,} steps, {options.seeds} seeds each, evaluated eight times")
    warned = 0
    for what, program, variant in KINDS:
        began, named = time.perf_counter(), []
        for seed in range(options.seeds):
            training = Job(program, variant, HEALTHY, seed).training()
            if training.scheduler is not None:
                for group in training.optimizer.param_groups:
                    group["lr"] = group.pop("initial_lr")
                training.scheduler = warm_up_and_cosine(training.optimizer, options.steps // 15, options.steps)
            training.steps, training.evaluate_every = options.steps, max(options.steps // 8, 1)
            tool = Telltales()
            result = run(training, [tool])
            if result.failed is not None or result.heard[tool.name].crashed is not None:
                named.append(f"seed {seed} failed: {result.failed or result.heard[tool.name].crashed}")
            named += [f"seed {seed}: {one.rule} at step {one.step:,}: {one.said}" for one in tool.named()]
        warned += len(named)
        seconds = time.perf_counter() - began
        print(f"{what} ({program}, {variant}): {len(named) or 'no'} warnings, {seconds:.0f} s", flush=True)
        for line in named:
            print(f"  {line}", flush=True)
    return 3 if warned else 0


if __name__ == "__main__":
    sys.exit(main())

"""One process of a data-parallel training that is watched; prints what it saw as JSON.

Arguments: rank, folder, the step from which on the second process is to go its own way (-1 for none), and, where
a finding is to end the training, its rule; gradients are not cleared then.
"""

from __future__ import annotations

import json
import os
import sys

import nets
import torch
from torch import nn

import telltales

rank, folder, apart_from, raising = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
torch.manual_seed(0)
model = nets.deep_mlp(norm=False)
parallel = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=0.0005)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with telltales.watch(
    parallel, optimizer, path=f"{folder}/record.jsonl", schedule=lambda step: raising or step % 2 == 0, ranks=True
) as w:
    ended = ""
    if raising:
        w.raise_on(raising)
    try:
        for step, (x, y) in enumerate(nets.batches(5, size=32)):
            loss = nets.loss_of(parallel(x.chunk(2)[rank]), y.chunk(2)[rank])
            if not raising:
                optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
            if rank == 1 and step == apart_from:
                with torch.no_grad():
                    model[4].weight[0, 0] += 1e-6
            w.step(loss)
    except telltales.FindingError as error:
        ended = f"{error.finding.rule} at {step}"
norms = w.record.scalar("gradient_norm").tolist()
weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
seen = {"ended": ended, "steps": w.record.steps.tolist(), "norms": norms, "sum": float(weights.double().sum())}
print(json.dumps(seen | {"findings": [finding.as_json() for finding in w.findings()]}))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
sys.stdout.flush()
# Gloo's threads can outlive their process group and abort an orderly exit.
os._exit(0)

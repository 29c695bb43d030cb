"""Programs whose networks come from packages: transformers and peft, with random weights."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import nn

from faultbench.listening import Training
from faultbench.programs import data
from faultbench.programs.language import LENGTH, Decoder
from faultbench.programs.program import Program, cross_entropy, supervised, warm_up_and_cosine


class Logits(nn.Module):
    """A model of transformers as one that takes a tensor and gives logits."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inside(x).logits
        return logits


def text_gpt2(seed: int) -> Training:
    """GPT-2 of two small layers, AdamW with two groups, warm-up and cosine, clipping."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=data.VOCABULARY, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    config._attn_implementation = "eager"
    model = Logits(GPT2LMHeadModel(config))
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, 5e-3)
    return supervised(
        model,
        optimizer,
        data.text(LENGTH),
        cross_entropy,
        seed=seed,
        size=16,
        steps=200,
        clip=1.0,
        is_sequence=True,
        scheduler=warm_up_and_cosine(optimizer, 20, 200),
    )


@cache
def _names_or_text() -> data.Arrays:
    """Stretches of names and of documentation, and which is which."""
    generator = torch.Generator().manual_seed(0)
    kinds = [data.text(LENGTH), _name_lines()]

    def joined(place: int, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [kind[place][:most] for kind in kinds]
        x = torch.cat(parts)
        labels = torch.cat([torch.full((len(part),), number) for number, part in enumerate(parts)])
        order = torch.randperm(len(x), generator=generator)
        return x[order], labels[order]

    return (*joined(0, 1500), *joined(2, 64))


def text_bert(seed: int) -> Training:
    """BERT of two small layers that tells names from text; not causal, AdamW, warm-up and cosine."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=data.VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
        num_labels=2,
    )
    model = Logits(BertForSequenceClassification(config))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    schedule = warm_up_and_cosine(optimizer, 20, 300)
    return supervised(
        model, optimizer, _names_or_text(), cross_entropy, seed=seed, size=16, steps=300, scheduler=schedule
    )


@cache
def _pretrained() -> dict[str, torch.Tensor]:
    """A decoder's weights after 300 steps on Python's documentation and a few names."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Decoder()
        optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
        few = 300
        (x, y, _, _), (names_x, names_y, _, _) = data.text(LENGTH), _name_lines()
        x, y = torch.cat([x[: 2 * few], names_x[:few]]), torch.cat([y[: 2 * few], names_y[:few]])
        batch = data.sampler(x, y, 16, 0)
        for step in range(300):
            inputs, targets = batch(step)
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    return copy.deepcopy(model.state_dict())


@cache
def _name_lines() -> data.Arrays:
    """The built-in names, one after the other, cut into stretches."""
    import charloom

    items = charloom.load_data().corpus.items[:6000]
    known = {character: number for number, character in enumerate(data.CHARACTERS)}
    ids = torch.tensor([known[c] for c in "\n".join(items) if c in known])
    rows = ids[: (len(ids) - 1) // LENGTH * LENGTH + 1]
    x, y = rows[:-1].view(-1, LENGTH), rows[1:].view(-1, LENGTH)
    return x[64:], y[64:], x[:64], y[:64]


def names_lora(seed: int) -> Training:
    """A pretrained decoder that is frozen, and LoRA matrices that adapt it to names; AdamW."""
    from peft import LoraConfig, get_peft_model

    base = Decoder()
    base.load_state_dict(_pretrained())
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=["qkv", "out", "mlp.0", "mlp.2"]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    return supervised(model, optimizer, _name_lines(), cross_entropy, seed=seed, size=16, steps=300, is_sequence=True)


PROGRAMS = (
    Program("text-bert", "tuning", text_bert),
    Program("text-gpt2", "reporting", text_gpt2),
    Program("names-lora", "tuning", names_lora),
)

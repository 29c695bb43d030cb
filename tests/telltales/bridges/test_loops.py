"""The callbacks in the real Trainer of transformers and in Lightning: the same weights, every update a step."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from telltales.errors import ProbeError

pytestmark = pytest.mark.filterwarnings("ignore")


def weights(model: nn.Module) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()


def huggingface(tmp_path: Path, callbacks: list[Any], accumulate: int = 1) -> tuple[nn.Module, Any]:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    transformers.set_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    rows = torch.randint(20, (64, 8), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "labels": row} for row in rows]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=12,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulate,
        eval_strategy="steps",
        eval_steps=6,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=data, eval_dataset=data[:8], callbacks=callbacks
    )
    trainer.train()
    return model, trainer


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trainer_of_transformers(tmp_path: Path, accumulate: int) -> None:
    pytest.importorskip("transformers")
    from telltales.bridges.huggingface import TelltalesCallback

    plain, _ = huggingface(tmp_path, [], accumulate)
    callback = TelltalesCallback(report=tmp_path / "report.html")
    watched, trainer = huggingface(tmp_path, [callback], accumulate)
    assert weights(watched) == weights(plain)
    assert callback.watch is not None
    record = callback.watch.record
    assert record.steps.tolist() == [*range(10), 10]
    assert record.losses.last_step == 11
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert record.losses.mean == pytest.approx(logged, abs=1e-3)
    assert record.about["loss"]["kind"] == "cross_entropy"
    assert [(e.step, e.split) for e in record.evaluations.of("dev")] == [(6, "dev"), (12, "dev")]
    assert (tmp_path / "report.html").exists()
    assert record.outcome == "finished"
    assert all(not module._forward_hooks for module in watched.modules())
    assert all(finding.severity == "note" for finding in callback.findings if finding.rule != "loss-not-falling")


def test_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    from telltales.bridges.lightning import TelltalesCallback

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            losses.append(loss.item())
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    def fit(callbacks: list[Any]) -> nn.Module:
        torch.manual_seed(0)
        x = torch.randn(64, 4)
        data = torch.utils.data.TensorDataset(x, x[:, :3].argmax(1))
        loader = torch.utils.data.DataLoader(data, batch_size=4)
        module = Module()
        trainer = lightning.Trainer(
            max_epochs=2,
            accumulate_grad_batches=2,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            default_root_dir=str(tmp_path),
            callbacks=callbacks,
        )
        trainer.fit(module, loader, loader)
        return module

    losses: list[float] = []
    unwatched = weights(fit([]))
    losses.clear()
    callback = TelltalesCallback(report=tmp_path / "report.html")
    assert weights(fit([callback])) == unwatched
    assert callback.watch is not None
    record = callback.watch.record
    assert record.steps.tolist() == [*range(10), 10]
    assert record.losses.last_step == 15
    means = [sum(losses[place : place + 2]) / 2 for place in range(0, len(losses), 2)]
    assert record.losses.mean == pytest.approx(means, rel=1e-5)
    assert record.about["loss"]["kind"] == "cross_entropy"
    assert [e.step for e in record.evaluations.of("dev")] == [8, 16]
    assert record.scalar("batch_size")[0] == 4
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("by_hand", [False, True])
def test_lightning_with_manual_optimisation(tmp_path: Path, by_hand: bool) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    from telltales.bridges.lightning import TelltalesCallback

    losses: list[float] = []

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

        def training_step(self, batch: Any, index: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            losses.append(loss.item())
            if by_hand:
                loss.backward()
            else:
                self.manual_backward(loss)
            optimizer.step()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(x, x[:, :3].argmax(1))
    callback = TelltalesCallback()
    trainer = lightning.Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=str(tmp_path),
        callbacks=[callback],
    )
    if by_hand:
        with pytest.raises(ProbeError, match="manual_backward"):
            trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=8))
        return
    trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=8))
    assert callback.watch is not None
    assert callback.watch.record.losses.mean == pytest.approx(losses, rel=1e-5)
    assert callback.watch.record.about["loss"]["kind"] == "cross_entropy"
    assert not [finding for finding in callback.findings if finding.severity == "error"]

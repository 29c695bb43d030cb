"""Numbers of fewer bits in the products: what they change, where they are refused, and what stays float32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import small
from charloom.checkpoint import digest_of_arrays
from charloom.config import ModelConfig, TrainingConfig
from charloom.devices import products_in
from charloom.errors import CheckpointError, ConfigError
from charloom.fitting import create_run
from charloom.observer import Observer, Step
from charloom.runs import Run


class Kept(Observer):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.saved: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def stepped(self, training: Any, step: Step) -> None:
        assert step.loss.dtype == torch.float32
        self.losses.append(step.loss.item())

    def checkpoint_due(self, training: Any) -> None:
        self.saved.append(training.state())


def losses(**settings: Any) -> list[float]:
    kept = Kept()
    training = small.training(small.SMALL_MLP | {"layers": 2, "norm": "batch"}, **settings)
    training.run([kept])
    assert {array.dtype for array in training.model_arrays().values()} == {np.dtype("float32"), np.dtype("int64")}
    return kept.losses


def test_bf16_moves_the_losses_a_little() -> None:
    exact, rounded = np.array(losses()), np.array(losses(precision="bf16"))
    assert 1e-5 < abs(exact - rounded).max() < 0.1


def test_the_evaluation_is_in_float32() -> None:
    seen: set[tuple[bool, torch.dtype]] = set()
    training = small.training(small.SMALL_MLP, precision="bf16")
    training.model.output.register_forward_hook(
        lambda module, inputs, output: seen.add((module.training, output.dtype))
    )
    training.run()
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}


def test_the_products_of_an_evaluation_are_asked_for_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    @contextmanager
    def note(precision: str, device: torch.device) -> Iterator[None]:
        asked.append(precision)
        yield

    monkeypatch.setattr("charloom.training.products_in", note)
    small.training(small.SMALL_MLP, precision="bf16").run()
    assert asked == ["bf16", *["float32"] * 4]


def test_a_stopped_training_in_bf16_goes_on_to_the_same_bits() -> None:
    whole, kept = small.training(small.SMALL_MLP, precision="bf16"), Kept()
    whole.run([kept])
    resumed = small.training(small.SMALL_MLP, precision="bf16")
    resumed.restore(*next(saved for saved in kept.saved if saved[1]["step"] == 15))
    resumed.run()
    assert digest_of_arrays(resumed.model_arrays()) == digest_of_arrays(whole.model_arrays())


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ConfigError, match="--engine compiled does not train in bf16"):
        TrainingConfig(precision="bf16", engine="compiled")
    with pytest.raises(ConfigError, match="--precision 'half' is not one of its choices"):
        TrainingConfig(precision="half")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tf32 is how a GPU multiplies, and this training is on cpu"):
        small.training(small.SMALL_MLP, precision="tf32", device="cpu")


def test_bf16_on_the_cpu_is_trained_by_pytorch_which_says_why() -> None:
    training = small.training(small.SMALL_MLP, precision="bf16")
    training.run()
    assert (training.engine, training.engine_reason) == ("torch", "the compiled one does not train in bf16")


def test_products_on_a_gpu_are_set_and_put_back() -> None:
    settings = torch.backends.cuda.matmul
    before, cuda = settings.fp32_precision, torch.device("cuda")
    with products_in("tf32", cuda):
        assert settings.fp32_precision == "tf32"
        with products_in("float32", cuda):
            assert settings.fp32_precision == "ieee"
        assert settings.fp32_precision == "tf32"
    assert settings.fp32_precision == before
    with products_in("bf16", cuda):
        assert settings.fp32_precision == "ieee"
    with products_in("tf32", torch.device("cpu")):
        assert settings.fp32_precision == before


def test_a_run_keeps_its_precision_and_an_older_one_had_float32(tmp_path: Path) -> None:
    dataset, model = small.dataset(), ModelConfig(**small.SMALL_MLP)
    folder = create_run(dataset, model, TrainingConfig(**small.QUICK, precision="bf16"), root=tmp_path).folder
    run = Run.open(str(folder))
    assert run.training is not None
    assert run.training.precision == "bf16"
    config = json.loads((folder / "config.json").read_text())
    del config["training"]["precision"], config["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    older = Run.open(str(folder)).training
    assert older is not None
    assert older.precision == "float32"
    del config["training"]["batches"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="the fields of TrainingConfig"):
        Run.open(str(folder))

"""telltales in the loops of others, and its numbers in their trackers. Nothing in telltales imports these.

`huggingface.TelltalesCallback` for the Trainer of transformers, `lightning.TelltalesCallback` for Lightning, and
`trackers.track` with `Jsonl`, `TensorBoard`, `WandB`, `MLflow` and `Trackio`.
"""

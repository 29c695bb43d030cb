"""Training diagnostics for any `torch.nn.Module`, as verdicts: the layer, the number, the cause and the remedy.

Needs torch and numpy only, and knows nothing of language models.
"""

from __future__ import annotations

__version__ = "0.1.0"

"""From the words on the command line to a Network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advisor.network import Network


def open_network(model: str, input_text: str | None, *, device: str = "meta", weights: str | None = None) -> Network:
    """Loads MODEL and analyses it. `device` "cpu" gives it real weights, which timing and saliency need."""
    from advisor.models import load_model, load_weights
    from advisor.trace import NeedsRealTensors, analyze

    def opened(device: str) -> Network:
        # Seeded, since a network that chooses its way by the data (a detector) counts differently with other weights.
        loaded = load_model(model, input_text=input_text, device=device, seed=0)
        if weights:
            load_weights(loaded.module, weights)
        return analyze(loaded.module, loaded.example_inputs, name=loaded.name)

    try:
        return opened("cpu" if weights else device)
    except NeedsRealTensors:
        return opened("cpu")

"""How a validation on the page trains: the choices beside data, epochs and seeds."""

from __future__ import annotations

import streamlit as st

HALVING = {0: "full length for all", 2: "half of the plans go on", 3: "a third go on", 4: "a quarter go on"}
RATES = {"fixed": "the usual one", "auto": "from a sweep on the dense network"}
AMPS = {"none": "none (float32)", "bf16": "bfloat16", "fp16": "float16 (CUDA)"}
Training = tuple[int, str, str]  # halving (0: none), rate, amp
USUAL: Training = (0, "fixed", "none")


def training_choices(last: Training) -> Training:
    """The widgets, folded away; `last` is what they show first."""
    with st.expander("How to train", expanded=last != USUAL):
        columns = st.columns(3)
        halving = columns[0].selectbox(
            "Stop the worse plans early",
            list(HALVING),
            list(HALVING).index(last[0]),
            format_func=HALVING.__getitem__,
            key="halving",
            help="Successive halving: at each rung of epochs the better baselines and methods go on. "
            "The dense network and the plan always run to the end.",
        )
        rate = columns[1].selectbox(
            "Learning rate", list(RATES), list(RATES).index(last[1]), format_func=RATES.__getitem__, key="rate"
        )
        amp = columns[2].selectbox(
            "Mixed precision", list(AMPS), list(AMPS).index(last[2]), format_func=AMPS.__getitem__, key="amp"
        )
    return int(halving), str(rate), str(amp)


def words_of(training: Training) -> list[str]:
    """The same for the command line."""
    halving, rate, amp = training
    words = ["--halving", str(halving)] if halving else []
    words += ["--rate", rate] if rate != USUAL[1] else []
    return words + (["--amp", amp] if amp != USUAL[2] else [])

"""The left column: what the user chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from advisor.devices.profile import Profile
from advisor.examples.batches import EXAMPLES
from advisor.figures.wording import cost_title
from advisor.planning.budgets import COSTS
from advisor.planning.sensitivity import SENSITIVITIES
from validation.page import asked, work
from validation.page.choices import (
    Choices,
    budget_problem,
    cost_needs,
    input_problem,
    problems,
    selectable_data,
    selectable_patterns,
    selectable_sensitivities,
)
from validation.page.common import desk
from validation.page.offer import NO_PROFILE, USUAL, Offer


def choose(offer: Offer) -> tuple[Choices, bool]:
    """Draws the choices; returns them, and whether the plan was asked for just now."""
    restored: Choices = st.session_state["restored"]
    st.title("Sparsity Advisor", anchor=False)
    model, text = choose_network(offer, restored)
    section("Machine")
    profile_name = choose_profile(offer, restored)
    measure(model, text, offer)
    profile = offer.profile(profile_name)
    section("Budgets")
    budgets = choose_budgets(profile, restored)
    section("How")
    patterns = st.multiselect(
        "Patterns", selectable_patterns(), list(restored.patterns), key="patterns", placeholder="none"
    )
    kinds = selectable_sensitivities(model, offer)
    sensitivity = st.selectbox(
        "Sensitivity",
        kinds,
        index_of(restored.sensitivity, kinds),
        key=f"sensitivity of {len(kinds)}",
        help="How the loss of a missing connection is estimated.",
    )
    data = choose_data(sensitivity, restored)
    ends = st.checkbox(
        "First convolution and classifier, too", restored.include_ends, key="ends", help="They stay dense otherwise."
    )
    choices = Choices(
        model=model,
        input_text=text,
        profile=profile_name,
        patterns=tuple(patterns),
        budgets=budgets,
        sensitivity=sensitivity,
        data=data,
        include_ends=ends,
    )
    pins, forbidden = choose_for_layers(choices, restored)
    choices = replace(choices, pins=pins, forbidden=forbidden)
    missing = problems(choices, profile)
    with st.container(key="act"):
        if missing:
            st.caption(f":orange[{missing[0]}]")
        asked = st.button("Plan", type="primary", width="stretch", disabled=bool(missing))
    return choices, asked


def choose_data(sensitivity: str, restored: Choices) -> str:
    """Returns the data set that the sensitivity looks at; "" where it needs none, or none was chosen."""
    if not SENSITIVITIES[sensitivity].reads_data:
        return ""
    names = selectable_data()
    chosen: str | None = st.selectbox(
        "Its data",
        names,
        names.index(restored.data) if restored.data in names else None,
        key="sensitivity data",
        placeholder="labelled images",
        help=f"{EXAMPLES} training images of it. Losses of a network trained on other images mean little.",
    )
    return chosen or ""


def section(title: str) -> None:
    st.html(f'<div class="section">{title}</div>')


def index_of(name: str, names: Sequence[str]) -> int:
    """Where `name` stands; 0 where it does not. Widgets start from such an index, not from their session state:
    a browser that loads slowly loses a state that was set before its widget was there."""
    return names.index(name) if name in names else 0


def choose_network(offer: Offer, restored: Choices) -> tuple[str, str]:
    """Returns the model as `load_model` takes it, and the input shape as typed."""
    section("Network")
    own, known = offer.split(restored.model)
    source = st.segmented_control("Source", offer.sources, default=own, key="source", label_visibility="collapsed")
    source = source or own
    names = offer.networks(source)
    first = index_of(known if source == own else USUAL.get(source, ""), names)
    name = st.selectbox("Network", names, first, key=f"network {source}", label_visibility="collapsed")
    text = st.text_input("Input shape", restored.input_text, key="input", placeholder="its own, or as 1x3x224x224")
    complain(input_problem(text.strip()))
    return offer.spec(source, name), text.strip()


def choose_budgets(profile: Profile | None, restored: Choices) -> dict[str, str]:
    """Returns cost → limit as typed, without those that were left empty or lack what they need."""
    budgets: dict[str, str] = {}
    columns = st.columns(2, gap="small")
    if "budget taken" in st.session_state:  # from the front
        taken, text = st.session_state.pop("budget taken")
        st.session_state[f"budget {taken}"] = text
    for position, cost in enumerate(COSTS):
        needs = cost_needs(cost, profile)
        typed = columns[position % 2].text_input(
            cost_title(cost),
            "" if f"budget {cost}" in st.session_state else restored.budgets.get(cost, ""),
            key=f"budget {cost}",
            placeholder="no limit",
            disabled=bool(needs),
            help=needs or None,
        )
        if typed.strip() and not needs:
            budgets[cost] = typed.strip()
    for cost, typed in budgets.items():
        complain(budget_problem(cost, typed, profile))
    st.caption("A share of the dense network, `60%`, or absolute: `5M`, `12ms`, `40MB`, `3mJ`.")
    return budgets


def choose_for_layers(choices: Choices, restored: Choices) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pins and forbidden patterns, to choose among the network's layers or to type; globs of layers, too."""
    job = desk().find(work.network_key(choices))
    offers = asked.offered(job.result if job is not None else None, choices.patterns)
    state = st.session_state
    if "pins by hand" in state:  # from the view that changes a plan by hand
        state["pins"] = state.pop("pins by hand")
    found = []
    for title, key, kept, offer, kind, text in (
        ("Pinned", "pins", restored.pins, offers[0], "pin", "LAYER=OPTION, as layer4.*=channel@0.25"),
        (
            "Forbidden",
            "forbidden",
            restored.forbidden,
            offers[1],
            "forbid",
            "LAYER=PATTERN, as layer1.*=width",
        ),
    ):
        held = list(state[key]) if key in state else list(kept)
        chosen = st.multiselect(
            title,
            list(dict.fromkeys((*held, *offer))),
            None if key in state else list(kept),
            key=key,
            placeholder="none",
            accept_new_options=True,
            help=f"{text}. Choose, or type one and press Enter.",
        )
        for one in chosen:
            complain(asked.problem(one, kind))
        found.append(tuple(chosen))
    return found[0], found[1]


def complain(problem: str) -> None:
    if problem:
        st.caption(f":red[{problem}]")


def choose_profile(offer: Offer, restored: Choices) -> str:
    names = (NO_PROFILE, *offer.profile_names())
    measured = st.session_state.get("measured profile")  # makes a new widget that starts with it
    name: str = st.selectbox(
        "Profile",
        names,
        index_of(measured or restored.profile, names),
        key=f"profile after {measured}",
        label_visibility="collapsed",
        format_func=lambda held: Path(held).stem if held else "no profile: counts only, no times",
    )
    profile = offer.profile(name)
    if profile is not None:
        facts = profile.summary()
        error = (facts["error"] or {}).get("median_percent")
        st.caption(
            f"{facts['origin']} · {facts['settings']} · {facts['device']}"
            + (f" · predictions off by {error:.1f} % (median)" if error is not None else "")
        )
        for warning in facts["warnings"]:
            st.caption(f":orange[{warning}]")
    return name


def measure(model: str, input_text: str, offer: Offer) -> None:
    """Measuring the chosen network here, in the background."""
    with st.expander("Measure this machine"):
        training = st.toggle("Training steps, not inference", key="measure training")
        seconds = st.number_input("Seconds to spend", 10, 36_000, 120, step=30, key="measure seconds")
        go = st.button("Measure", width="stretch", disabled=bool(input_problem(input_text)))
        run, out = work.measurement(desk(), model, input_text, offer, seconds=int(seconds), training=training, start=go)
        st.caption("Times every distinct layer of this network under every pattern on this page's CPU.")
    if run is None:
        return
    if run.state == "running":
        watch_measurement(run, out)
    elif run.state == "failed":
        st.error(run.error)
    else:
        st.caption(f":green[Measured:] {out.stem}" if run.state == "done" else "Stopped. Measure goes on from there.")


@st.fragment(run_every=1.0)
def watch_measurement(run: Any, out: Path) -> None:
    if run.state != "running":
        if run.state == "done":
            st.session_state["measured profile"] = str(out)
        st.rerun()
    progress = run.progress()
    st.progress(progress.share or 0.0, text=f"{progress.text}" + (f", {progress.left} left" if progress.left else ""))
    if st.button("Stop", key="stop measuring", width="stretch"):
        run.stop()

"""A plan changed by hand on the page: one density or width at a time, and all totals at once."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitAPIException

from advisor.figures.wording import cost_text, cost_title, percent
from advisor.plans.plan import Plan
from validation.page.by_hand import ByHand
from validation.page.common import tiles


def what_if(plan: Plan) -> None:
    """The view. What was changed stays with the session as long as the plan is the same."""
    if plan.basis is None:
        st.info("This plan does not hold the table that it was chosen from. Press **Plan** to make it anew.")
        return
    held = st.session_state.get("by hand")
    if held is None or held[0] is not plan:
        held = st.session_state["by hand"] = (plan, ByHand(basis=plan.basis()))
    _changes(held[1])


@st.fragment
def _changes(hand: ByHand) -> None:
    left, right, back, pin = st.columns([3, 3, 1.3, 1.3], vertical_alignment="bottom")
    subject = left.selectbox("Layer or width", hand.subjects, key=f"subject {hand.turn}")
    if subject is None:
        st.info("No layer of this plan has more than one option.")
        return
    labels, at = hand.options(subject)
    # The widget's name holds what it offers: where another change leaves other options, it starts with the chosen one.
    place = right.selectbox(
        "Option",
        range(len(labels)),
        at,
        format_func=lambda k: _option(labels[k]),
        key=f"option {hand.turn} {subject} {hash((labels, at if subject.startswith('width of ') else 0))}",
    )
    if place is not None and place != at:
        hand.take(subject, place)
        if subject.startswith("width of "):
            again()
    if back.button("Undo all", width="stretch", disabled=not hand.changed, help="Back to the plan as it was made."):
        hand.back()
        again()
    if pin.button(
        "Pin these", width="stretch", disabled=not hand.changed, help="Ask for these options, and press Plan anew."
    ):
        ask(hand)
        st.rerun()
    _totals(hand)
    if why := hand.why(subject):
        st.caption(why)
    if hand.changed:
        rows = [{"layer": name, "in the plan": old, "by hand": new} for name, (old, new) in hand.changed.items()]
        st.dataframe(rows, hide_index=True, width="stretch")


def again() -> None:
    """Draws the fragment anew; the whole page where that is what runs."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:
        st.rerun()


def ask(hand: ByHand) -> None:
    """Adds what was changed to the pins in the left column."""
    changed = {name: f"{name}={new}" for name, (_, new) in hand.changed.items()}
    kept = [text for text in st.session_state.get("pins", ()) if text.partition("=")[0] not in changed]
    st.session_state["pins by hand"] = [*kept, *changed.values()]


def _option(label: str) -> str:
    return "dense" if label == "dense d=1" else label


def _totals(hand: ByHand) -> None:
    """Tiles of every cost and of the loss, each with how it differs from the plan."""
    before, now = hand.losses()
    items = [("Estimated loss", f"{now:.4g}", _difference(now - before, f"{abs(now - before):.4g}"), "0 is dense")]
    for total in hand.totals():
        title = cost_title(total.key)
        if total.budget is not None:
            title += f" {'✓' if total.met else ':red[✗]'} ≤ {cost_text(total.key, total.budget)}"
        change = total.now - total.plan
        share = f"{percent(total.now / total.dense)} of dense" if total.dense else ""
        items.append(
            (title, cost_text(total.key, total.now), _difference(change, cost_text(total.key, abs(change))), share)
        )
    tiles(items, "by-hand")


def _difference(change: float, text: str) -> str | None:
    """ "+1.2 ms"; None where nothing changed, which shows no arrow."""
    return f"{'+' if change > 0 else '-'}{text}" if change else None

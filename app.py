"""The page: layout only. What it knows is in `validation.page`, what it draws in `advisor.figures`.

Start it with `advisor app`, or `streamlit run app.py --server.address 127.0.0.1 -- --model my_net.py:build`: Streamlit
by itself listens on every address of the machine.
"""

from __future__ import annotations

import sys

import streamlit as st

from advisor import figures
from advisor.errors import AdvisorError
from advisor.figures.wording import big, cost_text, cost_title, gap_text, percent
from advisor.network import Network
from advisor.plans.plan import Plan
from validation.page import work
from validation.page.choices import Choices, from_query, input_problem, to_query
from validation.page.column import choose
from validation.page.common import STYLE, desk, draw, one_line, wait
from validation.page.front import front
from validation.page.offer import Offer, offer_from
from validation.page.tables import layer_rows, plan_file
from validation.page.trial import validate
from validation.page.what_if import what_if

VIEWS = ("Densities", "Layer graph", "Pareto front", "Layers", "What if", "Validation")


def main() -> None:
    st.set_page_config(page_title="Sparsity Advisor", page_icon="▦", layout="wide", initial_sidebar_state="auto")
    st.html(STYLE)
    try:
        offer = offer_from(sys.argv[1:])
        restore(offer)
        with st.sidebar:
            choices, asked = choose(offer)
        show(choices, offer, asked)
        st.query_params.from_dict(to_query(choices) | {"view": st.session_state["kept view"]})
    except AdvisorError as error:
        st.error(one_line(error))


def restore(offer: Offer) -> None:
    """Once per session: what the address says becomes what the widgets start with."""
    state = st.session_state
    if "restored" not in state:
        query = {key: st.query_params.get_all(key) for key in st.query_params}
        state["restored"], state["complaints"] = from_query(query, offer)
        view = query.get("view", [""])[-1]
        state["kept view"] = view if view in VIEWS else VIEWS[0]


def show(choices: Choices, offer: Offer, asked: bool) -> None:
    for complaint in st.session_state["complaints"] if choices == st.session_state["restored"] else ():
        st.warning(f"From the address: {complaint}")
    if input_problem(choices.input_text):
        st.info("Mend the input shape on the left, or leave it empty for the network's own.")
        return
    if asked:  # and kept while the network is still being analysed
        st.session_state["pressed"] = choices
    found = work.network_job(desk(), choices)
    st.header(choices.model, anchor=False)
    if found.state in ("waiting", "running"):
        wait(found, f"Analysing {choices.model}")
        return
    if found.state == "failed":
        st.error(found.error)
        return
    network: Network = found.result
    describe(network)
    if st.session_state.pop("pressed", None) == choices:
        st.session_state["shown"] = choices
        work.plan_job(desk(), choices, network, offer)
    planned = desk().find(work.plan_key(choices, offer))
    shown = choices
    earlier: Choices | None = st.session_state.get("shown")
    if planned is None and earlier is not None and earlier.of_network == choices.of_network:
        planned, shown = desk().find(work.plan_key(earlier, offer)), earlier
        if planned is not None:
            st.info(
                "The choices have changed since this plan. Press **Plan** for a new one.", icon=":material/history:"
            )
    if planned is None:
        st.info(
            "Set the budgets on the left and press **Plan**: it finds the plan that loses least within all of them."
        )
        views(network, None, shown, offer)
    elif planned.state in ("waiting", "running"):
        wait(planned, "Planning")
        views(network, None, shown, offer)
    elif planned.state == "failed":
        st.error(planned.error)
        views(network, None, shown, offer)
    else:
        prove(planned.result)
        views(network, planned.result, shown, offer)


def describe(network: Network) -> None:
    shapes = ", ".join("×".join(map(str, shape)) for shape in network.input_shapes)
    facts = [
        f"input {shapes}",
        f"**{big(network.params)}** parameters",
        f"**{big(network.macs)}** MACs",
        f"{cost_text('weight_memory', network.weight_bytes)} weights",
        f"{cost_text('peak_memory', network.peak_activation_bytes)} peak activations",
        f"{len(network.sparsifiable)} layers that can be thinned out",
    ]
    st.markdown(" · ".join(facts))
    if network.unsupported_ops:
        counted = ", ".join(f"{name} ×{count}" for name, count in network.unsupported_ops.items())
        st.warning(f"Not counted: {counted}")
    for note in network.notes:
        st.caption(note)


def prove(plan: Plan) -> None:
    """Totals against budgets, and how good the plan is."""
    info = figures.costs_vs_budgets_info(plan)
    limited = [bar for bar in info.bars if bar.budget is not None]
    tiles = (limited + [bar for bar in info.bars if bar.budget is None])[:4]
    columns = st.container(key="tiles").columns(len(tiles) + 1, gap="small")
    for column, bar in zip(columns, tiles, strict=False):
        with column.container(border=True):
            limit = f" {'✓' if bar.met else ':red[✗]'} ≤ {cost_text(bar.key, bar.budget)}" if bar.budget else ""
            st.metric(cost_title(bar.key) + limit, cost_text(bar.key, bar.plan))
            st.caption(f"{percent(bar.share(bar.plan))} of dense")
    with columns[-1].container(border=True):
        st.metric("Proven gap", gap_text(plan.gap))
        st.caption(f"{plan.status}, {plan.solve_seconds:.2f} s")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        draw(figures.costs_vs_budgets_plot(info), "costs")
    with right:
        st.markdown(
            f"**Proof.** Estimated loss {plan.objective:.5g} ({plan.sensitivity}). No choice of "
            f"{' / '.join(plan.patterns)} within these budgets gets below {plan.bound:.5g}: this plan is "
            + ("the best one." if plan.gap < 1e-9 else f"at most {gap_text(plan.gap)} from the best one.")
        )
        for bar in info.bars:
            if bar.low is not None and bar.high is not None:
                ends = f"{cost_text(bar.key, bar.low)} and {cost_text(bar.key, bar.high)}"
                st.markdown(f"**{cost_title(bar.key)}** between {ends}, by profile {plan.profile}.")
        for note in plan.notes:
            st.caption(note)
        name, content, kind = plan_file(plan)
        st.download_button(
            f"Download the plan ({name.rpartition('.')[2].upper()})", content, name, kind, width="stretch"
        )


def views(network: Network, plan: Plan | None, choices: Choices, offer: Offer) -> None:
    """One view at a time, so that the page stays light."""
    names, key = (VIEWS, "view") if plan is not None else (VIEWS[1:4], "view before")
    kept = st.session_state["kept view"]
    first = kept if kept in names else names[0]
    view = st.segmented_control("View", names, default=first, key=key, label_visibility="collapsed") or first
    if plan is not None:
        st.session_state["kept view"] = view
    if view == "Layers":
        st.dataframe(layer_rows(network, plan), width="stretch", height=520, hide_index=True, column_config=COLUMNS)
        if plan is not None and plan.basis is not None:
            with st.expander("Why each layer got its option"):
                st.caption("  \n".join(plan.explain().text.splitlines()))
    elif view == "Layer graph":
        draw(figures.layer_graph_plot(figures.layer_graph_info(network, plan)), "graph")
        st.caption("Circles can be thinned out and are as large as their share of the MACs; squares are all else.")
    elif view == "Pareto front":
        front(network, plan, choices, offer)
    elif plan is not None and view == "Densities":
        draw(figures.densities_plot(figures.densities_info(plan, network)), "densities")
    elif plan is not None and view == "What if":
        what_if(plan)
    elif plan is not None:
        validate(network, plan, choices, offer)


COLUMNS = {
    "params": st.column_config.NumberColumn(format="localized"),
    "MACs": st.column_config.NumberColumn(format="localized"),
    "density": st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0),
}


main()

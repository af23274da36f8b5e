"""The page: layout only. What it knows is in `validation.page`, what it draws in `advisor.figures`.

Start it with `advisor app`, or `streamlit run app.py -- --model my_net.py:build --profile my_machine.json`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import streamlit as st

from advisor import figures
from advisor.errors import AdvisorError
from advisor.figures.theme import CONFIG
from advisor.figures.wording import big, cost_text, cost_title, percent
from advisor.network import Network
from advisor.planning.budgets import COSTS
from advisor.plans.plan import Plan
from validation.page import work
from validation.page.choices import (
    Choices,
    budget_problem,
    cost_needs,
    from_query,
    input_problem,
    problems,
    selectable_patterns,
    selectable_sensitivities,
    to_query,
)
from validation.page.jobs import Desk
from validation.page.offer import NO_PROFILE, USUAL, Offer, offer_from
from validation.page.report import Watch, report_html, watch
from validation.page.tables import layer_rows, plan_file

VIEWS = ("Densities", "Layer graph", "Pareto front", "Layers", "Validation")
STYLE = """<style>
[data-testid="stToolbar"], [data-testid="stDecoration"], [data-testid="stStatusWidget"], footer {display: none;}
[data-testid="stHeader"] {background: transparent; height: 2.2rem;}
[data-testid="stMainBlockContainer"] {padding: 1.4rem 2rem 3rem; max-width: 1180px;}
[data-testid="stSidebarHeader"] {height: 1.4rem; margin-bottom: 0;}
[data-testid="stSidebarUserContent"] {padding-top: 0; padding-bottom: 0;}
[data-testid="stSidebar"] [data-testid="stVerticalBlock"] {gap: .5rem;}
[data-testid="stSidebar"] [data-testid="stWidgetLabel"] {min-height: 1.2rem; margin-bottom: 0;}
[data-testid="stSidebar"] [data-testid="stWidgetLabel"] p {font-size: .8rem;}
[data-testid="stSidebar"] h2 {font-size: .75rem; text-transform: uppercase; opacity: .6; padding: .7rem 0 .1rem;}
[data-testid="stMetricValue"] {font-size: 1.4rem; font-variant-numeric: tabular-nums;}
[data-testid="stMetricLabel"] p {font-size: .8rem;}
h1 {font-size: 1.5rem !important; padding: 0 !important;}
[data-testid="stMain"] h2 {font-size: 1.25rem; padding: 0;}
.st-key-act {position: sticky; bottom: 0; padding: .6rem 0 1rem; z-index: 9; background: inherit;}
</style>"""


def main() -> None:
    st.set_page_config(page_title="Sparsity Advisor", page_icon="▦", layout="wide", initial_sidebar_state="expanded")
    st.html(STYLE)
    try:
        offer = offer_from(sys.argv[1:])
        restore(offer)
        with st.sidebar:
            choices, asked = choose(offer)
        st.query_params.from_dict(to_query(choices) | {"view": st.session_state["view"]})
        show(choices, offer, asked)
    except AdvisorError as error:
        st.error(one_line(error))


@st.cache_resource(show_spinner=False)
def desk() -> Desk:
    return Desk()


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def restore(offer: Offer) -> None:
    """Once per session: what the address says becomes the state of the widgets."""
    state = st.session_state
    if "view" not in state:
        query = {key: st.query_params.get_all(key) for key in st.query_params}
        choices, complaints = from_query(query, offer)
        source, name = offer.split(choices.model)
        view = query.get("view", [""])[-1]
        state.update({"view": view if view in VIEWS else VIEWS[0], "source": source, f"network {source}": name})
        state.update({"input": choices.input_text, "profile": choices.profile, "patterns": list(choices.patterns)})
        state.update({f"budget {key}": choices.budgets.get(key, "") for key in COSTS})
        state.update({"sensitivity": choices.sensitivity, "ends": choices.include_ends, "complaints": complaints})
    if "next profile" in state:  # one that was just measured; a widget's state is set before the widget is drawn
        state["profile"] = state.pop("next profile")


# The column of choices ------------------------------------------------------------------------------------------------


def choose(offer: Offer) -> tuple[Choices, bool]:
    """Draws the choices; returns them, and whether the plan was asked for just now."""
    state = st.session_state
    st.title("Sparsity Advisor")
    st.header("Network")
    source = st.segmented_control("Source", offer.sources, key="source", label_visibility="collapsed")
    source = source or offer.sources[0]
    names = offer.networks(source)
    key = f"network {source}"
    if state.get(key) not in names:
        state[key] = USUAL.get(source) if USUAL.get(source) in names else names[0]
    name = st.selectbox("Network", names, key=key, label_visibility="collapsed")
    model = offer.spec(source, name)
    text = st.text_input("Input shape", key="input", placeholder="the network's own, e.g. 1x3x224x224").strip()
    complain(input_problem(text))

    st.header("Machine")
    profile_name = choose_profile(offer)
    profile = offer.profile(profile_name)

    st.header("Budgets")
    budgets: dict[str, str] = {}
    columns = st.columns(2, gap="small")
    wrong = []
    for position, cost in enumerate(COSTS):
        needs = cost_needs(cost, profile)
        typed = columns[position % 2].text_input(
            cost_title(cost), key=f"budget {cost}", placeholder="no limit", disabled=bool(needs), help=needs or None
        )
        if typed.strip() and not needs:
            budgets[cost] = typed.strip()
            wrong.append(budget_problem(cost, typed.strip(), profile))
    for problem in wrong:
        complain(problem)
    st.caption("A share of the dense network, `60%`, or absolute: `5M`, `12ms`, `40MB`, `3mJ`.")

    st.header("How")
    patterns = st.multiselect("Patterns", selectable_patterns(), key="patterns", placeholder="none")
    kinds = selectable_sensitivities(model, offer)
    if state.get("sensitivity") not in kinds:
        state["sensitivity"] = kinds[0]
    sensitivity = st.selectbox(
        "Sensitivity", kinds, key="sensitivity", help="What a missing connection is taken to cost."
    )
    ends = st.checkbox("Thin out the first convolution and the classifier, too", key="ends")
    choices = Choices(
        model=model,
        input_text=text,
        profile=profile_name,
        patterns=tuple(patterns),
        budgets=budgets,
        sensitivity=sensitivity,
        include_ends=ends,
    )
    missing = problems(choices, profile)
    with st.expander("Measure this machine"):
        measure(choices, offer)
    with st.container(key="act"):
        if missing:
            st.caption(f":orange[{missing[0]}]")
        asked = st.button("Plan", type="primary", width="stretch", disabled=bool(missing))
    return choices, asked


def complain(problem: str) -> None:
    if problem:
        st.caption(f":red[{problem}]")


def choose_profile(offer: Offer) -> str:
    names = (NO_PROFILE, *offer.profile_names())
    if st.session_state.get("profile") not in names:
        st.session_state["profile"] = NO_PROFILE
    name: str = st.selectbox(
        "Profile",
        names,
        key="profile",
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


def measure(choices: Choices, offer: Offer) -> None:
    """Measuring the chosen network here, in the background."""
    training = st.toggle("Training steps instead of inference", key="measure training")
    seconds = st.number_input("Seconds to spend", 10, 36_000, 120, step=30, key="measure seconds")
    go = st.button("Measure", width="stretch", disabled=bool(input_problem(choices.input_text)))
    run, out = work.measurement(desk(), choices, offer, seconds=int(seconds), training=training, start=go)
    if run is None:
        st.caption("Times every distinct layer of this network under every pattern, on the CPU of the page's machine.")
    elif run.state == "running":
        watch_measurement(run, out)
    elif run.state == "failed":
        st.error(run.error)
    elif run.state == "stopped":
        st.caption("Stopped. Measure goes on from there.")
    else:
        st.caption(f":green[Measured:] {out.stem}")


@st.fragment(run_every=1.0)
def watch_measurement(run: Any, out: Path) -> None:
    if run.state != "running":
        if run.state == "done":
            st.session_state["next profile"] = str(out)
        st.rerun()
    progress = run.progress()
    st.progress(progress.share or 0.0, text=f"{progress.text}" + (f", {progress.left} left" if progress.left else ""))
    if st.button("Stop", key="stop measuring", width="stretch"):
        run.stop()


# The main area --------------------------------------------------------------------------------------------------------


def show(choices: Choices, offer: Offer, asked: bool) -> None:
    for complaint in st.session_state["complaints"]:
        st.warning(f"From the address: {complaint}")
    if input_problem(choices.input_text):
        st.info("Mend the input shape on the left, or leave it empty for the network's own.")
        return
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
    if asked:
        st.session_state["shown"] = choices
        work.plan_job(desk(), choices, network, offer)
    planned = desk().find(work.plan_key(choices))
    shown = choices
    earlier: Choices | None = st.session_state.get("shown")
    if planned is None and earlier is not None and earlier.of_network == choices.of_network:
        planned, shown = desk().find(work.plan_key(earlier)), earlier
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


@st.fragment(run_every=0.5)
def wait(job: Any, words: str) -> None:
    """Says what is going on, and draws the page anew when it is over."""
    if job.state not in ("waiting", "running"):
        st.rerun()
    st.status(f"{words} · {job.seconds:.0f} s", state="running")


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
    for column, bar in zip(st.columns(len(tiles) + 1, gap="small"), [*tiles, None], strict=True):
        with column:
            if bar is None:
                st.metric("Proven gap", f"{100 * plan.gap:.3f} %", plan.status, delta_color="off", border=True)
                continue
            limit = (
                f"{'✓' if bar.met else '✗ over'} budget {cost_text(bar.key, bar.budget)}" if bar.budget else "no budget"
            )
            st.metric(
                f"{cost_title(bar.key)} · {percent(bar.share(bar.plan))} of dense",
                cost_text(bar.key, bar.plan),
                limit,
                delta_color="off" if bar.met is not False else "inverse",
                border=True,
            )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        draw(figures.costs_vs_budgets_plot(info), "costs")
    with right:
        st.markdown(
            f"**Proof.** Estimated loss {plan.objective:.5g} ({plan.sensitivity}). No choice of "
            f"{', '.join(plan.patterns)} within these budgets gets below {plan.bound:.5g}, so this plan is at most "
            f"{100 * plan.gap:.3f} % from the best one ({plan.status}, {plan.solve_seconds:.2f} s)."
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


def draw(figure: Any, key: str) -> None:
    st.plotly_chart(figure, theme=None, config=CONFIG, key=key, width="stretch")


def views(network: Network, plan: Plan | None, choices: Choices, offer: Offer) -> None:
    """One view at a time, so that the page stays light."""
    view = st.segmented_control("View", VIEWS, key="view", label_visibility="collapsed") or VIEWS[0]
    if view == "Layers":
        st.dataframe(layer_rows(network, plan), width="stretch", height=520, hide_index=True, column_config=COLUMNS)
    elif view == "Layer graph":
        draw(figures.layer_graph_plot(figures.layer_graph_info(network, plan)), "graph")
        st.caption(
            "Circles are layers that can be thinned out, as large as their share of the MACs; squares are the rest."
        )
    elif view == "Pareto front":
        front(network, plan, choices, offer)
    elif plan is None:
        st.caption("A plan is needed first: press **Plan**.")
    elif view == "Densities":
        draw(figures.densities_plot(figures.densities_info(plan, network)), "densities")
    else:
        validate(plan, choices, offer)


COLUMNS = {
    "params": st.column_config.NumberColumn(format="localized"),
    "MACs": st.column_config.NumberColumn(format="localized"),
    "density": st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0),
}


def front(network: Network, plan: Plan | None, choices: Choices, offer: Offer) -> None:
    """What each saving costs, with the plan on it."""
    profile = offer.profile(choices.profile)
    costs = [key for key in COSTS if not cost_needs(key, profile)]
    first = next((key for key in costs if key in choices.budgets), costs[0])
    cost = st.selectbox("Cost", costs, index=costs.index(first), format_func=cost_title, key="front cost")
    if not choices.patterns:
        st.caption("Allow at least one pattern.")
        return
    job = work.front_job(desk(), choices, network, offer, cost)
    if job.state in ("waiting", "running"):
        wait(job, "Tracing the front, one exact plan after the other")
    elif job.state == "failed":
        st.error(job.error)
    else:
        draw(figures.frontier_plot(figures.frontier_info(job.result, plan)), "front")
        for note in job.result.notes:
            st.caption(note)


# Validation -----------------------------------------------------------------------------------------------------------


def validate(plan: Plan, choices: Choices, offer: Offer) -> None:
    """Short training runs of the plan beside its alternatives, in a process of their own."""
    from validation.data.registry import DATA

    st.caption(
        "Trains the dense network, the plan and its baselines alike for a short while, and times what comes out."
    )
    columns = st.columns([2, 1, 1, 3, 1], vertical_alignment="bottom")
    data = columns[0].selectbox("Data", sorted(DATA), key="data")
    epochs = columns[1].number_input("Epochs", 1, 1000, 2, key="epochs")
    seeds = columns[2].number_input("Seeds", 1, 20, 2, key="seeds")
    names = columns[3].multiselect("Baselines", work.BASELINES, list(work.BASELINES), key="baselines")
    start = columns[4].button("Start", type="primary", width="stretch")
    run, folder = work.validation(
        desk(), choices, plan, offer,
        data=data, epochs=int(epochs), seeds=int(seeds), baselines=tuple(names), start=start,
    )  # fmt: skip
    if run is not None and run.state == "running":
        watch_validation(run, folder)
        return
    if run is not None and run.state == "failed":
        st.error(run.error)
    elif run is not None and run.state == "stopped":
        st.caption("Stopped. Start goes on from there.")
    seen = watch(folder)
    if seen.report is not None:
        receipt(seen, folder)


@st.fragment(run_every=1.0)
def watch_validation(run: Any, folder: Path) -> None:
    if run.state != "running":
        st.rerun()
    seen = watch(folder)
    left, right = st.columns([6, 1], vertical_alignment="center")
    left.progress(seen.share, text=seen.text or run.progress().text)
    if right.button("Stop", key="stop validation", width="stretch"):
        run.stop()
    if seen.finished:
        st.dataframe(list(seen.finished), hide_index=True, width="stretch")


def receipt(seen: Watch, folder: Path) -> None:
    """What came out, beside what was promised."""
    report = seen.report or {}
    cost = st.selectbox("Against", seen.costs, format_func=cost_title, key="report cost")
    left, right = st.columns(2, gap="medium")
    with left:
        draw(figures.accuracy_vs_cost_plot(figures.accuracy_vs_cost_info(report, cost=cost)), "accuracy")
    with right:
        draw(figures.predicted_vs_measured_plot(figures.predicted_vs_measured_info(report)), "receipt")
    st.dataframe(list(seen.rows), hide_index=True, width="stretch")
    html = report_html(folder)
    if html is not None:
        st.download_button("Download the report (HTML)", html, "report.html", "text/html")
    st.caption(f"Everything is in {folder}")


main()

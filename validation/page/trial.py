"""A validation on the page: started, watched, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from advisor import figures
from advisor.errors import AdvisorError
from advisor.figures.wording import cost_title
from advisor.network import Network
from advisor.planning.baselines import BASELINES
from advisor.plans.plan import Plan
from validation.methods.registry import described
from validation.page import work
from validation.page.choices import Choices
from validation.page.common import desk, draw, one_line
from validation.page.offer import Offer
from validation.page.report import Watch, report_html, watch
from validation.page.training import USUAL, training_choices


def validate(network: Network, plan: Plan, choices: Choices, offer: Offer) -> None:
    """Short training runs of the plan beside its alternatives, in a process of their own."""
    try:
        sets = work.data_names(network)
    except AdvisorError as error:
        st.info(one_line(error))
        return
    st.caption(
        "Trains the dense network, the plan and its baselines alike for a short while, and times what comes out."
    )
    columns = st.columns([2, 1, 1, 3, 3, 1], vertical_alignment="bottom")
    # What was last started for these choices, so that a refresh finds it running.
    last = desk().notes.get(("validation", choices.question), (sets[0], 2, 2, BASELINES, (), USUAL))
    data = columns[0].selectbox("Data", sets, sets.index(last[0]), key=f"data for {sets[0]}")
    epochs = columns[1].number_input("Epochs", 1, 1000, last[1], key="epochs")
    seeds = columns[2].number_input("Seeds", 1, 20, last[2], key="seeds")
    names = columns[3].multiselect("Baselines", BASELINES, list(last[3]), key="baselines")
    methods = columns[4].multiselect(
        "Methods",
        sorted(one["name"] for one in described()),
        list(last[4]),
        key="methods",
        placeholder="plain training alone",
        help="Each is one run more beside the others; the command line takes their settings, too.",
    )
    start = columns[5].button("Start", type="primary", width="stretch")
    training = training_choices(last[5])
    download = not work.is_local(data) and st.checkbox("Download the data where it is missing", key="download")
    if start:
        chosen = (data, int(epochs), int(seeds), tuple(names), tuple(methods), training)
        desk().notes["validation", choices.question] = chosen
    run, folder = work.validation(
        desk(), choices, plan, offer,
        data=data, epochs=int(epochs), seeds=int(seeds), baselines=tuple(names), methods=tuple(methods),
        training=training, download=download, start=start,
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
    left.progress(seen.share, text=seen.text or "starting")
    if right.button("Stop", key="stop validation", width="stretch"):
        run.stop()
    if seen.finished:
        st.dataframe(list(seen.finished), hide_index=True, width="stretch")


def receipt(seen: Watch, folder: Path) -> None:
    """What came out, beside what was promised."""
    report = seen.report or {}
    if verdict := (report.get("verdict") or {}).get("text"):
        st.info(verdict)
    middle, _ = st.columns([1, 3])
    cost = middle.selectbox("Against", seen.costs, format_func=cost_title, key="report cost")
    left, right = st.columns(2, gap="medium")
    with left:
        draw(figures.accuracy_vs_cost_plot(figures.accuracy_vs_cost_info(report, cost=cost)), "accuracy")
    with right:
        draw(figures.predicted_vs_measured_plot(figures.predicted_vs_measured_info(report)), "receipt")
    curves = figures.learning_curves_info(report)
    if curves.curves:
        draw(figures.learning_curves_plot(curves), "curves")
    st.dataframe(list(seen.rows), hide_index=True, width="stretch")
    html = report_html(folder)
    if html is not None:
        st.download_button("Download the report (HTML)", html, "report.html", "text/html")
    st.caption(f"Everything is in {folder}")

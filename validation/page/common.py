"""What every part of the page uses: its look, its background work, and how it waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from advisor.figures.theme import CONFIG
from validation.page.jobs import Desk

_IN_A_ROW = 7
STYLE = """<style>
[data-testid="stToolbarActions"], [data-testid="stAppDeployButton"], [data-testid="stMainMenu"],
[data-testid="stDecoration"], [data-testid="stStatusWidget"], footer {display: none;}
[data-testid="stHeader"] {background: transparent; height: 2.2rem;}
[data-testid="stMainBlockContainer"] {padding: 2.2rem 2rem 3rem; max-width: 1180px;}
[data-testid="stSidebarHeader"] {height: 1.4rem; margin-bottom: 0;}
[data-testid="stSidebarUserContent"] {padding-top: 0; padding-bottom: 0;}
[data-testid="stSidebar"] [data-testid="stVerticalBlock"] {gap: .5rem;}
[data-testid="stSidebar"] [data-testid="stWidgetLabel"] {min-height: 1.2rem; margin-bottom: 0;}
[data-testid="stSidebar"] [data-testid="stWidgetLabel"] p {font-size: .8rem;}
.section {font-size: .72rem; font-weight: 600; letter-spacing: .05em; text-transform: uppercase; opacity: .6;
  padding: .7rem 0 .05rem;}
[data-testid="stMetricValue"] {font-size: 1.4rem; font-variant-numeric: tabular-nums;}
[data-testid="stMetricLabel"] p {font-size: .8rem;}
:is(.st-key-tiles-by-hand, .st-key-tiles-on-front) [data-testid="stMetricValue"] {font-size: 1.15rem;}
:is(.st-key-tiles-by-hand, .st-key-tiles-on-front) [data-testid="stMetricLabel"] p {font-size: .72rem;}
h1 {font-size: 1.5rem !important; padding: 0 !important;}
[data-testid="stMain"] h2 {font-size: 1.25rem; padding: 0;}
[class*="st-key-tiles"] [data-testid="stColumn"] [data-testid="stVerticalBlock"] {gap: .2rem;}
@media (max-width: 640px) {[data-testid="stMainBlockContainer"] {padding-top: 3rem !important;}
  [class*="st-key-tiles"] [data-testid="stColumn"] {min-width: calc(50% - 1rem);}}
[data-testid="stLayoutWrapper"]:has(> .st-key-act) {position: sticky; bottom: 0; z-index: 9;
  padding: .5rem 0 .9rem; backdrop-filter: blur(14px);}
</style>"""


@st.cache_resource(show_spinner=False)
def desk() -> Desk:
    return Desk()


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def draw(figure: Any, key: str) -> None:
    st.plotly_chart(figure, theme=None, config=CONFIG, key=key, width="stretch")


def tiles(items: Sequence[tuple[str, str, str | None, str]], key: str) -> None:
    """Small tiles in rows: (title, value, how it changed or None, note) each. Less is better."""
    each = min(len(items), _IN_A_ROW)
    with st.container(key=f"tiles-{key}"):
        for first in range(0, len(items), each):
            row = items[first : first + each]
            for column, (title, value, change, note) in zip(st.columns(each, gap="small"), row, strict=False):
                with column.container(border=True):
                    st.metric(title, value, change, delta_color="inverse" if change else "off")
                    st.caption(note)


@st.fragment(run_every=1.0)
def wait(job: Any, words: str) -> None:
    """Says what is going on, and draws the page anew when it is over."""
    if job.state not in ("waiting", "running"):
        st.rerun()
    st.status(f"{words} · {job.seconds:.0f} s", state="running")

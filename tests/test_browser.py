"""The page in a real Chromium, from choosing a network to the downloaded plan.

Screenshots are left in the test's temporary folder, or in $PAGE_SCREENSHOTS.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from advisor.plans.plan import load_plan

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE_MS = 120_000  # machines that run tests are busy machines


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        reason = "no Chromium on this machine: install the package chromium; the page was NOT tried in a browser"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page as `advisor app` serves it, on a free port of this machine alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    log = (home / "server.txt").open("wb")
    command = [sys.executable, "-m", "advisor.cli", "app", "--port", str(port), "--", "--home", str(home)]
    # A group of its own: `advisor app` starts Streamlit as a process below it.
    server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + PATIENCE_MS / 1000
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (home / "server.txt").read_text()
                assert time.monotonic() < end, "the page did not start"
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=20)
        log.close()


@pytest.fixture
def page(browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    opened.screenshot(path=Path(os.environ.get("PAGE_SCREENSHOTS", tmp_path)) / f"{request.node.name}-end.png")
    context.close()
    assert complaints == []


def shoot(page: Page, folder: Path, name: str) -> None:
    kept = Path(os.environ.get("PAGE_SCREENSHOTS", folder))
    kept.mkdir(parents=True, exist_ok=True)
    page.wait_for_function("document.querySelectorAll('[data-testid=\"stSkeleton\"]').length == 0")
    page.screenshot(path=kept / f"{name}.png")


def ready(page: Page) -> None:
    expect(page.get_by_text("layers that can be thinned out")).to_be_visible()


def test_from_choosing_a_network_to_the_downloaded_plan(url: str, page: Page, tmp_path: Path) -> None:
    page.goto(url)
    ready(page)
    page.get_by_role("radio", name="torchvision").click()
    expect(page.get_by_role("heading", name="torchvision:resnet18")).to_be_visible()
    ready(page)
    chosen = page.get_by_role("combobox", name="Network")
    chosen.click()
    chosen.fill("squeezenet1_1")
    page.get_by_role("option", name="squeezenet1_1").click()
    expect(page.get_by_role("heading", name="torchvision:squeezenet1_1")).to_be_visible()
    ready(page)
    limit = page.get_by_role("textbox", name="MACs")
    limit.fill("ten apples")
    limit.press("Enter")
    expect(page.get_by_text("ten apples").first).to_be_visible()
    expect(page.get_by_role("button", name="Plan", exact=True)).to_be_disabled()
    limit.fill("45%")
    limit.press("Enter")
    page.get_by_role("textbox", name="Parameters").fill("60%")
    page.get_by_role("textbox", name="Parameters").press("Enter")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(page.get_by_text("Proof.")).to_be_visible()
    shoot(page, tmp_path, "plan")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download the plan").click()
    saved = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    if saved.suffix == ".zip":
        shutil.unpack_archive(saved, tmp_path / "plan")
        saved = tmp_path / "plan" / "plan.json"
    document = json.loads(saved.read_text())
    assert document["model"] == "torchvision:squeezenet1_1"
    plan = load_plan(saved)
    for key, share in (("macs", 0.45), ("params", 0.6)):
        line = plan.costs[key]
        assert line.budget == pytest.approx(share * line.dense)
        assert line.plan <= line.budget

    page.reload()
    ready(page)
    expect(page.get_by_role("textbox", name="MACs")).to_have_value("45%")
    expect(page.get_by_text("Proof.")).to_be_visible()  # the answer is found again, not computed again


def test_every_view_draws_something(url: str, page: Page, tmp_path: Path) -> None:
    page.goto(f"{url}/?model=zoo:digits_cnn&budget=macs%3D50%25")
    ready(page)
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(page.get_by_text("Proof.")).to_be_visible()
    for view in ("Densities", "Layer graph", "Pareto front"):
        page.get_by_role("radio", name=view).click()
        expect(page.locator(".js-plotly-plot")).to_have_count(2)
        shoot(page, tmp_path, view)
    page.get_by_role("radio", name="Layers").click()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    page.get_by_text("Why each layer got its option").click()
    expect(page.get_by_text("next step down").first).to_be_visible()
    page.get_by_role("radio", name="Validation").click()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    expect(page).to_have_url(re.compile("view=Validation"))


def test_a_plan_is_changed_by_hand_and_along_the_front(url: str, page: Page, tmp_path: Path) -> None:
    page.goto(f"{url}/?model=zoo:digits_cnn&budget=macs%3D50%25&patterns=channel&view=What+if")
    ready(page)
    page.get_by_role("button", name="Plan", exact=True).click()
    option = page.get_by_role("combobox", name="Option")
    expect(option).to_be_visible()
    expect(page.get_by_role("button", name="Undo all")).to_be_disabled()
    option.click()
    page.get_by_role("option").first.click()  # the densest
    changed = page.locator('.st-key-tiles-by-hand [data-testid="stMetricDelta"]')
    expect(changed.first).to_be_visible()
    shoot(page, tmp_path, "by-hand")
    page.get_by_role("button", name="Pin these").click()
    expect(page.get_by_text("choices have changed")).to_be_visible()
    expect(page.get_by_text("features.4=dense d=1")).to_be_visible()
    expect(page).to_have_url(re.compile("pin=features.4"))

    page.get_by_role("radio", name="Pareto front").click()
    slider = page.get_by_role("slider")
    expect(slider).to_be_visible()
    tile = page.locator('.st-key-tiles-on-front [data-testid="stMetricValue"]').first
    before = tile.inner_text()
    slider.press("End")
    expect(tile).not_to_have_text(before)
    shoot(page, tmp_path, "along-the-front")
    page.get_by_role("button", name="Take as budget").click()
    expect(page.get_by_role("textbox", name="MACs")).not_to_have_value("50%")


def test_a_narrow_screen_keeps_everything_in_reach(url: str, page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 420, "height": 900})
    page.goto(f"{url}/?model=zoo:digits_cnn&budget=macs%3D50%25")
    ready(page)
    shoot(page, tmp_path, "narrow")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    page.get_by_test_id("stExpandSidebarButton").click()
    expect(page.get_by_role("button", name="Plan", exact=True)).to_be_in_viewport()
    page.wait_for_timeout(500)  # it slides in
    shoot(page, tmp_path, "narrow-choices")


def test_the_page_talks_to_this_machine_alone(url: str, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    ready(page)
    foreign = [
        address for address in asked if not address.startswith((url, url.replace("http", "ws"), "data:", "blob:"))
    ]
    assert foreign == []


def test_a_hostile_address_is_refused_in_one_line(url: str, page: Page, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    page.goto(f"{url}/?model={trap}:build")
    expect(page.get_by_text("started with --model")).to_be_visible()
    assert not (tmp_path / "sprung").exists()

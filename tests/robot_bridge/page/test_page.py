"""The operator's page: who may see it, what it shows, and that its buttons reach the node; in a real browser, too."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")

from node_bench import Bench
from robot_fakes import arm_policy
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from robot_bridge.errors import UserError
from robot_bridge.guards.limits import JointLimits
from robot_bridge.page.server import PAGES, OperatorPage
from robot_bridge.page.view import view
from robot_bridge.robot.description import StartEntry
from robot_bridge.robot.interlocks import DeadMan, Interlock
from robot_bridge.robot.robot import Output
from robot_bridge.run import open_page


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def page(bench: Bench) -> Iterator[OperatorPage]:
    page = OperatorPage(port=0, token="secret")
    page.show(bench.node)
    yield page
    page.close()


def live(page: OperatorPage) -> str:
    return page.url.replace("http://", "ws://").replace("/?", "/live?")


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_the_whole_address_opens_it(page: OperatorPage) -> None:
    assert status_of(page.url) == 200
    assert status_of(page.url.replace("secret", "secre")) == 403
    assert status_of(page.url.partition("?")[0]) == 403
    assert status_of(page.url.replace("/?", "/etc/passwd?")) == 404
    with pytest.raises(InvalidStatus, match="403"):
        connect(live(page).replace("secret", "guess"))
    with pytest.raises(InvalidStatus, match="403"):  # another site's page, in the operator's browser
        connect(live(page), origin="https://elsewhere.example")  # type: ignore[arg-type]


def test_it_tells_the_state_and_obeys_its_words(bench: Bench, page: OperatorPage) -> None:
    bench.step()
    with connect(live(page)) as socket:
        told = json.loads(socket.recv(5))
        assert (told["state"], told["reason"]) == ("inactive", "not enabled yet")
        assert [joint["name"] for joint in told["joints"]] == ["a", "b"]
        socket.send("enable")
        assert json.loads(socket.recv(5))["answer"] == "enable: active"
        assert bench.node.state == "active"
        bench.step(5)
        told = json.loads(socket.recv(5))
        np.testing.assert_allclose([joint["position"] for joint in told["joints"]], bench.q, atol=0.02)
        assert [guard["name"] for guard in told["guards"]][-1] == "motion"
        socket.send("stop")
        assert json.loads(socket.recv(5))["answer"] == "stop: stopping"
        socket.send("enable")  # while it decelerates
        told = json.loads(socket.recv(5))
        assert told["answer"].startswith("enable: refused, still decelerating")
        assert [line["text"] for line in told["lines"]][:2] == ["page: enable", "page: stop"]
        socket.send("shutdown")
        assert json.loads(socket.recv(5))["answer"] == "no such command"


def test_it_tells_what_does_not_allow_motion_and_goes_to_the_start_pose() -> None:
    start = tuple(StartEntry(joint, "rad", 0.3, 0.2, 0.4) for joint in "ab")
    bench = Bench(
        arm_policy(start=start), dead_man=DeadMan("/dead_man"), interlocks=(Interlock("/stop", name="fence"),)
    )
    bench.step()
    told = view(bench.node)
    assert [permit["name"] for permit in told["permits"]] == ["dead man", "fence"]
    assert told["permits"][1]["reason"] == "fence is not known: nothing came on /stop"
    assert told["start"] == ""  # near enough
    bench.wire.subscribers["/dead_man"]({"data": True})
    bench.wire.subscribers["/stop"]({"data": False})
    assert {permit["reason"] for permit in view(bench.node)["permits"]} == {""}
    page = OperatorPage(port=0, token="secret")
    page.show(bench.node)
    try:
        with connect(live(page)) as socket:
            socket.recv(5)
            socket.send("go_to_start")
            assert json.loads(socket.recv(5))["answer"] == "go_to_start: going to the start pose"
    finally:
        page.close()


def test_numbers_that_are_not_known_are_null(bench: Bench) -> None:
    bench.node.tick(bench.now)  # nothing was received yet
    told = json.loads(json.dumps(view(bench.node), allow_nan=False))
    assert told["joints"][0]["position"] is None
    assert told["age"] is None
    assert {guard["name"]: guard["level"] for guard in told["guards"]}["stale"] == "HOLD"


def test_an_axis_that_nobody_measures_has_no_place() -> None:
    outputs = (Output("twist", "/commands", ("a", "b"), names={"a": "x", "b": "yaw"}),)
    bench = Bench(outputs=outputs, limits=JointLimits([-np.inf, -1], [np.inf, 1], [1, 1], [5, 5], [500, 500]))
    bench.wire.subscribers["/joint_states"](bench.state_message())
    bench.node.tick(bench.now)
    free, bounded = json.loads(json.dumps(view(bench.node), allow_nan=False))["joints"]
    assert (free["position"], free["low"], free["high"]) == (None, None, None)
    assert (bounded["position"], bounded["low"], bounded["high"]) == (0.0, -1.0, 1.0)


def test_too_many_pages_are_turned_away(page: OperatorPage) -> None:
    opened = [connect(live(page)) for _ in range(PAGES)]
    try:
        for socket in opened:
            socket.recv(5)
        with connect(live(page)) as one_more, pytest.raises(Exception, match="1013"):
            one_more.recv(5)
    finally:
        for socket in opened:
            socket.close()


def test_addresses(page: OperatorPage) -> None:
    assert open_page(None) is None
    for wrong in ("http://x", "70000", "host:"):
        with pytest.raises(UserError, match=r"--page is .*: expected a port"):
            open_page(wrong)
    taken = page.url.split(":")[2].partition("/")[0]
    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{taken}"):
        open_page(taken)


@pytest.fixture
def browser() -> Iterator[Any]:
    """A phone's screen in a headless Chromium."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(found):
        pytest.skip("needs chromium and chromedriver (apt install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = found[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    for argument in ("--disable-background-networking", "--disable-component-update", "--disable-sync"):
        options.add_argument(argument)
    options.add_argument("--window-size=500,900")
    from selenium.webdriver.chrome.service import Service

    driver = selenium.Chrome(options=options, service=Service(found[1]))
    yield driver
    driver.quit()


def test_in_a_browser(bench: Bench, page: OperatorPage, browser: Any) -> None:
    """Enabling takes two touches, stopping one; a page whose node is gone says so."""
    ending = threading.Event()

    def run() -> None:
        while not ending.wait(0.01):
            bench.step()

    thread = threading.Thread(target=run)
    thread.start()

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, browser.find_element("tag name", "body").text
            time.sleep(0.05)

    text = lambda name: browser.find_element("id", name).text  # noqa: E731
    try:
        browser.get(page.url)
        until(lambda: text("state") == "inactive")
        enable = browser.find_element("id", "enable")
        enable.click()
        assert "touch again" in enable.text
        time.sleep(0.3)
        assert bench.node.state == "inactive"
        enable.click()
        until(lambda: text("state") == "active")
        assert bench.node.state == "active"
        browser.find_element("id", "stop").click()
        until(lambda: text("state") == "fault")
        assert text("reason") == "emergency stop"
        assert "motion" in text("guards")
        width = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert width <= 0, "the page must not be wider than the phone"
        page.close()
        until(lambda: "No connection to the node" in text("gone"))
    finally:
        ending.set()
        thread.join()

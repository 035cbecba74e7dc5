"""A real headless Chromium with a record of its log and requests, and a server of a store."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etl.report.serving import make_server
from etl.store.reader import Store
from tests.support.processes import LIMIT_SECONDS
from tests.support.require import wanting

# WebGL in software; nothing that looks for a network of its own.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)


@contextmanager
def chromium(profile: Path, width: int = 1300, height: int = 900) -> Iterator[Any]:
    """Yield a selenium driver; skip the test if Chromium or its driver is not installed."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        wanting("chromium", "needs Chromium: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    page = webdriver.Chrome(options=options, service=Service(driver))
    page.set_script_timeout(LIMIT_SECONDS)
    try:
        yield page
    finally:
        page.quit()


def complaints(page: Any) -> list[str]:
    """Return messages that pages logged since the last call, without those of level INFO."""
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] != "INFO"]


def addresses(page: Any) -> set[str]:
    """Return the addresses that pages requested since the last call, from network or files."""
    messages = (json.loads(entry["message"])["message"] for entry in page.get_log("performance"))
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    return {address for address in asked if not address.startswith(("data:", "blob:", "chrome:"))}


def wait(page: Any, condition: str) -> None:
    """Wait until a script returns true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, LIMIT_SECONDS).until(lambda page: page.execute_script(condition))


@contextmanager
def serving(store: Store, origins: Sequence[str] = (), idle_s: float = 60.0) -> Iterator[str]:
    """Yield the address of a server of the store, without a slash at its end; pages of `origins` read it."""
    server = make_server(store, 0, origins, idle_s)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""The API's page in a real browser. It needs an installed Chromium or Chrome and its driver."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from event_service.api.routes import lambda_handler
from local.api import served_api
from tests.integration.adapters.test_event_history import EXACT, event, store
from tests.support.aws import Aws

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium or Chrome with its chromedriver is installed"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # Powertools leaves files open
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = BROWSER or ""
    for flag in [*FLAGS, f"--user-data-dir={tmp_path}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    with Chrome(options=options, service=Service(DRIVER)) as driver:
        yield driver


def test_the_page_opens_and_tries_out_a_history(aws: Aws, browser: Chrome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every digit of an event shows, and nothing is fetched from anywhere else."""
    monkeypatch.setenv("EVENT_STORE_TABLE", aws.table)
    with ThreadPoolExecutor(2) as pool:
        store(aws, pool, event(10, item_id="a/b %", data=EXACT))
    with served_api(partial(lambda_handler, context=None), port=0) as url:
        browser.get(f"{url}/docs")
        wait = WebDriverWait(browser, 30)
        block = wait.until(
            lambda page: page.find_element(
                By.XPATH, "//div[contains(@class,'opblock ')][.//*[@data-path='/items/{itemType}/{itemId}/events']]"
            )
        )
        block.find_element(By.CSS_SELECTOR, ".opblock-summary-control").click()
        wait.until(lambda _: block.find_element(By.CSS_SELECTOR, ".try-out__btn")).click()
        for name, value in (("itemType", "reminder"), ("itemId", "a/b %")):
            field = (By.CSS_SELECTOR, f"tr[data-param-name='{name}'] input")
            wait.until(partial(lambda where, _: block.find_element(*where), field)).send_keys(value)
        block.find_element(By.CSS_SELECTOR, ".execute").click()
        shown = wait.until(lambda _: block.find_element(By.CSS_SELECTOR, ".live-responses-table .response"))
        assert "200" in shown.find_element(By.CSS_SELECTOR, ".response-col_status").text
        assert "e10" in shown.text
        logged = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
        sent = [m["params"]["request"]["url"] for m in logged if m["method"] == "Network.requestWillBeSent"]
    assert f"{url}/items/reminder/a%2Fb%20%25/events" in [address.partition("?")[0] for address in sent]
    assert [address for address in sent if address.startswith(("http", "ws")) and not address.startswith(url)] == []

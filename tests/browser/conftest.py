"""A real browser for the tests of pages: the Chromium or Chrome that is installed, or $CONDGEN_BROWSER."""

import os
import shutil

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="package")
def browser():
    """A headless browser, or a skip that says how to get one."""
    program = os.environ.get("CONDGEN_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no browser: install Chromium (Debian: apt install chromium), or name one in $CONDGEN_BROWSER")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: uv sync installs it")
    root = os.name == "posix" and os.geteuid() == 0  # whom Chromium's sandbox refuses
    with playwright.sync_playwright() as driver:
        flags = ["--disable-gpu", "--disable-quic"]
        running = driver.chromium.launch(executable_path=program, chromium_sandbox=not root, args=flags)
        yield running
        running.close()


@pytest.fixture
def page(browser):
    """A fresh page at desktop width; the test fails if anything is written to its console as an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, errors = context.new_page(), []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert not errors, f"errors in the browser's console: {errors}"

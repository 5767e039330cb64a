"""A real browser for the tests of pages, which may reach no other server and write no error to its console."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Open = Callable[..., Any]

in_chromium = pytest.mark.skipif(not CHROMIUM, reason="pages are tested in chromium, which is not installed")


@contextmanager
def browsing() -> Iterator[Any]:
    """A running browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opening(browser: Any) -> Iterator[Open]:
    """Opens pages. Afterwards none may have reached another server or written an error to its console.

    With `refused` the server may answer with errors, which the browser writes there on its own; it may always ask for a key.
    also: origins of further servers that the page may reach.
    """
    contexts, wrong = [], []

    def opened(
        address: str,
        *,
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        locale: str = "en-US",
        refused: bool = False,
        also: tuple[str, ...] = (),
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        origin = re.match(r"http://[^/]+", address)
        assert origin

        def told(message: Any) -> None:
            expected = "401" in message.text or (refused and message.text.startswith("Failed to load resource"))
            if message.type in ("error", "warning") and not expected:
                wrong.append(message.text)

        known = (origin[0], "data:", *also)
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(known) else None)
        page.on("console", told)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong, wrong

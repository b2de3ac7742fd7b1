"""The built pages in a browser: wide and narrow, light and dark, with nothing cut off or fetched.

Needs a chromium, which is driven by its DevTools protocol over two pipes; the pages are served to
it from this machine.
"""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import select
import shutil
import subprocess
import threading
import time

import pytest

BUILT = pathlib.Path(__file__).parents[2] / "build" / "docs" / "html"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
if not (BUILT / "objects.inv").exists():
    pytest.skip("the pages are not built; `make docs` builds them", allow_module_level=True)
if CHROMIUM is None or os.name != "posix":
    pytest.skip("needs chromium", allow_module_level=True)
import fcntl  # noqa: E402 - POSIX alone has it

LONG = ("fastreg.sklearn.MLPClassifier", "fastreg.train.Trainer", "fastreg.reference")  # names
PAGES = sorted(
    str(path.relative_to(BUILT))
    for folder in (".", "chapter", "gallery")
    for path in (BUILT / folder).glob("*.html")
) + [f"api/{name}.html" for name in LONG]

#: What stands beyond the article's right edge and is not in a box that scrolls and says so.
CUT = """(() => {
  const article = document.querySelector('.bd-article') || document.body;
  const edge = article.getBoundingClientRect().right + 1;
  const scrolls = 'pre, .scroll, .formula, .pst-scrollable-table-container';
  return [...article.querySelectorAll('*')]
    .filter(e => e.getBoundingClientRect().right > edge && !e.closest(scrolls))
    .map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 40)).slice(0, 5);
})()"""
#: Titles that do not fit where readers turn the page.
TURNING = """[...document.querySelectorAll('.prev-next-area a')]
  .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.trim())"""
#: Words in a drawing that reach out of it.
DRAWN = """[...document.querySelectorAll('figure.diagram svg text')].filter(e => {
  const a = e.getBoundingClientRect(), b = e.ownerSVGElement.getBoundingClientRect();
  return a.width && (a.right > b.right + 1 || a.left < b.left - 1);
}).map(e => e.textContent)"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    def log_message(self, *args):
        pass

    def copyfile(self, source, outputfile):
        with contextlib.suppress(OSError):  # the browser went on to the next page
            super().copyfile(source, outputfile)


class Browser:
    """One tab: messages of JSON that end in a zero byte."""

    def __init__(self, folder):
        pipes = [*os.pipe(), *os.pipe()]
        theirs, self.out, self.into, back = (fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in pipes)
        for one in pipes:
            os.close(one)
        command = [
            "bash", "-c", f'exec "$@" 3<&{theirs} 4>&{back}', "bash", CHROMIUM, "--headless=new",
            "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars",
            "--disable-background-networking", f"--user-data-dir={folder}", "about:blank",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, pass_fds=(theirs, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs), os.close(back)
        self.rest, self.count, self.events, self.session = b"", 0, [], {}
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        self.session = {"sessionId": session}
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params, **self.session}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        answer = self.until(lambda one: one.get("id") == message["id"])
        assert "error" not in answer, answer
        return answer["result"]

    def until(self, wanted):
        end = time.monotonic() + 300
        while True:
            while b"\0" not in self.rest:
                ready = select.select([self.into], [], [], max(0, end - time.monotonic()))[0]
                assert ready, "the browser does not answer"
                part = os.read(self.into, 1 << 20)
                assert part, "the browser has ended"
                self.rest += part
            text, self.rest = self.rest.split(b"\0", 1)
            message = json.loads(text)
            if "id" not in message:
                self.events.append(message)
            if wanted(message):
                return message

    def open(self, address, width, theme):
        """Return the addresses that the page asks for, and what its scripts complain about."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": theme}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)
        if not any(one["method"] == "Page.loadEventFired" for one in self.events):
            self.until(lambda one: one.get("method") == "Page.loadEventFired")
        asked = [
            one["params"]["request"]["url"]
            for one in self.events
            if one["method"] == "Network.requestWillBeSent"
        ]
        complaints = [
            one["params"]
            for one in self.events
            if one["method"] == "Runtime.exceptionThrown"
            or (one["method"] == "Runtime.consoleAPICalled" and one["params"]["type"] == "error")
        ]
        return asked, complaints

    def value(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.process.terminate()
    one.process.wait()
    os.close(one.out), os.close(one.into)


@pytest.fixture(scope="module")
def home():
    handler = functools.partial(Quiet, directory=BUILT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_pages_fit_and_fetch_nothing(browser, home, width, theme):
    faults = []
    for page in PAGES:
        asked, complaints = browser.open(home + page, width, theme)
        faults += [(page, one) for one in asked if not one.startswith((home, "data:"))]
        faults += [(page, one) for one in complaints]
        if browser.value("document.documentElement.dataset.theme") != theme:
            faults.append((page, "is not " + theme))
        if browser.value("document.documentElement.scrollWidth") > width:
            faults.append((page, "is wider than its window"))
        for what in (CUT, TURNING, DRAWN):
            faults += [(page, one) for one in browser.value(what)]
    assert not faults, "\n".join(map(str, faults))


def test_search_shows_what_it_finds(browser, home):
    browser.open(f"{home}search.html?q=momentum", 1400, "light")
    results = "[...document.querySelectorAll('#search-results li a')].map(e => e.textContent)"
    wanted, end = {"fastreg.Momentum", "4 Optimizers"}, time.monotonic() + 60
    while not wanted <= set(found := browser.value(results)) and time.monotonic() < end:
        time.sleep(0.2)
    assert wanted <= set(found)

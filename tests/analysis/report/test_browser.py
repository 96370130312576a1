"""The page in a real browser, where one is installed: Debian's chromium, without a window."""

from __future__ import annotations

import html
import json
import shutil
import subprocess

import pytest

BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Debian's chromium")

# A frame may be as narrow as a telephone; the browser's own window may not.
FRAME = """<!DOCTYPE html><html><head><title></title></head><body>
<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{page}"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const all = (what) => [...page.querySelectorAll(what)];
  const seen = {{folded: page.documentElement.scrollWidth}};
  seen.blank = all("img").filter((one) => !one.complete || !one.naturalWidth).length;
  seen.lost = all("a").filter((one) => !page.getElementById(one.getAttribute("href").slice(1))).length;
  all("details").forEach((one) => {{ one.open = true; }});
  seen.unfolded = page.documentElement.scrollWidth;
  document.title = JSON.stringify(seen);
}});</script></body></html>"""


def look(page, folder, width):
    """What the page is in a frame of this width, and what the browser wrote to its console."""
    file = folder / "frame.html"
    file.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    done = subprocess.run(
        [BROWSER, *options, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    return json.loads(title), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_lost_and_nothing_scrolls_sideways(reported, tmp_path, width):
    seen, console = look(reported.result.texts[".html"], tmp_path, width)
    assert seen == {"folded": width, "unfolded": width, "blank": 0, "lost": 0}
    assert console == []


def test_a_browser_would_notice(tmp_path):
    page = (
        "<!DOCTYPE html><div style='width: 2000px'>x</div><a href='#nowhere'>x</a>"
        "<img src='data:image/png;base64,AAAA'><script>missing()</script>"
    )
    seen, console = look(page, tmp_path, 390)
    assert (seen["blank"], seen["lost"]) == (1, 1)
    assert seen["folded"] > 2000
    assert any("missing is not defined" in line for line in console)

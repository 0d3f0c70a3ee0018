"""Pages in a real browser: nothing is wider than the screen, in light, dark and print alike."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest

from service.ledger.report_context import ReportContext
from service.pages.reply import as_page, reply
from service.renderings import SignedFile
from service.reports import publish
from service.signing import load_signer
from tests.service.test_report_additions import COMPARISON, about, pool

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: pages were not looked at"),
]
PHONE, DESK = 360, 1440
# Chromium's own windows have a least width, a frame has none; its media queries see the frame.
WRAPPER = """<!doctype html><body>
<iframe style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<pre id="found"></pre><script>
const frame = document.querySelector("iframe");
const clips = (box) => ["auto", "scroll", "hidden"].includes(getComputedStyle(box).overflowX);
const inside = (element) => {{
  for (let box = element.parentElement; box; box = box.parentElement) if (clips(box)) return true;
  return false;
}};
frame.onload = () => {{
  const inner = frame.contentDocument, found = [];
  for (const box of inner.querySelectorAll("body *")) {{
    const right = box.getBoundingClientRect().right;
    if (right > {width} + 0.5 && !inside(box))
      found.push([box.tagName, box.className, Math.round(right), box.textContent.slice(0, 60)]);
  }}
  const told = {{ wide: found, scroll: inner.documentElement.scrollWidth }};
  document.querySelector("#found").textContent = JSON.stringify(told);
}};
</script>"""


def measured(html: str, width: int, folder: Path, *options: str) -> dict[str, object]:
    """Return the elements of a page that reach beyond a screen, and how wide the page scrolls."""
    assert CHROMIUM is not None
    bare = re.sub(r"<meta http-equiv=[^>]*>", "", html)  # its policy forbids the frame nothing else
    path = folder / f"frame-{width}.html"
    path.write_text(WRAPPER.format(width=width, page=escape(bare)), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", *options]
    done = subprocess.run(
        [*command, "--window-size=1600,900", "--dump-dom", path.as_uri()],
        capture_output=True,
        check=True,
        timeout=120,
    )
    told = re.search(r'<pre id="found">(.*?)</pre>', done.stdout.decode(), re.DOTALL)
    assert told is not None
    found: dict[str, object] = json.loads(unescape(told.group(1)))
    return found


@pytest.fixture
def report(report_context: ReportContext, figure_bytes: bytes, tmp_path: Path) -> SignedFile:
    """Return a report with everything that a page can show."""
    context = replace(
        report_context,
        pool=pool(),
        of_request=about(COMPARISON),
        near_duplicates={"byte_equal": 2, "near": 1, "in_holdout": 3, "included": 0},
    )
    signer = load_signer(tmp_path / "signing.pem", create=True)
    envelope = publish(context, signer).envelope
    return SignedFile(envelope, {context.figures[0]["sha256"]: figure_bytes})


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_of_a_report_is_wider_than_the_screen(
    report: SignedFile, tmp_path: Path, width: int, *, dark: bool
) -> None:
    option = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    found = measured(report.page.html, width, tmp_path, option)
    assert found == {"wide": [], "scroll": width}


def test_nothing_of_a_reply_is_wider_than_a_phone(report: SignedFile, tmp_path: Path) -> None:
    found = measured(as_page(reply(report.statement)).html, PHONE, tmp_path)
    assert found == {"wide": [], "scroll": PHONE}


def test_what_is_too_wide_is_noticed(report: SignedFile, tmp_path: Path) -> None:
    word = f"<p><b>{'long' * 40}</b></p></main>"
    html = report.page.html.replace("</main>", word).replace("overflow-wrap: break-word", "")
    found = measured(html, PHONE, tmp_path)
    assert found["scroll"] != PHONE
    assert found["wide"]

"""Opens the page of a workflow in the Web UI, gives the UI a codec server, and opens it again.

    browser.py PAGE CODEC_SERVER CIPHERTEXT PLAINTEXT

Fails unless the page shows CIPHERTEXT first and PLAINTEXT afterwards. If the browser or Playwright is
missing, says so and exits with 77. SCREENSHOT=<file> saves a picture of the last page.
"""

import os
import shutil
import sys


def skip(reason):
    print(reason)
    sys.exit(77)


try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    skip("Python has no playwright")

page_url, codec_server, ciphertext, plaintext = sys.argv[1:]
names = ["chromium", "chromium-browser", "google-chrome"]
chromium = next(filter(None, map(shutil.which, names)), None)
if not chromium:
    skip("there is no " + ", ".join(names))

expect.set_options(timeout=20_000)
with sync_playwright() as playwright:
    quiet = ["--disable-gpu", "--disable-quic", "--disable-sync"]
    browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
    page = browser.new_page(viewport={"width": 1100, "height": 650})
    body = page.locator("body")

    page.goto(page_url)
    expect(body).to_contain_text(ciphertext)
    expect(body).not_to_contain_text(plaintext)

    page.get_by_label("Configure Codec Server").click()
    page.get_by_text("Use my browser setting").click()
    page.get_by_label("Codec Server browser endpoint").fill(codec_server)
    page.get_by_role("button", name="Apply").click()
    page.reload()
    expect(body).to_contain_text(plaintext)
    expect(body).not_to_contain_text(ciphertext)

    if file := os.environ.get("SCREENSHOT"):
        page.screenshot(path=file)
    browser.close()

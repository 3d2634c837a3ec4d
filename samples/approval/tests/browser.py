"""Decides on the page of pending approvals, as a person does.

    browser.py PAGE APPROVE REJECT

APPROVE and REJECT are workflow ids on the page. Exits with 77, and says why, if there is nothing to do it with.
"""

import shutil
import sys


def skip(reason):
    print(reason)
    sys.exit(77)


try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    skip("Python has no playwright")

page_url, approve, reject = sys.argv[1:]
names = ["chromium", "chromium-browser", "google-chrome"]
chromium = next(filter(None, map(shutil.which, names)), None)
if not chromium:
    skip("there is no " + ", ".join(names))

expect.set_options(timeout=20_000)
with sync_playwright() as playwright:
    quiet = ["--disable-gpu", "--disable-quic", "--disable-sync"]
    browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
    page = browser.new_page()
    page.on("dialog", lambda dialog: sys.exit("the page runs the code of a workflow id"))
    page.goto(page_url)
    for workflow_id, approver, button in [(approve, "ann", "Approve"), (reject, "bob", "Reject")]:
        form = page.get_by_role("form", name=workflow_id)
        expect(form).to_be_visible()
        form.get_by_label("Approver").fill(approver)
        form.get_by_label("Comments").fill("seen")
        # A second page, on which the request still is when it has ended.
        late = browser.new_page()
        late.goto(page_url)
        form.get_by_role("button", name=button).click()
        expect(page.get_by_role("heading")).to_contain_text("Pending approvals")
        while page.get_by_role("form", name=workflow_id).count():
            page.reload()
        form = late.get_by_role("form", name=workflow_id)
        form.get_by_label("Approver").fill("eve")
        form.get_by_role("button", name=button).click()
        expect(late.get_by_role("alert")).to_contain_text("Too late")
    browser.close()

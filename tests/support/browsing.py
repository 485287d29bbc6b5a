"""The page, served, and what tests do on it in the browser."""

import base64
from contextlib import contextmanager

import numpy as np
from playwright.sync_api import expect

from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.web.app import create_app
from covidcxr.web.pages.pages import SAMPLES_URL
from support.serving import hosting
from support.uploads import dicom, picture

GREY = radiograph(np.random.default_rng(0), size=(480, 400), opacities=[Opacity(x=0.3, y=0.5, radius=0.1)])
NORMAL = ("normal.png", picture(GREY))
BRIGHT = ("bright.jpg", picture(np.maximum(GREY, 160), "JPEG", quality=95))
RADIOGRAPH = ("plate.dcm", dicom(GREY))
TIMEOUT_MS = 60_000
"""Long, for machines that are busy with other things."""
TEXT = ("<img src=x onerror=alert(1)>.txt", b"no picture")


@contextmanager
def serving(predictor, samples_url=""):
    """Serve the page; yields its address. The server fetches examples from ``samples_url`` only."""
    app = create_app(predictor, max_upload_mb=4)
    app.config[SAMPLES_URL] = samples_url
    with hosting(app) as address:
        yield address


def drop(page, *files):
    """Drop (name, bytes) pairs on the page as a mouse does."""
    transfer = transfer_of(page, *files)
    page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})


def transfer_of(page, *files):
    """Return a DataTransfer of the page that holds (name, bytes) pairs."""
    encoded = [[name, base64.b64encode(content).decode()] for name, content in files]
    return page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, content] of files) {
                transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
            }
            return transfer;
        }""",
        encoded,
    )


def choose(page, *files):
    uploads = [{"name": n, "mimeType": "", "buffer": content} for n, content in files]
    page.set_input_files("#files", uploads, timeout=TIMEOUT_MS)


def wait_done(page, count):
    settled = page.locator(".card:is([data-state=done], [data-state=failed])")
    expect(settled).to_have_count(count, timeout=TIMEOUT_MS)


def shown(card):
    """Return what the canvas of a card shows: RGBA, shape (height, width, 4)."""
    canvas = card.locator("canvas")
    canvas.scroll_into_view_if_needed()  # pictures out of sight are not kept
    expect(canvas).not_to_have_js_property("width", 0)
    width, height, data = canvas.evaluate(
        """(canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const text = data.reduce((start, byte) => start + String.fromCharCode(byte), "");
            return [canvas.width, canvas.height, btoa(text)];
        }"""
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


def switch(card):
    return card.get_by_role("checkbox", name="Activation map")


def without_map(card):
    switch(card).uncheck()
    return shown(card)[..., 0].astype(int)


def prevalence(page, role):
    """Find the slider or the number in which a reader says how many have the disease."""
    return page.get_by_role(role, name="Share of people with COVID-19 among those you would test")

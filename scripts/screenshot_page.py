"""Save docs/images/page.png: the page with a prediction for a synthetic radiograph.

Needs the extras ``web`` and ``dev``, Chromium (Debian package chromium) and, for the same letters as in the committed
image, the font Inter (Debian package fonts-inter).
"""

import io
import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from werkzeug.serving import make_server

from covidcxr.images.phantom import Opacity, radiograph
from covidcxr.prediction.predictor import Predictor
from covidcxr.web.app import create_app

OUT = Path(__file__).parents[1] / "docs" / "images" / "page.png"
OPACITIES = (
    Opacity(x=0.23, y=0.55, radius=0.08, strength=0.3),
    Opacity(x=0.31, y=0.64, radius=0.07, strength=0.25),
    Opacity(x=0.79, y=0.52, radius=0.08, strength=0.3),
    Opacity(x=0.74, y=0.64, radius=0.06, strength=0.2),
)
"""Patches at the periphery and bases of both lungs, where COVID-19 pneumonia often shows."""
BROWSER = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--force-color-profile=srgb")


@contextmanager
def serving(predictor: Predictor) -> Iterator[str]:
    """Serve the page on a free port of this machine and yield its address."""
    server = make_server("127.0.0.1", 0, create_app(predictor), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/"
    finally:
        server.shutdown()
        thread.join()


def synthetic_radiograph() -> bytes:
    """Return a PNG of a synthetic radiograph with opacities."""
    grey = radiograph(np.random.default_rng(7), size=(1152, 1024), opacities=OPACITIES)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


def photograph(address: str) -> None:
    """Upload the radiograph in Chromium and save the window as OUT."""
    upload = {"name": "synthetic-radiograph.png", "mimeType": "image/png", "buffer": synthetic_radiograph()}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER)
        page = browser.new_page(viewport={"width": 1280, "height": 1100}, color_scheme="light", reduced_motion="reduce")
        page.goto(address)
        page.set_input_files("#files", upload)
        expect(page.locator("#count")).to_have_text("1 file done")
        page.screenshot(path=OUT)
        browser.close()


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with serving(Predictor.load()) as started:
        photograph(started)

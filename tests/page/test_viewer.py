import re

import numpy as np
import pytest
from playwright.sync_api import expect

from support.browsing import BRIGHT, GREY, NORMAL, TEXT, choose, shown, switch, wait_done, without_map
from support.uploads import picture


@pytest.fixture
def card(page):
    choose(page, NORMAL)
    wait_done(page, 1)
    return page.locator(".card")


def view(place):
    """Return zoom and offset in pixels of the canvas of a card or pane, as the browser draws it."""
    zoom, x, y = place.locator("canvas").evaluate(
        "(canvas) => { const m = new DOMMatrix(getComputedStyle(canvas).transform); return [m.a, m.e, m.f]; }"
    )
    return zoom, x, y


def middle(stage):
    box = stage.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_buttons_zoom_and_fit(card):
    card.get_by_role("button", name="Zoom in").click(click_count=3)
    assert view(card)[0] == pytest.approx(1.25**3, rel=1e-4)
    expect(card.locator(".zoom")).to_have_text("195 %")
    card.get_by_role("button", name="Zoom out").click()
    assert view(card)[0] == pytest.approx(1.25**2, rel=1e-4)
    card.get_by_role("button", name="Fit").click()
    assert view(card) == (1, 0, 0)


def test_zoom_has_ends(card):
    card.get_by_role("button", name="Zoom out").click()
    assert view(card)[0] == 1
    for _ in range(15):
        card.get_by_role("button", name="Zoom in").click()
    assert view(card)[0] == 8


def test_keys_zoom_and_move(page, card):
    card.locator(".stage").focus()
    for key in "++":
        page.keyboard.press(key)
    page.keyboard.press("ArrowRight")
    zoom, x, y = view(card)
    assert zoom == pytest.approx(1.25**2, rel=1e-4)
    assert x < 0
    assert y == 0
    page.keyboard.press("-")
    assert view(card)[0] == pytest.approx(1.25)
    page.keyboard.press("0")
    assert view(card) == (1, 0, 0)


def test_the_wheel_scrolls_the_page_until_the_picture_has_been_clicked(page, card):
    stage = card.locator(".stage")
    stage.scroll_into_view_if_needed()
    page.mouse.move(*middle(stage))
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, -100)
    page.wait_for_function("(before) => scrollY < before", arg=before)
    assert view(card)[0] == 1
    page.mouse.move(*middle(stage))
    page.mouse.down()
    page.mouse.up()
    settled = page.evaluate("scrollY")
    page.mouse.wheel(0, -100)
    page.wait_for_function("document.querySelector('.zoom').textContent !== '100 %'")
    assert view(card)[0] == pytest.approx(np.exp(0.2), rel=0.01)
    assert page.evaluate("scrollY") == settled


def test_what_lies_under_the_wheel_stays_there(page, card):
    stage = card.locator(".stage")
    stage.click()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.wheel(0, -200)
    page.wait_for_function("document.querySelector('.zoom').textContent !== '100 %'")
    zoom, x, y = view(card)
    assert 0.25 * box["width"] * zoom + x == pytest.approx(0.25 * box["width"], abs=1)
    assert y == pytest.approx(0, abs=1)


def test_a_drag_moves_the_picture_as_far_as_its_edge(page, card):
    stage = card.locator(".stage")
    card.get_by_role("button", name="Zoom in").click(click_count=3)
    stage.scroll_into_view_if_needed()
    x, y = middle(stage)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y - 20, steps=4)
    assert view(card)[1:] == pytest.approx((30, -20), abs=1)
    page.mouse.move(x + 2000, y, steps=4)
    page.mouse.up()
    zoom, x, _ = view(card)
    assert x == pytest.approx((zoom - 1) / 2 * stage.bounding_box()["width"], abs=1)


def test_a_pinch_zooms(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
    choose(page, NORMAL)
    wait_done(page, 1)
    card = page.locator(".card")
    card.locator(".stage").scroll_into_view_if_needed()
    x, y = middle(card.locator(".stage"))
    device = page.context.new_cdp_session(page)

    def touch(kind, *xs):
        points = [{"x": x + dx, "y": y, "id": i} for i, dx in enumerate(xs)]
        device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -30, 30)
    for apart in (40, 50, 60):
        touch("touchMove", -apart, apart)
    touch("touchEnd")
    assert view(card)[0] == pytest.approx(2, rel=0.1)
    touch("touchStart", 0)
    for dx in (10, 20, 30):
        touch("touchMove", dx)
    touch("touchEnd")
    assert view(card)[1] == pytest.approx(30, abs=12)


def windowed(width, level):
    return np.clip((GREY.astype(float) - (level - width / 2)) / width * 255, 0, 255)


def test_sliders_set_window_and_level_and_reset_takes_them_back(card):
    switch(card).uncheck()
    card.get_by_text("Window and level").click()
    card.get_by_label("Window", exact=True).fill("100")
    card.get_by_label("Level").fill("150")
    assert np.abs(shown(card)[..., 0] - windowed(100, 150)).max() <= 1.5
    card.get_by_label("Window", exact=True).fill("255")
    assert np.abs(shown(card)[..., 0] - windowed(255, 150)).max() <= 1.5
    card.get_by_role("button", name="Reset").click()
    assert np.abs(shown(card)[..., 0].astype(int) - GREY).max() <= 1
    expect(card.get_by_label("Level")).to_have_value("127.5")


def test_a_drag_sets_window_and_level_once_asked_to(page, card):
    switch(card).uncheck()
    button = card.get_by_role("button", name="Window by dragging")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    stage = card.locator(".stage")
    stage.scroll_into_view_if_needed()
    x, y = middle(stage)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 150, y + 30, steps=5)
    page.mouse.up()
    box = stage.bounding_box()
    width, level = 255 - 255 * 150 / box["width"], 127.5 + 255 * 30 / box["height"]
    assert np.abs(shown(card)[..., 0] - windowed(width, level)).max() <= 2
    assert view(card) == (1, 0, 0)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")


def test_the_lungs_are_outlined_where_the_network_finds_them(open_page, lung_address):
    page = open_page(lung_address)
    choose(page, NORMAL)
    wait_done(page, 1)
    card = page.locator(".card")
    plain = without_map(card)  # the map is off, the outline on
    outlined = shown(card).astype(int)
    expect(card.locator(".in-lungs")).to_be_visible()
    card.get_by_label("Outline of the lungs").uncheck()
    bare = shown(card).astype(int)
    changed = np.abs(outlined - bare).max(axis=2) > 30
    assert plain.shape == bare.shape[:2]
    columns = np.flatnonzero(changed[200:280].any(axis=0)) / 400  # of the middle of the picture
    edges = [0.05 + 0.9 * cell / 7 for cell in (1, 3, 4, 6)]  # between the cells that are lung and those that are not
    assert all(np.abs(columns - edge).min() < 0.02 for edge in edges)
    assert all(np.abs(np.array(edges) - column).min() < 0.03 for column in columns)


def test_models_that_find_no_lungs_offer_no_outline(card):
    expect(card.get_by_label("Outline of the lungs")).to_be_hidden()


@pytest.fixture
def compared(page):
    choose(page, NORMAL, TEXT, BRIGHT)
    wait_done(page, 3)
    for number in (0, 2):
        page.locator(".card").nth(number).get_by_label("Compare").check()
    page.get_by_role("button", name="Compare two").click()
    return page.get_by_role("dialog", name="Side by side")


def test_two_images_are_compared_side_by_side_and_move_together(page, compared):
    left, right = compared.locator(".pane").all()
    expect(left.locator("h3")).to_have_text(NORMAL[0])
    expect(right.locator("h3")).to_have_text(BRIGHT[0])
    expect(right.locator(".summary")).to_have_text(re.compile(r"Most like COVID-19, \d+ %\."))
    expect(left.get_by_role("list", name="Probabilities").get_by_role("listitem")).to_have_count(3)
    left.locator(".stage").click()
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    assert view(left) == view(right)
    assert view(left)[0] == 1.25
    compared.get_by_label("Move together").uncheck()
    page.locator("#compare .pane .stage").nth(1).focus()
    page.keyboard.press("0")
    assert view(left)[0] == 1.25
    assert view(right)[0] == 1
    compared.get_by_label("Move together").check()
    assert view(right)[0] == 1.25
    compared.get_by_role("button", name="Fit").click()
    assert view(left) == view(right) == (1, 0, 0)


def test_a_phone_shows_both_pictures_at_once(open_page):
    page = open_page(viewport={"width": 390, "height": 844})
    choose(page, NORMAL, BRIGHT)
    wait_done(page, 2)
    for box in page.locator(".picked").all():
        box.check()
    page.get_by_role("button", name="Compare two").click()
    for stage in page.locator(".pane .stage").all():
        expect(stage).to_be_in_viewport(ratio=0.95)
    expect(page.locator(".pane .summary").first).to_have_text(re.compile("Most like Normal"))


def test_maps_come_and_go_on_both_sides(compared):
    panes = compared.locator(".pane").all()
    assert np.ptp(shown(panes[1])[..., :3], axis=2).max() > 60
    compared.get_by_label("Activation maps").uncheck()
    for pane in panes:
        assert np.ptp(shown(pane)[..., :3], axis=2).max() == 0


def test_escape_closes_and_gives_the_focus_back(page, compared):
    page.keyboard.press("Escape")
    expect(compared).to_be_hidden()
    expect(page.get_by_role("button", name="Compare two")).to_be_focused()


def test_the_third_that_is_picked_takes_the_place_of_the_first(page):
    choose(page, *[(f"{n}.png", picture(GREY)) for n in range(3)])
    wait_done(page, 3)
    boxes = [card.get_by_label("Compare") for card in page.locator(".card").all()]
    expect(page.get_by_role("button", name="Compare two")).to_be_disabled()
    for box in boxes:
        box.check()
    expect(boxes[0]).not_to_be_checked()
    page.get_by_role("button", name="Compare two").click()
    expect(page.locator(".pane h3")).to_have_text(["1.png", "2.png"])

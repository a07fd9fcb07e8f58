"""The explorers in a real browser, without a network: as fragments of a page of their own, and on the built pages."""

import re

import chromium
import numpy as np
import pytest
import torch
from chromium import FAINT, LAPTOP, PHONE, drain, show, visit, wait
from conftest import toc_pages
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from torch import nn

import eamlib
from eamlib.book import explore
from eamlib.book.explore.formulas import PRESETS, rows
from eamlib.layers import DynamicConv2d
from eamlib.redundancy import measure

pytestmark = chromium.NEEDED

EXPLORERS = "channels", "eam", "cost"
SIDEWAYS = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
# What can be hit and is smaller than a finger: 32 pixels, across or down.
SMALL = """
    return [...document.querySelectorAll(".explorer :is(select, button, input)")]
        .map(hit => [hit.outerHTML.slice(0, 80), hit.getBoundingClientRect()])
        .filter(([_, {width, height}]) => width && (width < 32 || height < 32)).map(([text]) => text);
"""
# Text of less than 4.5 : 1.
FAINT_IN = FAINT.replace('document.querySelector("article, .bd-search-container")', "arguments[0]").replace(
    "< 3)", "< 4.5)"
)
# The pixels of all that is drawn, so that two pictures can be compared.
DRAWN = "return [...arguments[0].querySelectorAll('.drawing canvas')].map(canvas => canvas.toDataURL()).join()"


def of_seed(seed):
    torch.manual_seed(seed)
    convolutions = nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 12, 3, padding=1), nn.ReLU()
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture(scope="module")
def network():
    return of_seed(0)


@pytest.fixture(scope="module")
def images():
    """Blobs: noise alone has no channels alike."""
    coarse = torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, (16, 16), mode="bilinear")


@pytest.fixture(scope="module")
def made(network, images):
    with torch.no_grad():
        labels = network(images).argmax(1)
    options = {"untrained": of_seed(2), "labels": labels, "shown": (0, 3, 5)}
    torch.manual_seed(1)
    dynamic = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), DynamicConv2d(16, 8, 1), DynamicConv2d(8, 8, 1))
    return {
        "channels": explore.channels(network, images, ["1", "3"], **options),
        "eam": explore.eam(dynamic, images, ["2", "3"]),
        "cost": explore.cost(),
    }


@pytest.fixture(scope="module")
def address(made, tmp_path_factory):
    """A page with all three, and one of them twice."""
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    fragments = "".join(explorer.html() for explorer in (*made.values(), made["channels"]))
    page = tmp_path_factory.mktemp("explorers") / "page.html"
    page.write_text(f"{head}<title>Explorers</title><body><article>{fragments}</article>", encoding="utf-8")
    return page.as_uri()


@pytest.fixture
def explorer(browser, address):
    """``explorer(name)``: that explorer's element on the page, loaded anew."""
    show(browser, LAPTOP)
    browser.get(address)
    return lambda name: browser.find_element(By.CSS_SELECTOR, f".explorer[data-explorer={name}]")


def control(element, name):
    return element.find_element(By.CSS_SELECTOR, f"[data-control={name}]")


def choose(element, name, place):
    Select(control(element, name)).select_by_index(place)


def first_layer(explorer):
    """The channels of the first layer, which is not where the explorer opens."""
    element = explorer("channels")
    choose(element, "layer", 0)
    return element


def exact(element):
    """The rows of the table of costs, shown."""
    element.find_element(By.CSS_SELECTOR, ".exact").send_keys(Keys.ENTER)
    return element.find_elements(By.CSS_SELECTOR, "tr[data-row]")


def threshold(element):
    return element.find_element(By.CSS_SELECTOR, "input[type=range]")


def counts(element):
    found = [element.find_element(By.CSS_SELECTOR, f"[data-count={name}]").text for name in ("pairs", "channels")]
    return [int(text.replace(",", "")) for text in found]


def neighbours(element):
    """Channel and r of those that are shown."""
    items = element.find_elements(By.CSS_SELECTOR, ".neighbours li")
    return {int(li.get_attribute("data-channel")): re.search(r"r = (.*)", li.text)[1] for li in items}


def choose_channel(browser, element, channel):
    tile = element.find_element(By.CSS_SELECTOR, f".tile:has(input[value='{channel}'])")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", tile)
    tile.click()


def chosen(element):
    return int(element.find_element(By.CSS_SELECTOR, ".tile[data-state=chosen] .number").text)


def enter(field, value):
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(str(value))


@pytest.mark.parametrize("width", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_of_explorers(browser, address, width, theme):
    show(browser, width, theme)
    drain(browser)
    browser.get(address)
    requested, failed, complaints = drain(browser)
    assert [url for url in requested if not url.startswith(("data:", "blob:"))] == [address]
    assert failed == [] and complaints == []
    found = browser.find_elements(By.CLASS_NAME, "explorer")
    assert len(found) == 4
    assert all(len(element.find_elements(By.CSS_SELECTOR, ".drawing > *")) > 1 for element in found)  # drawn at once
    assert not browser.execute_script(SIDEWAYS)
    assert [browser.execute_script(FAINT_IN, element) for element in found] == [[]] * len(found)
    assert browser.execute_script(SMALL) == []
    ground = browser.execute_script("return getComputedStyle(document.querySelector('.explorer')).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (theme == "dark")


def test_what_is_drawn_is_described(explorer):
    for name in EXPLORERS:
        element = explorer(name)
        for canvas in element.find_elements(By.TAG_NAME, "canvas"):
            inside = "ancestor::*[@role='img' or self::label]"
            hidden = canvas.get_attribute("aria-hidden") == "true" and canvas.find_elements(By.XPATH, inside)
            assert hidden or (canvas.get_attribute("role") == "img" and canvas.get_attribute("aria-label"))
        for field in element.find_elements(By.CSS_SELECTOR, ":is(select, input):not([hidden] *)"):
            assert field.accessible_name
    assert explorer("channels").find_elements(By.CSS_SELECTOR, "[aria-live=polite]")


def test_another_image_and_layer_are_drawn(browser, explorer):
    element = explorer("channels")
    before = browser.execute_script(DRAWN, element)
    choose(element, "image", 1)
    other = browser.execute_script(DRAWN, element)
    assert other != before
    assert len(element.find_elements(By.CSS_SELECTOR, ".tile")) == 12
    choose(element, "layer", 0)
    assert browser.execute_script(DRAWN, element) not in (before, other)
    assert len(element.find_elements(By.CSS_SELECTOR, ".tile")) == 24


def test_the_threshold_moves_by_the_keyboard_and_counts_as_numpy(explorer, network, images):
    element = first_layer(explorer)
    r = np.abs(measure(network, [images], ["1"])["1"].correlation.numpy())
    np.fill_diagonal(r, 0)
    slider, seen = threshold(element), set()
    slider.send_keys(Keys.HOME)
    for t in [*range(50, 60), 100]:
        if t == 100:
            slider.send_keys(Keys.END)
        above = r >= t / 100
        assert counts(element) == [above.sum() // 2, above.any(1).sum()]
        assert element.find_element(By.CSS_SELECTOR, ".drawing output").text == f"{t / 100:.2f}"
        shown = element.find_element(By.CSS_SELECTOR, ".key.trained").get_attribute("data-share")  # the curve follows
        assert float(shown) == pytest.approx(above.any(1).sum() / r.any(1).sum())
        seen.add(tuple(counts(element)))
        slider.send_keys(Keys.ARROW_RIGHT)
    assert len(seen) > 3


def test_a_channel_shows_its_nearest_duplicates(browser, explorer, network, images):
    element = first_layer(explorer)
    correlation = measure(network, [images], ["1"])["1"].correlation.numpy()
    threshold(element).send_keys(Keys.HOME)
    seen = set()
    for channel in (0, 5, 23):
        choose_channel(browser, element, channel)
        assert chosen(element) == channel
        r = correlation[channel].copy()
        r[channel] = 0
        order = [other for other in np.argsort(-np.abs(r), kind="stable") if abs(r[other]) >= 0.5]
        shown = neighbours(element)
        assert list(shown) == (order[:12] or [np.abs(r).argmax()])
        for other, text in shown.items():
            assert float(text.replace("−", "-")) == pytest.approx(r[other], abs=6e-4)
        marked = {
            int(tile.find_element(By.CLASS_NAME, "number").text): tile.find_element(By.CLASS_NAME, "rank").text
            for tile in element.find_elements(By.CSS_SELECTOR, ".tile[data-state=duplicate]")
        }
        assert marked == {other: str(place + 1) for place, other in enumerate(order)}
        seen.add(tuple(shown))
    assert len(seen) == 3


def test_a_comparison_by_means_and_the_untrained_network(explorer, images):
    element = first_layer(explorer)
    for network, seed in (("trained", 0), ("untrained", 2)):
        choose(element, "network", ("trained", "untrained").index(network))
        for view in ("pixels", "means"):
            choose(element, "view", ("pixels", "means").index(view))
            r = np.abs(measure(of_seed(seed), [images], ["1"], view=view)["1"].correlation.numpy())
            np.fill_diagonal(r, 0)
            assert counts(element) == [(r >= 0.9).sum() // 2, (r >= 0.9).any(1).sum()]
            assert ("pixel" in element.find_element(By.CSS_SELECTOR, ".pair .text").text) == (view == "pixels")


def test_two_maps_are_drawn_against_each_other(explorer):
    element = first_layer(explorer)
    threshold(element).send_keys(Keys.HOME)
    items = element.find_elements(By.CSS_SELECTOR, ".neighbours li")
    assert len(items) > 1
    seen = set()
    for item in items[:2]:
        item.find_element(By.TAG_NAME, "input").send_keys(Keys.SPACE)
        pair = element.find_element(By.CLASS_NAME, "pair")
        assert f"Channel {item.get_attribute('data-channel')} against" in pair.text
        seen.add(pair.find_element(By.CSS_SELECTOR, "path.cloud").get_attribute("d"))
    assert len(seen) == 2


def test_a_channel_is_removed_and_comes_back(browser, explorer, made):
    element = explorer("channels")
    removal = made["channels"].data()["removal"]
    button = element.find_element(By.XPATH, ".//button[normalize-space() = 'Remove this channel']")

    def right():
        return int(element.find_element(By.CSS_SELECTOR, ".lost strong").get_attribute("data-right"))

    assert right() == removal["right"]
    button.send_keys(Keys.ENTER)
    for channel in (0, 7):
        choose_channel(browser, element, channel)
        assert right() == removal["without"][channel]
        assert element.find_element(By.CSS_SELECTOR, ".tile[data-removed] .number").text == str(channel)
    assert button.get_attribute("aria-pressed") == "true"
    button.send_keys(Keys.ENTER)
    assert right() == removal["right"] and not element.find_elements(By.CSS_SELECTOR, "[data-removed]")
    choose(element, "network", 1)
    assert not element.find_element(By.CLASS_NAME, "lost").is_displayed()  # what is not trained has nothing to lose


def test_the_grid_is_one_tab_stop_and_arrows_move_in_it(browser, explorer):
    element = explorer("channels")
    choose_channel(browser, element, 3)
    radio = browser.switch_to.active_element
    radio.send_keys(Keys.ARROW_RIGHT)
    assert chosen(element) == 4
    assert browser.switch_to.active_element.get_attribute("value") == "4"
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert chosen(element) == 2
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("type") != "radio"


def test_two_explorers_on_a_page_leave_each_other_alone(browser, explorer):
    first = explorer("channels")
    second = browser.find_elements(By.CSS_SELECTOR, ".explorer[data-explorer=channels]")[1]
    before, at = browser.execute_script(DRAWN, second), chosen(second)
    choose(first, "image", 2)
    choose_channel(browser, first, 0 if at else 1)
    threshold(first).send_keys(Keys.HOME)
    assert browser.execute_script(DRAWN, second) == before and chosen(second) == at
    assert threshold(second).get_attribute("value") == "90"
    radios = second.find_elements(By.CSS_SELECTOR, ".tile input:checked")
    assert len(radios) == 1


def weights_shown(element, kind):
    bars = element.find_elements(By.CSS_SELECTOR, f".bar.{kind}")
    return [float(bar.get_attribute("data-weight")) for bar in bars]


def test_every_reading_of_eam_is_drawn(browser, explorer, made):
    element = explorer("eam")
    static = {c.name: list(c.options.values()) for c in made["eam"].controls}
    for places in ({}, {"image": 1}, {"layer": 1}, {"select": 1}, {"n": 1}, {"p": 1}, {"pool": 1}, {"select": 3}):
        for name, place in places.items():
            choose(element, name, place)
        state = {name: values[int(control(element, name).get_attribute("value"))] for name, values in static.items()}
        data = made["eam"].data(**state)
        assert weights_shown(element, "trained") == pytest.approx(data["attention"], abs=6e-4)
        assert weights_shown(element, "imitated") == pytest.approx(data["imitated"], abs=6e-4)
        for name in "attention", "mean":
            shown = element.find_element(By.CSS_SELECTOR, f"[data-r2={name}]").text
            assert float(shown.replace("−", "-")) == pytest.approx(data["told"][f"{name}_r2"], abs=6e-3)
        tiles = element.find_elements(By.CSS_SELECTOR, ".tile:is([data-state=read], [data-state=read-even])")
        read = {int(tile.find_element(By.CLASS_NAME, "number").text) for tile in tiles}
        assert read == {channel for members in data["chosen"] for channel in members}
        assert len(element.find_elements(By.CSS_SELECTOR, ".pairs li")) == len(data["chosen"])
    assert not control(element, "n").is_enabled()


def test_pooling_changes_what_is_drawn(browser, explorer):
    element = explorer("eam")
    pictures = {browser.execute_script(DRAWN, element)}
    for name, place in (("p", 1), ("p", 2), ("pool", 1), ("n", 2), ("select", 2)):
        choose(element, name, place)
        pictures.add(browser.execute_script(DRAWN, element))
    assert len(pictures) == 6


COSTS = [
    {},
    {"C": 90, "O": 48, "k": 5, "g": 6, "K": 3, "g_t": 2, "H": 7, "W": 11},
    {"C": 4096, "O": 4096, "k": 15, "H": 1024, "W": 1024},
]


@pytest.mark.parametrize("sizes", COSTS)
def test_the_page_computes_what_python_does(explorer, sizes):
    element = explorer("cost")
    for name, value in sizes.items():
        enter(control(element, name), value)
    start = {c.name: c.start for c in explore.cost().controls}
    for row, found in zip(exact(element), rows(**start | sizes), strict=True):
        cells = row.find_elements(By.CSS_SELECTOR, "td[data-quantity]")
        shown = {cell.get_attribute("data-quantity"): float(cell.get_attribute("data-value")) for cell in cells}
        assert shown == found
        assert f"{found['parameters']:,}" in row.text and f"{found['macs']:,}" in row.text


def bars(element, quantity):
    found = element.find_elements(By.CSS_SELECTOR, f".logbar[data-quantity={quantity}]")
    return [bar.find_element(By.CSS_SELECTOR, ".track > span").size["width"] for bar in found]


def test_a_bar_is_as_long_as_the_logarithm_of_its_number(explorer):
    element = explorer("cost")
    for quantity in ("parameters", "macs", "bytes", "intensity"):
        found = [np.log10(row[quantity]) for row in rows(**{c.name: c.start for c in explore.cost().controls})]
        low, high = np.ceil(min(found)) - 1, np.ceil(max(found))
        [track, *_] = element.find_elements(By.CSS_SELECTOR, f".logbar[data-quantity={quantity}] .track")
        wanted = [(value - low) / (high - low) * (track.size["width"] - 2) for value in found]  # less its border
        assert bars(element, quantity) == pytest.approx(wanted, abs=1.5)


def test_a_slider_moves_the_number_and_the_bars(explorer):
    element = explorer("cost")
    slider, before = element.find_element(By.CSS_SELECTOR, "[data-slider=C]"), bars(element, "macs")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert control(element, "C").get_attribute("value") == "192" and bars(element, "macs") != before
    enter(control(element, "C"), 200)
    assert slider.get_attribute("aria-valuetext") == "200"
    slider.send_keys(Keys.ARROW_LEFT)
    assert control(element, "C").get_attribute("value") == "192"


def test_a_real_layer_sets_the_numbers_and_a_change_leaves_it(explorer):
    element = explorer("cost")
    preset = Select(element.find_element(By.CSS_SELECTOR, ".preset select"))
    assert preset.first_selected_option.text == "ResNet18, 3 × 3 of stage 2"
    for name, sizes in PRESETS.items():
        preset.select_by_visible_text(name)
        assert {size: int(control(element, size).get_attribute("value")) for size in sizes} == sizes
    enter(control(element, "H"), 57)
    assert preset.first_selected_option.text == "your own"


def test_the_page_says_what_the_library_counts(explorer):
    row, *_ = exact(explorer("cost"))
    counted = eamlib.cost(nn.Conv2d(128, 128, 3, padding=1, bias=False), (128, 28, 28))
    assert f"{counted.parameters:,}" in row.text and f"{counted.flops:,}" in row.text


def test_contradictions_get_a_message_and_no_number(explorer):
    element = explorer("cost")
    enter(control(element, "g"), 3)
    said = "standard, DyNet (Ding), DyNet (Zhang), EAM: g = 3 groups do not divide the 128 input channels."
    assert element.find_element(By.CSS_SELECTOR, "[role=status]").text == said
    first, separable, *_ = exact(element)
    assert "g = 3 groups do not divide the 128 input channels." in first.text
    assert not first.find_elements(By.CSS_SELECTOR, "[data-quantity]")
    assert separable.find_elements(By.CSS_SELECTOR, "[data-quantity]")
    field = control(element, "g")
    enter(field, 0)
    assert field.get_attribute("aria-invalid") == "true"
    assert "an integer from 1 to 4,096" in element.find_element(By.CLASS_NAME, "controls").text


def test_formulas_open_by_the_keyboard(explorer):
    *_, row = exact(explorer("cost"))
    button = row.find_element(By.TAG_NAME, "button")
    assert button.get_attribute("aria-expanded") == "false"
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    assert "K · k² · (C // g) · O + n · p² · h" in row.find_element(By.XPATH, "following-sibling::tr").text


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_live_form_draws_the_same(browser, explorer, made, tmp_path, name):
    static = [browser.execute_script(script, explorer(name)) for script in (DRAWN, "return arguments[0].innerText")]
    page = tmp_path / "frame.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{made[name].frame()}", encoding="utf-8")
    drain(browser)
    browser.get(page.as_uri())
    frame = browser.find_element(By.TAG_NAME, "iframe")
    browser.switch_to.frame(frame)
    element = browser.find_element(By.CLASS_NAME, "explorer")
    assert browser.execute_script(DRAWN, element) == static[0]
    assert element.find_element(By.CLASS_NAME, "note").text in static[1]
    if name == "channels":
        choose_channel(browser, element, 3)
        assert chosen(element) == 3
    inside = element.size["height"]
    browser.switch_to.default_content()
    assert 0 <= frame.size["height"] - inside <= 2  # no scrolling within
    assert drain(browser)[1:] == ([], [])


# ---- on the built pages


@pytest.fixture(scope="module")
def pages(html):
    """Of every explorer, the pages that show it."""
    texts = {page: (html / f"{page}.html").read_text(encoding="utf-8") for page in toc_pages()}
    return {name: [p for p, text in texts.items() if f'data-explorer="{name}"' in text] for name in EXPLORERS}


def built(browser, site, pages, name, width=LAPTOP):
    """Every explorer of that name in the book, one after the other, without a kernel and without a network."""
    assert pages[name], f"no page of the book shows explore.{name}"
    for page in pages[name]:
        show(browser, width)
        drain(browser)
        visit(browser, f"{site}/{page}.html")
        wait(browser, "return document.querySelector('.explorer .drawing')?.children.length")
        yield from browser.find_elements(By.CSS_SELECTOR, f".explorer[data-explorer={name}]")
        requested, failed, complaints = drain(browser)
        assert [url for url in requested if not url.startswith((site, "data:", "blob:"))] == []
        assert failed == [] and complaints == []


def centre(browser, element):
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)


@pytest.mark.parametrize("width", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_channels_in_the_book(browser, site, pages, width):
    for element in built(browser, site, pages, "channels", width):
        picture = browser.execute_script(DRAWN, element)
        choose(element, "image", 1)
        assert browser.execute_script(DRAWN, element) != picture
        choose(element, "layer", 1)
        slider = threshold(element)
        centre(browser, slider)
        slider.send_keys(Keys.HOME)
        many, marked = counts(element), element.find_elements(By.CSS_SELECTOR, ".tile[data-state=duplicate]")
        picture = browser.execute_script(DRAWN, element)
        slider.send_keys(Keys.END)
        few = counts(element)
        assert few[0] < many[0] and marked
        assert browser.execute_script(DRAWN, element) != picture
        slider.send_keys(Keys.HOME)
        seen = set()
        for channel in (0, 7):
            choose_channel(browser, element, channel)
            assert chosen(element) == channel
            seen.add(tuple(neighbours(element).items()))
        assert len(seen) == 2


@pytest.mark.parametrize("width", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_eam_in_the_book(browser, site, pages, width):
    for element in built(browser, site, pages, "eam", width):
        pictures = {browser.execute_script(DRAWN, element)}
        for name, place in (("image", 1), ("layer", 1), ("select", 1), ("n", 1), ("p", 1), ("pool", 1)):
            choose(element, name, place)
            pictures.add(browser.execute_script(DRAWN, element))
            assert sum(weights_shown(element, "trained")) == pytest.approx(1, abs=5e-3)
            assert sum(weights_shown(element, "imitated")) == pytest.approx(1, abs=5e-3)
        assert len(pictures) == 7 or len(pictures) == 6  # at p = 1 a constant map's maximum is its mean
        choose(element, "select", 3)
        assert not control(element, "n").is_enabled()


@pytest.mark.parametrize("width", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_cost_in_the_book(browser, site, pages, width):
    for element in built(browser, site, pages, "cost", width):
        field = control(element, "C")
        centre(browser, field)
        enter(field, 64)
        start = {c.name: c.start for c in explore.cost().controls}
        for row, found in zip(exact(element), rows(**start | {"C": 64}), strict=True):
            assert f"{found['macs']:,}" in row.text and f"{found['bytes']:,}" in row.text
        wanted = eamlib.cost(nn.Conv2d(64, 128, 3, padding=1, bias=False), (64, 28, 28))
        assert f"{wanted.flops:,}" in element.find_element(By.CSS_SELECTOR, "tr[data-row=standard]").text


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", EXPLORERS)
def test_the_books_theme_leaves_it_legible(browser, site, pages, name, theme):
    show(browser, LAPTOP, theme)
    for page in pages[name]:
        visit(browser, f"{site}/{page}.html")
        wait(browser, f"return document.documentElement.dataset.theme === '{theme}'")
        for element in browser.find_elements(By.CSS_SELECTOR, f".explorer[data-explorer={name}]"):
            assert browser.execute_script(FAINT_IN, element) == []


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_book_shows_the_static_form_alone(html, pages, name):
    for page in pages[name]:
        text = (html / f"{page}.html").read_text(encoding="utf-8")
        assert "widget-view" not in text and "widget-state" not in text

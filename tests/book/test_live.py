"""The network that runs in a page answers as PyTorch does, and each of its switches changes what it should."""

import re
import shutil

import chromium
import pytest
import torch
from chromium import LAPTOP, PHONE
from conftest import ROOT
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from eamlib.analysis.watch import outputs_of
from eamlib.book import live, weights
from eamlib.data import sample
from eamlib.layers import EAMAttention

pytestmark = chromium.NEEDED

EAM, DYNAMIC, STATIC, GARMENTS = live.NETWORKS
ANSWERS = """
    const [name, change] = arguments;
    return Array.from({ length: 200 }, (_, i) => run(networks[name], sets[setOf(name)].at(i), change).logits);
"""
SIDEWAYS = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def loaded(browser, tmp_path_factory):
    """A page with nothing but both forms of the network, opened from a file and touched, with all networks loaded."""
    folder = tmp_path_factory.mktemp("live")
    shutil.copytree(ROOT / "book" / "_static" / "live", folder / "live")
    for name, script in live.scripts().items():
        (folder / "live" / f"{name}.js").write_text(script, encoding="ascii")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Live</title>'
    head += '<link rel="stylesheet" href="live/live.css">'
    head += "".join(f'<script defer src="live/{name}.js"></script>' for name in ("network", "view", "live"))
    body = "".join(f'<div class="{kind}">A sentence.</div>' for kind in ("live", "live live-strip"))
    page = folder / "page.html"
    page.write_text(f'<!doctype html><html lang="en">{head}<main><h1>Live</h1>{body}</main>', encoding="utf-8")
    browser.get(page.as_uri())
    assert browser.execute_script("return Object.keys(scripts).length") == 0  # what is large waits for a touch
    for place in ".live", ".live-strip":
        touch(browser, f"{place} button")
        chromium.wait(browser, f"return document.querySelector('{place} .live-bars li')")
    for name in live.NETWORKS:
        browser.execute_async_script("loadNetwork(arguments[0]).then(arguments[1])", name)
    return browser


@pytest.fixture(params=[LAPTOP, PHONE], ids=["laptop", "phone"])
def page(request, loaded):
    """The page as it begins, at a width, with a depthwise layer of EAM opened."""
    chromium.show(loaded, request.param)
    take(loaded, EAM)
    press(loaded, "block 3, depthwise")
    return loaded


def said(page, selector):
    return page.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def touch(page, selector):
    page.execute_script("document.querySelector(arguments[0]).click()", selector)


def press(page, text, within=".live"):
    """Touch the button that is called so, or begins with it."""
    page.execute_script(
        """
        const buttons = [...document.querySelectorAll(`${arguments[1]} button`)];
        buttons.find(button => (button.ariaLabel ?? button.textContent).startsWith(arguments[0])).click();
        """,
        text,
        within,
    )


def enter(page, selector, value, event):
    """Set a field, as a reader does."""
    page.execute_script(
        """
        const field = document.querySelector(arguments[0]);
        field.value = arguments[1];
        field.dispatchEvent(new Event(arguments[2]));
        """,
        selector,
        value,
        event,
    )


def take(page, name):
    enter(page, ".live select", name, "change")
    chromium.wait(page, f"return document.querySelector('.live').dataset.network === '{name}'")


def turn(page, mode):
    touch(page, f".live-switches [value='{mode}']")


def weights_of(page):
    """The attention's weights that stand below the kernels, in per cent."""
    captions = page.find_elements(By.CSS_SELECTOR, ".live-kernels figure:not([hidden]) figcaption")
    return [float(caption.text.strip("\u00a0 %")) for caption in captions[:-1]]


def count(page, within=".live"):
    """Guess 100, count, and return how many are right, lost, gained and changed."""
    enter(page, f"{within} input[type=range]", 100, "input")
    press(page, "Count them", within)
    chromium.wait(page, f"return /right/.test(document.querySelector('{within} .live-tally').textContent)")
    right, of, *changes, guessed, off = map(int, re.findall(r"\d+", said(page, f"{within} .live-tally")))
    assert (of, guessed, off) == (200, 100, abs(right - 100))
    return [right, *changes]


@torch.no_grad()
def pytorch(name, model=None):
    return (model or live.network(name))(live.images_of(name)[: live.IMAGES])


def tallied(name, answers):
    """What the page has to say of other answers."""
    labels = sample(live.data_of(name)).labels[: live.IMAGES]
    before = pytorch(name).argmax(1)
    was, now = before == labels, answers == labels
    return [n.sum().item() for n in (now, was & ~now, now & ~was, answers != before)]


@pytest.mark.parametrize("name", live.NETWORKS)
def test_answers_as_pytorch_does(loaded, name):
    logits = torch.tensor(loaded.execute_script(ANSWERS, name, {}))
    torch.testing.assert_close(logits, pytorch(name), atol=1e-3, rtol=1e-3)
    assert logits.argmax(1).tolist() == loaded.execute_script("return networks[arguments[0]].answers", name)


@pytest.mark.parametrize("name", live.NETWORKS)
def test_eight_bits_cost_little(name):
    """What the page shows is the trained network, but for a few answers; a page loads in a moment."""
    labels, images = sample(live.data_of(name)).labels[:1000], live.images_of(name)[:1000]
    with torch.no_grad():
        answers = [model(images).argmax(1) for model in (weights.load(live.NETWORKS[name]), live.network(name))]
    accuracies = [(answer == labels).float().mean() for answer in answers]
    assert abs(accuracies[0] - accuracies[1]) < 0.02
    assert len(live.packed(name)) < 1.35e6


def test_other_channels_and_a_removed_channel_change_the_answer_as_in_pytorch(loaded):
    model = live.network(EAM)
    layer = model.features[3][0][0]
    layer.attention.select.indices.copy_(torch.tensor([0, 5, 9, 31]))
    layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].index_fill(1, torch.tensor([7]), 0),))
    change = {"reads": {"5": [0, 5, 9, 31]}, "removed": {"5": [7]}}
    found = torch.tensor(loaded.execute_script(ANSWERS, EAM, change))
    torch.testing.assert_close(found, pytorch(EAM, model), atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def attention():
    """What each attention of EAM answers to the 2,000 images, by the layer's name."""
    return outputs_of(live.network(EAM), live.images_of(EAM).split(500), EAMAttention)


REPLACEMENTS = {
    "mean": lambda own: own.mean(0).expand(live.IMAGES, 4),
    "another": lambda own: own[: live.IMAGES].roll(-67, 0),
    "uniform": lambda own: torch.full((live.IMAGES, 4), 0.25),
    "kernel 3": lambda own: torch.eye(4)[2].expand(live.IMAGES, 4),
}


@pytest.mark.parametrize("mode", REPLACEMENTS)
def test_a_switch_is_tallied_as_in_pytorch(loaded, attention, mode):
    model = live.network(EAM)
    for name, own in attention.items():
        new = REPLACEMENTS[mode](own)
        model.get_submodule(name).register_forward_hook(lambda *_, new=new: new)
    take(loaded, EAM)
    turn(loaded, mode)
    assert count(loaded) == tallied(EAM, pytorch(EAM, model).argmax(1))


def test_attention_matters_on_photographs_and_hardly_on_garments(loaded):
    lost = {}
    for name in EAM, GARMENTS:
        take(loaded, name)
        turn(loaded, "mean")
        right, *_ = count(loaded)
        lost[name] = tallied(name, pytorch(name).argmax(1))[0] - right
    assert lost[EAM] > 10
    assert lost[GARMENTS] < 5


def test_the_short_form_has_one_switch(loaded):
    assert len(loaded.find_elements(By.CSS_SELECTOR, ".live-strip input")) == 2  # a switch, and the guess
    touch(loaded, ".live-strip [type=checkbox]")
    take(loaded, EAM)
    turn(loaded, "another")
    assert count(loaded, ".live-strip") == count(loaded)


MIXTURES = {"uniform": [25.0] * 4} | {f"kernel {k + 1}": [100.0 * (i == k) for i in range(4)] for k in range(4)}


@pytest.mark.parametrize(("mode", "mixture"), MIXTURES.items())
def test_a_switch_sets_the_mixture(page, mode, mixture):
    before = weights_of(page)
    turn(page, mode)
    assert weights_of(page) == mixture
    press(page, "Undo all")
    assert weights_of(page) == before != mixture


@pytest.mark.parametrize("mode", ["mean", "another", "others"])
def test_a_switch_changes_mixture_and_answer(page, mode):
    before, bars = weights_of(page), said(page, ".live-bars")
    turn(page, mode)
    assert sum(weights_of(page)) == pytest.approx(100, abs=0.3)
    assert weights_of(page) != before
    assert said(page, ".live-bars") != bars
    press(page, "Next image")
    after = weights_of(page)
    press(page, "Previous image")
    assert (weights_of(page) == after) == (mode == "mean")


def test_what_a_network_cannot_do_is_off(page):
    off = "return [...document.querySelectorAll('.live-switches :disabled')].map(input => input.value)"
    for name, number in {EAM: 0, DYNAMIC: 1, STATIC: 9, GARMENTS: 0}.items():
        take(page, name)
        assert len(page.execute_script(off)) == number
        frames = page.find_elements(By.CSS_SELECTOR, ".live-marker:not([hidden])")
        assert len(frames) == (5 if number == 0 else 1)


def test_frames_move_by_keyboard_and_by_pointer(page):
    frame, own = page.find_element(By.CSS_SELECTOR, ".live-marker"), weights_of(page)
    before = frame.get_attribute("aria-label")
    frame.send_keys(Keys.ARROW_DOWN)
    assert frame.get_attribute("aria-label") != before
    assert weights_of(page) != own
    press(page, "Undo all")
    below = int(page.execute_script("return arguments[0].getBoundingClientRect().height", frame))
    ActionChains(page).drag_and_drop_by_offset(frame, 0, below).perform()
    assert frame.get_attribute("aria-label") != before
    assert "frames moved in 1 layer" in said(page, ".live label > span")


def test_a_channel_goes_and_comes_back(page):
    before, pin = said(page, ".live-bars"), page.find_element(By.CSS_SELECTOR, ".live-pin")
    channel = int(re.search(r"\d+", pin.get_attribute("aria-label"))[0])
    pin.send_keys(Keys.ARROW_RIGHT)
    press(page, f"Remove channel {channel + 1}")
    assert len(page.find_elements(By.CSS_SELECTOR, ".live-gone")) == 1
    assert said(page, ".live-bars") != before
    assert "1 channel removed" in said(page, ".live label > span")
    press(page, f"Put back channel {channel + 1}")
    assert said(page, ".live-bars") == before


def test_the_picture_can_be_changed(page):
    shown = "return document.querySelector('.live-picture canvas').toDataURL()"
    first = page.execute_script(shown)
    for name in "Mirror", "Shift up", "Brush", "Next image":
        before = page.execute_script(shown)
        press(page, name)
        assert page.execute_script(shown) != before
    press(page, "Previous image")
    assert page.execute_script(shown) == first
    ActionChains(page).click(page.find_element(By.CSS_SELECTOR, ".live-picture canvas")).perform()
    assert page.execute_script(shown) != first
    press(page, "The image as it was")
    assert page.execute_script(shown) == first


def test_a_guess_comes_first_and_is_of_what_is_counted(page):
    check = page.find_element(By.XPATH, "//button[. = 'Count them']")
    assert not check.is_enabled()  # nothing has been changed
    turn(page, "uniform")
    assert not check.is_enabled()  # nothing has been guessed
    enter(page, ".live input[type=range]", 30, "input")
    assert check.is_enabled()
    check.click()
    turn(page, "mean")  # what was being counted is of no use any more
    assert not check.is_enabled()
    assert said(page, ".live-tally") == ""


def test_it_fits_and_has_no_faults(page):
    press(page, "Remove channel")
    assert not page.execute_script(SIDEWAYS)
    assert chromium.violations(page, ".live") == []


@pytest.mark.parametrize("width", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_book_has_it_by_day_and_by_night(browser, site, width):
    chromium.show(browser, width)
    chromium.visit(browser, f"{site}/book/live_network.html")
    touch(browser, ".live button")
    chromium.wait(browser, "return document.querySelector('.live-bars li')")
    assert not browser.execute_script(SIDEWAYS)
    for theme in "light", "dark":
        chromium.show(browser, width, theme)
        chromium.wait(browser, f"return document.documentElement.dataset.theme === '{theme}'")
        assert chromium.violations(browser, ".live", chromium.OF_COLOURS) == []

"""The network that runs in a page answers as PyTorch does, and each of its switches changes what it should."""

import shutil

import chromium
import pytest
import torch
from conftest import ROOT

from eamlib.book import live, weights
from eamlib.data import sample
from eamlib.training import normalize

pytestmark = [chromium.NEEDED, pytest.mark.usefixtures("page")]

ANSWERS = """
    const [conv, change] = arguments, images = loaded.images.pixels;
    const pixels = i => images.subarray(3072 * i, 3072 * (i + 1));
    return Array.from({ length: 200 }, (_, i) => run(loaded[conv], pixels(i), change).logits);
"""


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """A page with nothing but the network, opened from a file and touched."""
    folder = tmp_path_factory.mktemp("live")
    shutil.copytree(ROOT / "book" / "_static" / "live", folder / "live")
    for conv in live.NETWORKS:
        (folder / "live" / f"{conv}.js").write_text(live.packed(conv), encoding="ascii")
    (folder / "live" / "images.js").write_text(live.packed_images(), encoding="ascii")
    scripts = "".join(f'<script defer src="live/{name}.js"></script>' for name in ("network", "live"))
    html = f'<!doctype html><meta charset="utf-8">{scripts}<div class="live"><button>Run</button></div>'
    (folder / "page.html").write_text(html, encoding="utf-8")
    browser.get((folder / "page.html").as_uri())
    browser.execute_script("document.querySelector('.live button').click()")
    chromium.wait(browser, "return document.querySelectorAll('.live-layer').length === 27")
    for conv in live.NETWORKS[1:]:
        browser.execute_async_script("load(arguments[0]).then(arguments[1])", conv)
    return browser


def said(page, selector):
    return page.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def press(page, text):
    """Touch the button that begins with a text."""
    buttons = "return [...document.querySelectorAll('.live button')].find(b => b.textContent.startsWith(arguments[0]))"
    page.execute_script("arguments[0].click()", page.execute_script(buttons, text))


@pytest.mark.parametrize("conv", live.NETWORKS)
def test_answers_as_pytorch_does(page, conv):
    images = normalize(sample("cifar100").images[: live.IMAGES], *weights.PIXEL_STATISTICS["cifar100"])
    with torch.no_grad():
        right = live.network(conv)(images)
    torch.testing.assert_close(torch.tensor(page.execute_script(ANSWERS, conv, {})), right, atol=1e-3, rtol=1e-3)


def test_eight_bits_cost_little():
    """Of the first thousand images: what the page shows is the trained network, but for a few answers."""
    shown = sample("cifar100")
    images = normalize(shown.images[:1000], *weights.PIXEL_STATISTICS["cifar100"])
    with torch.no_grad():
        whole, rounded = weights.load(live.RUN.format("eam-rcr"))(images), live.network("eam-rcr")(images)
    accuracies = [(answer.argmax(1) == shown.labels[:1000]).float().mean() for answer in (whole, rounded)]
    assert abs(accuracies[0] - accuracies[1]) < 0.02


def test_other_channels_and_a_removed_channel_change_the_answer_as_in_pytorch(page):
    model = live.network("eam-rcr")
    layer = model.features[3][0][0]
    layer.attention.select.indices.copy_(torch.tensor([0, 5, 9, 31]))
    layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].index_fill(1, torch.tensor([7]), 0),))
    images = normalize(sample("cifar100").images[: live.IMAGES], *weights.PIXEL_STATISTICS["cifar100"])
    with torch.no_grad():
        right = model(images)
    change = {"reads": {"5": [0, 5, 9, 31]}, "removed": {"5": [7]}}
    torch.testing.assert_close(
        torch.tensor(page.execute_script(ANSWERS, "eam-rcr", change)), right, atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize(
    ("mode", "mixture"), [("uniform", [25.0] * 4), ("kernel 3", [0, 0, 100, 0]), ("mean", None), ("another", None)]
)
def test_a_switch_changes_the_mixture(page, mode, mixture):
    before = said(page, ".live-kernels")
    page.execute_script("document.querySelector(`.live-modes input[value='${arguments[0]}']`).click()", mode)
    parts = page.execute_script(
        "return [...document.querySelectorAll('.live-kernels figcaption')].map(c => c.textContent)"
    )
    assert said(page, ".live-kernels") != before
    if mixture:
        assert [float(part.strip(" %")) for part in parts[:4]] == mixture
    press(page, "Undo all")
    assert said(page, ".live-kernels") == before


def test_a_frame_moves_by_the_keyboard_and_a_channel_goes(page):
    key = """
        const frame = document.querySelector(".live-frame");
        frame.dispatchEvent(new KeyboardEvent("keydown", { key: arguments[0], bubbles: true }));
        return document.querySelector(".live-frame").getAttribute("aria-label");
    """
    labels = {page.execute_script(key, name) for name in ("ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft")}
    assert len(labels) > 1
    press(page, "Remove channel")
    assert page.execute_script("return document.querySelectorAll('.live-gone').length") == 1
    press(page, "Undo all")
    assert page.execute_script("return document.querySelectorAll('.live-gone').length") == 0


def test_the_tally_is_that_of_pytorch(page):
    shown = sample("cifar100")
    images = normalize(shown.images[: live.IMAGES], *weights.PIXEL_STATISTICS["cifar100"])
    with torch.no_grad():
        right = (live.network("eam-rcr")(images).argmax(1) == shown.labels[: live.IMAGES]).sum().item()
    press(page, "Count all 200")
    chromium.wait(page, "return /right;/.test(document.querySelector('.live-tally').textContent)")
    assert said(page, ".live-tally").startswith(
        f"{right} of 200 right; with its own attention and all channels {right}. 0 answers"
    )

"""The explorers: what they show is what the library says, in both forms, and a static form stays small."""

import base64
import html
import itertools
import json
import re
import subprocess
import sys

import ipywidgets
import numpy as np
import pytest
import torch
from torch import nn

import eamlib
from eamlib import data
from eamlib.analysis.watch import outputs_of
from eamlib.book import explore, weights
from eamlib.book.explore.controls import Choice, Number
from eamlib.book.explore.duplicates import in_ten_thousandths
from eamlib.book.explore.explorer import LIMIT, Explorer
from eamlib.book.explore.formulas import CONSTANTS, PRESETS, ROWS, rows
from eamlib.book.explore.maps import Watched
from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention
from eamlib.redundancy import Reading, measure, premise, without
from eamlib.training import normalize


class Tiny(nn.Sequential):
    """Two dynamic convolutions of 8 channels, with a channel that is dead."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            DynamicConv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            DynamicConv2d(8, 2, 1),
        )
        nn.init.zeros_(self[0].weight[3:4].detach())
        nn.init.constant_(self[0].bias[3:4].detach(), -1)


@pytest.fixture(scope="module")
def images():
    return torch.randn(12, 3, 10, 12, generator=torch.Generator().manual_seed(0))


class Classifier(Tiny):
    """It answers a class, the larger of the two last maps."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])


LABELS = torch.tensor([0, 1] * 6)


def some_channels(images):
    layers = {"first": "1", "second": "3"}
    return explore.channels(
        Classifier(), images, layers, untrained=Classifier(1), labels=LABELS, shown=(0, 2), names=["<b>"] * 12
    )


@pytest.fixture(scope="module")
def channels(images):
    return some_channels(images)


@pytest.fixture(scope="module")
def eam(images):
    return explore.eam(Tiny(), images, ["2"], shown=(0, 5))


@pytest.fixture(scope="module")
def pages(channels, eam):
    """The static form of each, which takes seconds to make."""
    return {explorer.name: explorer.html() for explorer in (channels, eam, explore.cost())}


def content(fragment):
    """The JSON data that a fragment carries."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', fragment)[1])


def of_frame(frame):
    return content(html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]))


def looked_up(static, part, state):
    """What the static form has stored of a part, found as its script finds it."""
    place = 0
    for name in static["parts"][part]["reads"]:
        (values,) = (control["values"] for control in static["controls"] if control["name"] == name)
        place = place * len(values) + values.index(state[name])
    return static["store"][static["parts"][part]["index"][place]]


def planes(packed, dtype=np.uint8):
    return np.frombuffer(base64.b64decode(packed["bytes"]), dtype).reshape(packed["size"])


@pytest.mark.parametrize("name", ["channels", "eam"])
def test_both_forms_show_the_same_in_every_state(name, request, pages):
    explorer = request.getfixturevalue(name)
    static = content(pages[name])
    names = [control["name"] for control in static["controls"]]
    states = list(itertools.product(*(control["values"] for control in static["controls"])))
    for state in states[:: max(1, len(states) // 40)]:
        state = dict(zip(names, state, strict=True))
        live = of_frame(explorer.frame(**state))
        assert live["state"] == state
        for control in static["controls"]:
            assert live["texts"][control["name"]] == control["texts"][control["values"].index(state[control["name"]])]
        assert live["data"].keys() == static["parts"].keys()
        assert live["data"] == {part: looked_up(static, part, state) for part in static["parts"]}


def test_the_first_state_is_where_the_controls_stand(eam, pages):
    static = content(pages["eam"])
    first = {control["name"]: control["values"][0] for control in static["controls"]}
    assert first == {"image": 0, "layer": "2", "select": "rcr", "n": 4, "p": 5, "pool": "avg"}
    assert eam.data() == {part: looked_up(static, part, first) for part in static["parts"]}


@pytest.mark.parametrize("name", ["channels", "eam"])
def test_a_rebuilt_fragment_is_the_same(name, pages, images):
    again = {
        "channels": lambda: some_channels(images),
        "eam": lambda: explore.eam(Tiny(), images, ["2"], shown=(0, 5)),
    }
    assert again[name]().html() == pages[name]


def test_a_fragment_holds_all_it_needs_and_no_more(pages):
    for name, page in pages.items():
        assert page.startswith(f'<div class="explorer" data-explorer="{name}"')
        assert page.count("<script") == page.count("</script>") == 2
        page = page.replace('"http://www.w3.org/2000/svg"', "")  # a name, which nothing asks for
        assert not re.search(r"""\s(src|href|id|on\w+)=["']|https?://|@import|url\(""", page)
        assert "<b>" not in page  # of the names of images: only the script makes text of them


def test_sizes_with_the_trained_networks():
    garments = data.sample()
    x = normalize(garments.images, *weights.PIXEL_STATISTICS["fashion_mnist"])
    layers = [f"features.{block}.1.2" for block in (1, 2, 4, 8)]
    static = weights.load("fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0")
    dynamic = weights.load("fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0")
    fresh = eamlib.create_model("mobilenet_v1", num_classes=10, width_mult=0.25, stem_stride=1)
    # How many images are measured does not change the size, and few take a tenth of the time.
    explorer = explore.channels(static, x[:60], layers, untrained=fresh)
    assert len(explorer.html()) > LIMIT / 2
    assert list(explorer.controls[1].options)[:2] == ["block 1, pointwise", "block 2, pointwise"]
    assert [row["layer"] for row in explorer.data()["curve"]] == [f"block {b}, pointwise" for b in range(1, 14)]
    explore.eam(dynamic, x[:20], ["features.3.0.0", "features.13.0.0"]).html()  # either raises where it is too large
    assert len(explore.cost().html().encode()) < LIMIT / 8


def test_too_much_for_a_page_is_said_and_still_lives(images):
    explorer = explore.channels(nn.Sequential(nn.Conv2d(3, 1000, 1), nn.ReLU()), images, ["1"])
    with pytest.raises(ValueError, match="would have .* kB, most of it statistics; allowed is less than 500 kB"):
        explorer.html()
    bundle = explorer._repr_mimebundle_()
    assert "allowed is less than 500 kB" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


@pytest.mark.parametrize("network", ["trained", "untrained"])
@pytest.mark.parametrize("view", ["pixels", "means"])
def test_correlations_are_those_of_measure(channels, images, view, network):
    model = Classifier(network == "untrained")
    found = measure(model, [images], ["1"], view=view)["1"]
    statistics = channels.data(layer="1", view=view, network=network)["statistics"]
    r = np.frombuffer(base64.b64decode(statistics["r"]), np.int16) / 10_000
    expected = found.correlation.numpy()[np.triu_indices(8, 1)]
    assert np.abs(r - expected).max() <= 1e-4 and (np.abs(r) <= np.abs(expected)).all()
    assert statistics["dead"] == found.dead.nonzero().flatten().tolist() and 3 in statistics["dead"]
    assert statistics["images"] == 12


def test_the_curve_has_every_live_channels_nearest(channels, images):
    first, second = channels.data(view="means")["curve"]
    assert [first["layer"], second["layer"]] == ["first", "second"]
    for network, packed in second["nearest"].items():
        r = measure(Classifier(network == "untrained"), [images], ["3"], view="means")["3"].correlation.abs().numpy()
        live = r.any(1)
        np.fill_diagonal(r, 0)
        near = np.frombuffer(base64.b64decode(packed), np.int16) / 10_000
        assert near == pytest.approx(r.max(1)[live], abs=1e-4)


class Repeating(nn.Module):
    def forward(self, maps):
        return torch.cat([maps, 2 * maps], 1)


@pytest.mark.parametrize(("repeating", "opened"), [(0, None), (1, "5"), (2, "8")])
def test_it_opens_where_channels_repeat_each_other_and_not_at_the_first_layer(repeating, opened):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    for number in range(3):
        widened = (nn.Conv2d(8, 8, 3), Repeating()) if number == repeating else (nn.Conv2d(8, 16, 3), nn.Identity())
        model.extend([*widened, nn.Conv2d(16, 8, 1)])
    explorer = explore.channels(model, torch.randn(6, 3, 16, 16), ["2", "5", "8"])
    near = np.frombuffer(base64.b64decode(explorer.data()["curve"][repeating]["nearest"]["trained"]), np.int16)
    assert near.min() >= 9_999
    [layer] = (control for control in explorer.controls if control.name == "layer")
    assert layer.start == opened or (opened is None and layer.start != "2")


def test_a_layers_means_are_dots(channels, images):
    dots = planes(channels.data(layer="1", network="trained")["dots"])[:, 0]
    model = Classifier()
    means = outputs_of(model, [images], {"1": model[1]})["1"].mean((2, 3)).numpy().T
    low, high = means.min(1, keepdims=True), means.max(1, keepdims=True)
    expected = np.round((means - low) / np.where(high > low, high - low, 1) * 255)
    assert np.abs(dots - expected).max() <= 1


def test_a_removed_channel_costs_what_the_network_says(channels, images):
    model = Classifier()
    found = channels.data(layer="3")["removal"]
    statistics = measure(model, [images], ["3"])

    @torch.no_grad()
    def right(**removed):
        with without(model, removed, statistics):
            return int((model(images).argmax(1) == LABELS).sum())

    assert found["images"] == 12 and found["right"] == right()
    assert found["without"] == [right(**{"3": [channel]}) for channel in range(8)]
    assert "removal" not in explore.channels(Tiny(), images, ["1"]).data()


def test_rounded_correlations_count_as_the_exact_ones():
    for hundredths in range(50, 101):
        t = hundredths / 100
        near = torch.tensor([np.nextafter(t, 0), t, np.nextafter(t, 2), 0.0, 1.0], dtype=torch.float64).clamp(max=1)
        rounded = in_ten_thousandths(near * torch.tensor([1, -1, 1, -1, 1]))
        assert (rounded.abs() >= 100 * hundredths).tolist() == (near >= t).tolist()


def test_maps_are_drawn_in_their_own_range(channels, images):
    drawn = planes(channels.data(image=2, layer="1")["drawn"])
    model = Classifier()
    maps = outputs_of(model, [images[2:3]], {"1": model[1]})["1"][0].numpy()
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    expected = np.round((maps - low) / np.where(high > low, high - low, 1) * 255)
    assert np.abs(drawn - expected).max() <= 1 and not drawn[3].any()


@pytest.mark.parametrize("layer", ["0", "1", "2", "3"])
def test_maps_are_drawn_as_the_layer_answered_whatever_is_done_to_them_later(layer, images):
    in_place = Tiny()
    in_place[1], in_place[3] = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
    for explorer in (explore.channels, explore.eam) if layer == "2" else (explore.channels,):
        expected, found = (explorer(model, images, [layer]).data(image=4, layer=layer) for model in (Tiny(), in_place))
        assert found == expected


@pytest.mark.parametrize("side", ["input", "output"])
@torch.no_grad()
def test_either_side_of_a_layer_that_works_in_place_is_drawn(side, images):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True))
    watched = Watched(model, images, ["1"], [0], None, side)
    convolved = model[0](images[1:2])
    torch.testing.assert_close(watched.maps(1, "1"), convolved if side == "input" else convolved.relu())


def test_large_maps_are_drawn_smaller():
    explorer = explore.channels(nn.Sequential(nn.ReLU()), torch.randn(2, 3, 48, 96), ["0"])
    assert planes(explorer.data()["drawn"]).shape == (3, 16, 32)
    assert explorer.data()["drawn"]["full"] == [3, 48, 96]


def test_a_reading_is_what_the_attention_of_eam_reads(eam, images):
    model = Tiny()
    maps = outputs_of(model, [images], {"2": model[2]}, keep=lambda name, inputs, output: inputs[0])["2"]
    for select, n, p, pool in (("rcr", 2, 3, "avg"), ("cgr-max", 4, 1, "max"), ("slice1", 4, 5, "avg")):
        shown = eam.data(image=5, select=select, n=n, p=p, pool=pool)
        attention = EAMAttention(8, select=select, channels=n, pool=pool, output_size=p, seed=0)
        picked = attention.select(maps[5:6])[0]
        low, high = picked.amin((1, 2)), picked.amax((1, 2))
        read = attention.descriptor(maps[5:6]).view(-1, p * p)
        expected = ((read - low[:, None]) / (high - low).where(high > low, 1.0)[:, None] * 255).view(-1, p, p)
        assert np.abs(planes(shown["pooled"]) - expected.detach().numpy()).max() <= 1
        assert [len(shown["chosen"]), *planes(shown["picked"]).shape[1:]] == [len(picked), 10, 12]
        if select != "cgr-max":
            assert torch.equal(maps[5, [channel for (channel,) in shown["chosen"]]], picked)
        else:
            assert torch.equal(torch.stack([maps[5, group].amax(0) for group in shown["chosen"]]), picked)


def test_attentions_are_the_networks_and_the_premises(eam, images):
    model = Tiny()
    maps = outputs_of(model, [images], {"2": model[2]}, keep=lambda name, inputs, output: inputs[0])["2"]
    own = model[2].attention(maps).detach()
    shown = eam.data(image=5, select="cgr", n=2, p=1, pool="max")
    (expected,) = premise(model, [images], [Reading("cgr", 2, "max", 1)], ["2"])
    assert shown["attention"] == pytest.approx(own[5].tolist(), abs=1e-4)
    assert shown["average"]["mean"] == pytest.approx(own.mean(0).tolist(), abs=1e-4)
    assert shown["average"]["largest"] == pytest.approx((own - own.mean(0)).abs().max().item(), rel=0.06)
    assert shown["average"]["spread"] == pytest.approx((own - own.mean(0)).square().mean().sqrt().item(), rel=0.06)
    assert shown["imitated"] == pytest.approx(expected.imitated_attention(maps[5:6])[0].tolist(), abs=1e-4)
    assert shown["told"] == {
        "features": 2,
        "images": 12,
        "attention_r2": pytest.approx(expected.attention_r2, abs=1e-3),
        "mean_r2": pytest.approx(expected.mean_r2, abs=1e-3),
    }


def test_readings_that_are_not_there_say_why(eam):
    assert "n = 9 is more than the 8 channels" in eam.data(n=9)["told"]["message"]
    large = eam.data(n=8, p=7)
    assert "8 maps of 7 × 7 are 392 numbers" in large["told"]["message"]
    assert large["imitated"] is large["pooled"] is None and large["picked"] is not None


def controls_of(explorer):
    *_, controls, frame = explorer.widget().children
    return {control.description: control for control in controls.children}, frame


def test_a_widget_changes_the_frame(channels):
    controls, frame = controls_of(channels)
    assert of_frame(frame.value)["data"] == channels.data()
    controls["Layer"].value = "3"
    controls["Image"].value = 11  # which the static form does not offer
    assert of_frame(frame.value)["data"] == channels.data(image=11, layer="3")
    assert 'title="Channels that repeat each other"' in frame.value


def test_a_widget_means_nothing_where_it_is_disabled(eam, pages):
    controls, frame = controls_of(eam)
    assert not controls["n"].disabled
    controls["Selection"].value = "stride"
    assert controls["n"].disabled
    before = frame.value
    controls["n"].value = 2
    assert of_frame(frame.value)["data"] == of_frame(before)["data"]
    assert [control["only"] for control in content(pages["eam"])["controls"] if control["name"] == "n"] == [
        ["select", ["rcr", "cgr", "cgr-max"]]
    ]


def test_the_live_form_has_more(eam, channels):
    controls, _ = controls_of(eam)
    assert [value for _, value in controls["Layer"].options] == ["2", "4"]
    assert len(controls["Image"].options) == 12 and len(controls["n"].options) == 16
    assert [value for _, value in controls_of(channels)[0]["Layer"].options] == ["1", "3"]


def test_the_live_cost_is_computed_in_python():
    controls, frame = controls_of(explore.cost())
    assert isinstance(controls["g, groups"], ipywidgets.IntSlider)
    controls["g, groups"].value = 128
    assert of_frame(frame.value)["data"]["rows"][0]["parameters"] == 9 * 128
    controls["g, groups"].value = 3
    messages = [row.get("message") for row in of_frame(frame.value)["data"]["rows"]]
    assert messages[0] == "g = 3 groups do not divide the 128 input channels." and messages[1] is None


def test_presets_set_the_live_controls_and_follow_them():
    presets, controls, frame = explore.cost().widget().children
    presets.value = "MobileNetV1, last pointwise"
    assert of_frame(frame.value)["state"]["C"] == 1024 and of_frame(frame.value)["state"]["k"] == 1
    [rows_slider] = (control for control in controls.children if control.description == "H, rows")
    rows_slider.value = 8
    assert presets.value == ""
    rows_slider.value = 7
    assert presets.value == "MobileNetV1, last pointwise"


def test_a_control_with_one_option_is_none(images):
    controls, _ = explore.channels(Tiny(), images, ["1"]).widget().children
    assert [control.description for control in controls.children] == ["Image", "Layer", "Compared by"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_layer_of_its_network(preset):
    """By its sizes, with the output's height and width."""
    name, layer = preset.split(", ")
    wanted = PRESETS[preset]
    names = {"ResNet18": "resnet18", "ResNet50": "resnet50", "MobileNetV1": "mobilenet_v1"}
    if name in names:
        model = eamlib.create_model(names[name])
    else:
        model = pytest.importorskip("torchvision").models.convnext_tiny()
    seen = []

    def note(name, inputs, output):
        module = model.get_submodule(name)
        seen.append((module.in_channels, module.out_channels, module.kernel_size[0], module.groups, *output.shape[2:]))
        return torch.zeros(1)

    outputs_of(model, [torch.zeros(1, 3, 224, 224)], nn.Conv2d, note)
    assert tuple(wanted[size] for size in ("C", "O", "k", "g", "H", "W")) in seen
    assert ("depthwise" in layer) == (wanted["g"] > 1) and ("pointwise" in layer) == (wanted["k"] == 1)


@pytest.mark.parametrize("control", explore.cost().controls, ids=lambda control: control.name)
def test_sliders_stop_at_sizes_that_are_allowed(control):
    assert list(control.stops) == sorted(set(control.stops)) and control.start in control.stops
    assert [control.check(stop) for stop in control.stops] == list(control.stops)
    assert {values[control.name] for values in PRESETS.values() if control.name in values} <= set(control.stops)


def test_a_notebook_gets_both_forms(channels, pages):
    bundle = channels._repr_mimebundle_()
    assert bundle["text/html"] == pages["channels"]
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert bundle["text/plain"] == "<Explorer channels: Channels that repeat each other>"


SIZES = [
    {"C": 12, "O": 24, "k": 3, "g": 2, "K": 4, "g_t": 6, "H": 10, "W": 14},
    {"C": 16, "O": 16, "k": 1, "g": 1, "K": 3, "g_t": 2, "H": 7, "W": 5},
    {"C": 32, "O": 32, "k": 5, "g": 32, "K": 2, "g_t": 1, "H": 8, "W": 8},
    {"C": 5, "O": 7, "k": 3, "g": 1, "K": 1, "g_t": 6, "H": 9, "W": 3},
]


@pytest.mark.parametrize("sizes", SIZES)
def test_formulas_are_the_cost_of_the_real_layers(sizes):
    c, o, k, g, kernels, g_t, height, width = sizes.values()
    geometry = {"kernel_size": k, "padding": k // 2, "groups": g}
    eam = EAMAttention(c, kernels, channels=CONSTANTS["n"], output_size=CONSTANTS["p"], hidden=CONSTANTS["h"])
    layers = [
        nn.Conv2d(c, o, bias=False, **geometry),
        nn.Sequential(nn.Conv2d(c, c, k, padding=k // 2, groups=c, bias=False), nn.Conv2d(c, o, 1, bias=False)),
        DynamicConv2d(c, o, num_kernels=kernels, **geometry),
        DyNetConv2d(c, o, group_size=g_t, **geometry),
        DynamicConv2d(c, o, num_kernels=kernels, attention=eam, **geometry),
    ]
    for row, found, layer in zip(ROWS, rows(**sizes), layers, strict=True):
        counted = eamlib.cost(layer, (c, height, width))
        assert (found["parameters"], found["macs"]) == (counted.parameters, counted.flops), row["name"]
        steps = layer if isinstance(layer, nn.Sequential) else [layer]
        maps = sum((step.in_channels + step.out_channels) * height * width for step in steps)
        assert found["bytes"] == 4 * (counted.parameters + maps)
        assert found["intensity"] == counted.flops / found["bytes"]


def test_sizes_that_contradict_each_other_get_a_message():
    sizes = SIZES[0] | {"C": 3, "g": 2}
    assert [row.get("message") for row in rows(**sizes)] == [
        "g = 2 groups do not divide the 3 input channels.",
        None,
        *["g = 2 groups do not divide the 3 input channels."] * 3,
    ]
    assert rows(**sizes | {"g": 1})[4] == {"message": "EAM reads 4 channels, and the input has 3."}
    assert all("k = 4 is even" in row["message"] for row in rows(**sizes | {"k": 4}))


def bad(call, message, **changes):
    return pytest.param(call, changes, message, id=message[:30])


@pytest.mark.parametrize(
    ("call", "changes", "message"),
    [
        bad("channels", "images is a list", images=[]),
        bad("channels", r"images has shape \[3, 8, 8\]; allowed", images=torch.zeros(3, 8, 8)),
        bad("channels", r"images has shape \[0, 3, 8, 8\]; allowed", images=torch.zeros(0, 3, 8, 8)),
        bad("channels", "layers = 'one' is unknown", layers=["one"]),
        bad("channels", "layers is empty", layers=[]),
        bad("channels", "layers = '1' is one name", layers="1"),
        bad("channels", r"the output of '5' is of shape \[1, 240\]", layers=["5"]),
        bad("channels", "shown = 12 must be an integer from 0 to 11", shown=[12]),
        bad("channels", "shown is empty", shown=[]),
        bad("channels", "names has 1 texts for 12 images", names=["a"]),
        bad("channels", r"labels has shape \[3\]; allowed is \[12\]", labels=torch.zeros(3)),
        bad("channels", "untrained has other layers than model", untrained=nn.Sequential(*map(nn.ReLU, range(3)))),
        bad("eam", "layers: '1' is a ReLU; allowed is a DynamicConv2d", layers=["1"]),
        bad("eam", "images holds 7; at least 8 are needed", images=torch.zeros(7, 3, 8, 8)),
    ],
)
def test_bad_input_is_named(call, changes, message, images):
    model = Tiny().append(nn.Flatten())
    given = {"images": images, "layers": ["2"]} | changes
    with pytest.raises(ValueError, match=message):
        getattr(explore, call)(model, **given)


def test_a_state_that_is_not_offered(channels):
    with pytest.raises(ValueError, match="control = 'n' is unknown"):
        channels.data(n=1)
    with pytest.raises(ValueError, match="layer = '2' is not offered. Allowed: '1', '3'"):
        channels.data(layer="2")
    with pytest.raises(ValueError, match="k = 16 must be an integer from 1 to 15"):
        explore.cost().data(k=16)


def test_an_explorer_of_your_own():
    mine = Explorer(
        "cost",
        "Squares",
        (Choice("n", "n", {"two": 2, "three": 3}), Number("m", "m", 1, (1, 2))),
        {"square": lambda n: n**2, "sum": lambda n, m: n + m},
    )
    assert content(mine.html())["store"] == [4, 9]
    assert mine.data(n=3) == {"square": 9, "sum": 4}


def test_importing_it_takes_torch_alone():
    heavy = {"ipywidgets", "matplotlib", "fvcore", "sklearn"}
    script = f"import sys, eamlib.book.explore; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

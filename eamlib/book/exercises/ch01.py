"""Exercises of chapter 01."""

from __future__ import annotations

from collections.abc import Callable

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import CONVOLUTION, DIFFERENTIATION, LIBRARY, seeded, without

# Exercise 1.5: C = 4 on a large map, the roofline's corner at 10 MAC/byte. Time a pixel, in units of 1/β.
_C, _CORNER = 4, 10
_ONE_5X5 = max(25 * _C**2 / _CORNER, 4 * 2 * _C)
_TWO_3X3 = 2 * max(9 * _C**2 / _CORNER, 4 * 2 * _C)


def _vgg_field() -> int:
    """Exercise 1.7: how many rows of the image a number of VGG-16's conv5_3 depends on."""
    field, step = 1, 1
    for convolutions in (2, 2, 3, 3, 3):
        field += convolutions * 2 * step + step  # and a pooling of 2 × 2
        step *= 2
    return field - step // 2  # but for the last pooling


def _stem(size: int = 224, k: int = 7, channels: int = 64) -> list[dict]:
    # The first convolution of ResNet: 3 -> 64 channels, stride 2, padding 3, no bias.
    rows = (size + 2 * 3 - k) // 2 + 1
    weights = k * k * 3 * channels
    return [
        number(
            "How many rows has the output?",
            rows,
            f"H′ = ⌊(H + 2P − d(k − 1) − 1) / s⌋ + 1 with H = {size}, P = 3, k = {k}, s = 2, d = 1.",
            right=f"⌊{size + 6 - k} / 2⌋ + 1.",
            mistakes={
                (size - k) // 2 + 1: "That is without padding.",
                (size + 3 - k) // 2 + 1: "The padding lies on both sides: 2P.",
                (size + 2 * 3 - k) // 2: "The first window counts, too: + 1.",
            },
        ),
        number(
            "How many parameters has it?",
            weights,
            "k² weights for each pair of an input and an output channel.",
            right=f"{k * k} · 3 · {channels}.",
            mistakes={
                weights + channels: "This layer has no bias.",
                k * k * channels: "Each output channel has a kernel for each of the 3 input channels.",
                k * 3 * channels: "A kernel has k² weights, not k.",
            },
        ),
        number(
            "How many MACs does one image cost?",
            weights * rows**2,
            "Weights × places of the output.",
            right=f"{weights:,} · {rows}², about {weights * rows**2 / 1e6:.0f} M.",
            mistakes={
                weights * size**2: "The places are those of the output map, and the stride makes it smaller.",
                weights * rows: "The output has rows and columns: H′ · W′ places.",
                2 * weights * rows**2: "A MAC is both a multiplication and an addition.",
            },
        ),
    ]


def _winograd(m: int = 4) -> list[dict]:
    tile = m + 3 - 1
    return [
        number(
            f"F({m} × {m}, 3 × 3) makes a tile of {m} × {m} outputs from a tile of the input. "
            "How many rows has that tile?",
            tile,
            f"Which pixels do the windows of {m} neighbouring rows of outputs cover?",
            right="m + k − 1.",
            mistakes={
                m: f"The window of the last of the {m} rows reaches k − 1 = 2 rows further.",
                m + 3: "m + k − 1.",
            },
        ),
        number(
            "By which factor does it reduce the multiplications (the transformations not counted)?",
            m**2 * 3**2 / tile**2,
            "Compare one product for each number of the input's tile with nine for each output.",
            right=f"{9 * m * m} / {tile * tile}; F(2 × 2, 3 × 3) has 36 / 16.",
            mistakes={2.25: "That is F(2 × 2, 3 × 3)."},
        ),
    ]


QUIZZES = {
    "1.1": [
        choice(
            "The proof writes out f(Sₜx) at place j: it is the sum over v of w(v) · x(s·j + v − t). When is "
            "that, for every x and w, an output number of f(x) at another place?",
            (
                "When t is a multiple of s",
                "With t = s·m it is the sum of w(v) · x(s·(j − m) + v), and that is f(x) at place j − m.",
            ),
            {
                "Always": "Output place j′ reads from s·j′ on. Can s·j − t be written so for every t?",
                "When t is a multiple of k": "Where does k come in? Compare s·j − t with s·j′.",
                "When the kernel is symmetric": "It has to hold for every w; look at what x is read at.",
            },
        ),
        choice(
            "On a real picture with zero padding, which outputs does the proof not cover?",
            (
                "Those whose window touches the padding or what the shift lost or brought in",
                "There the padded picture is not x(· − t): the zeros of the padding stay in place.",
            ),
            {
                "All of them": "A window well inside reads pixels of the picture alone, before and after.",
                "None, zeros are pixels, too": "Does the layer pad the picture before it moves, or after?",
                "Those at places j < k": "The other border has windows, too, and padding.",
            },
        ),
    ],
    "1.2": _stem(),
    "1.5": [
        number(
            "How many percent of the parameters does the pair save?",
            100 * (25 - 2 * 9) / 25,
            "Compare 25·C² with the weights of two 3 × 3 layers.",
            right="18·C² instead of 25·C², and the same share of the MACs.",
            mistakes={
                100 * 18 / 25: "That is what is left, not what is saved.",
                100 * (25 - 9) / 25: "There are two 3 × 3 layers.",
            },
        ),
        number(
            "By which factor do the bytes of the maps grow (weights left out)?",
            2,
            "Each layer reads one map and writes one.",
            right="The map in between is written once and read once: four maps instead of two.",
            mistakes={1.5: "The map in between is written and then read again: it counts twice."},
        ),
        number(
            "C = 4, maps so large that the weights do not matter, a machine with its corner at 10 MAC/byte. "
            "By the roofline, how many times as long as the 5 × 5 layer does the pair take?",
            _TWO_3X3 / _ONE_5X5,
            "A layer takes the longer of MACs/π and bytes/β, and π = 10·β. Which is it, for each layer?",
            right="The 5 × 5 layer (12.5 MAC/byte) waits for arithmetic, 40 units of time a pixel; each "
            "3 × 3 layer (4.5 MAC/byte) waits for memory, 32 units.",
            mistakes={
                18 / 25: "That compares the MACs. Is a 3 × 3 layer, 9·C/8 MAC/byte, bound by arithmetic?",
                2: "That compares the bytes. Is the 5 × 5 layer, 25·C/8 MAC/byte, bound by memory?",
                0.8: "There are two 3 × 3 layers.",
            },
        ),
    ],
    "1.7": [
        number(
            "Five layers of 3 × 3, one after the other, stride 1. On how many rows of the image does an output depend?",
            1 + 5 * 2,
            "Each layer adds k − 1 rows, times the step between neighbours on its input.",
            right="1 + 5 · 2.",
            mistakes={
                15: "Neighbouring windows overlap: a layer adds k − 1 rows, not k.",
                9: "Count the last one, too.",
            },
        ),
        number(
            "On how many rows of the image does one number of VGG-16's last convolution, conv5_3, depend?",
            _vgg_field(),
            "Go through the thirteen convolutions and the four poolings before it: r grows by (k − 1)·j, "
            "and each pooling doubles j.",
            right="Each convolution of a stage adds 2·j, each pooling j, with j = 1, 2, 4, 8, 16.",
            mistakes={
                212: "That includes the pooling behind conv5_3.",
                1 + 13 * 2: "Behind a pooling, neighbours lie two pixels of the image apart, then four.",
                1 + 2 * (2 * 1 + 2 * 2 + 3 * 4 + 3 * 8 + 3 * 16): "The poolings read 2 × 2 windows and add j each.",
            },
        ),
    ],
    "1.8": _winograd(),
}

# What each student of a class is asked instead.
DRAWN = {
    "1.2": Drawn(
        _stem,
        "An image of 3 × {size} × {size}: {channels} output channels, kernel {k} × {k}, stride 2, padding 3, no bias.",
        {"size": (160, 192, 256, 288), "k": (5, 9), "channels": (48, 80, 96)},
    ),
    "1.8": Drawn(
        _winograd,
        "F({m} × {m}, 3 × 3) in place of F(4 × 4, 3 × 3).",
        {"m": (3, 6, 8)},
    ),
}


def _same_padding(size: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel_size - 1) + 1 - size)
    return total // 2, total - total // 2


def _check_same_padding(answer: Callable) -> str | None:
    # (size, kernel_size, stride, dilation), from plain to nasty
    cases = [
        (5, 3, 1, 1),
        (9, 5, 1, 1),
        (8, 4, 1, 1),
        (9, 3, 1, 3),
        (32, 3, 2, 1),
        (33, 3, 2, 1),
        (224, 7, 2, 1),
        (4, 1, 2, 1),
        (7, 2, 3, 2),
        (23, 5, 4, 3),
    ]
    for size, kernel_size, stride, dilation in cases:
        given = answer(size, kernel_size, stride, dilation)
        if not isinstance(given, tuple | list) or len(given) != 2:
            return "Return two integers: the zeros before the first pixel and the zeros after the last."
        before, after = given
        right = _same_padding(size, kernel_size, stride, dilation)
        if (before, after) == right:
            continue
        case = f"size {size}, kernel {kernel_size}, stride {stride}, dilation {dilation}: "
        span = dilation * (kernel_size - 1)
        if before < 0 or after < 0:
            return case + "a negative padding would cut pixels off. Where none is needed, return (0, 0)."
        if (after, before) == right:
            return case + "an odd zero too many goes after the last pixel, not before the first."
        if before == after == sum(right):
            return case + "that is the sum of both sides; share it out."
        if dilation > 1 and (before, after) == _same_padding(size, kernel_size, stride):
            return case + "the dilation makes the kernel longer: it spans d(k − 1) + 1 pixels."
        if stride > 1 and before + after in (span, span // 2 * 2):
            return case + "with a stride, the windows may need fewer zeros: where does the last of them begin?"
        if before == after and before + after != sum(right):
            return case + f"you pad {before} on both sides, but the right sum is not {before + after}."
        rows = (size + before + after - span - 1) // stride + 1
        wanted = -(-size // stride)
        if rows == wanted:
            return case + f"the output has its {wanted} rows, but fewer zeros would do, or shared out otherwise."
        return case + f"that gives {rows} rows of output; wanted are ⌈{size}/{stride}⌉ = {wanted}."
    return None


@without(LIBRARY, CONVOLUTION)
def _check_conv2d(answer: Callable) -> str | None:
    import torch
    import torch.nn.functional as F

    # what is new in this case, the hint where the values are wrong, shape of x, shape of w, settings
    cases = [
        (
            "no settings",
            "Is a row of the unfolded matrix one (c, u, v), in this order?",
            (2, 3, 6, 6),
            (4, 3, 3, 3),
            {},
        ),
        ("a map that is not square", "H′ and W′ differ; which comes first?", (2, 3, 9, 6), (4, 3, 3, 3), {}),
        ("a 3 × 2 kernel", "Take both kernel sizes from w.shape.", (1, 2, 7, 8), (3, 2, 3, 2), {}),
        ("a bias", "Add one number to each output channel.", (2, 3, 5, 7), (4, 3, 3, 3), {"bias": True}),
        ("stride 2", "Does the stride reach the unfolding?", (2, 3, 10, 7), (4, 3, 3, 3), {"stride": 2}),
        ("padding 1", "Does the padding reach the unfolding?", (2, 3, 5, 6), (4, 3, 3, 3), {"padding": 1}),
        ("dilation 2", "Does the dilation reach the unfolding?", (2, 3, 8, 9), (4, 3, 3, 3), {"dilation": 2}),
        (
            "all of them at once",
            "Each alone works; look at how they meet in H′ and W′.",
            (3, 5, 13, 10),
            (7, 5, 3, 4),
            {"bias": True, "stride": 3, "padding": 2, "dilation": 2},
        ),
    ]
    generator = seeded(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.double, generator=generator)

    for new, hint, x_shape, w_shape, settings in cases:
        settings = dict(settings)
        if "bias" in settings:
            settings["bias"] = random(w_shape[0])
        x, w = random(*x_shape), random(*w_shape)
        expected = F.conv2d(x, w, **settings)
        given = answer(x, w, **settings)
        if not isinstance(given, torch.Tensor):
            return f"Return a tensor, [B, O, H′, W′]; this is a {type(given).__name__}."
        if given.shape != expected.shape:
            return f"With {new} the shape is {list(given.shape)} and should be {list(expected.shape)}. {hint}"
        if not torch.allclose(given.to(expected), expected, rtol=1e-4, atol=1e-4):
            return f"With {new} the shape is right and the values are not. {hint}"
    return None


@without(LIBRARY, CONVOLUTION, DIFFERENTIATION)
def _check_input_gradient(answer: Callable) -> str | None:
    import torch
    import torch.nn.functional as F

    # what is new in this case, the hint where the values are wrong, shape of x, shape of w
    cases = [
        ("one channel", "Which outputs has a pixel helped to make, and by which weight?", (1, 1, 4, 4), (1, 1, 2, 2)),
        ("several channels", "Sum over the output channels, not over the input's.", (1, 3, 5, 5), (4, 3, 3, 3)),
        ("two images", "Each image has a gradient of its own.", (2, 3, 5, 5), (4, 3, 3, 3)),
        ("a 2 × 4 kernel", "Take both kernel sizes from w.shape.", (2, 3, 7, 6), (5, 3, 2, 4)),
    ]
    generator = seeded(0)
    for new, hint, x_shape, w_shape in cases:
        x, w = (torch.randn(shape, dtype=torch.double, generator=generator) for shape in (x_shape, w_shape))
        x.requires_grad_()
        output = F.conv2d(x, w)
        g = torch.randn(output.shape, dtype=torch.double, generator=generator)
        [expected] = torch.autograd.grad(output, x, g)
        given = answer(w.clone(), g.clone())
        if not isinstance(given, torch.Tensor):
            return f"Return a tensor, [B, C, H, W]; this is a {type(given).__name__}."
        if given.shape != expected.shape:
            return f"With {new} the shape is {list(given.shape)} and should be {list(expected.shape)}, the input's."
        if not torch.allclose(given.to(expected), expected, rtol=1e-4, atol=1e-4):
            [turned] = torch.autograd.grad(F.conv2d(x, w.flip(2, 3)), x, g)
            if torch.allclose(given.to(expected), turned, rtol=1e-4, atol=1e-4):
                return f"With {new} the kernel is turned once too often, or once too rarely."
            return f"With {new} the shape is right and the values are not. {hint}"
    return None


CHECKS = {"1.3": _check_same_padding, "1.4": _check_conv2d, "1.6": _check_input_gradient}

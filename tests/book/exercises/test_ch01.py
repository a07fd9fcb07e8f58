import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib.book.exercises import QUIZZES, check
from eamlib.book.exercises.ch01 import _same_padding


def right_answers(exercise):
    """The value of each question's right answer."""
    return [
        next(a.get("value", a.get("answer")) for a in question["answers"] if a.get("correct"))
        for question in QUIZZES[exercise]
    ]


def wrong_values(exercise, question):
    answers = QUIZZES[exercise][question]["answers"]
    return [a["value"] for a in answers if "value" in a and not a["correct"]]


def macs(layer, x):
    """Multiply-adds of a convolution, one output number after the other."""
    output = layer(x)
    return sum(layer.weight[o].numel() for o in range(output.shape[1])) * output[0, 0].numel()


def test_shift_is_a_shift_of_the_output_for_multiples_of_the_stride_alone():
    assert right_answers("1.1")[0] == "When t is a multiple of s"
    stride = 3
    x = torch.randn(1, 1, 1, 60, dtype=torch.double)
    w = torch.randn(1, 1, 1, 4, dtype=torch.double)
    plain = F.conv2d(x, w, stride=stride)
    for t in range(1, 10):
        moved = F.conv2d(x.roll(t, -1), w, stride=stride)
        agrees = any(torch.allclose(moved[..., 6:-6], plain.roll(m, -1)[..., 6:-6]) for m in range(-5, 6))
        assert agrees == (t % stride == 0)


def test_borders_alone_break_the_shift():
    x = torch.randn(1, 1, 8, 8, dtype=torch.double)
    w = torch.randn(1, 1, 3, 3, dtype=torch.double)
    moved = F.conv2d(F.pad(x, (1, -1)), w, padding=1)
    same = torch.isclose(moved, F.pad(F.conv2d(x, w, padding=1), (1, -1)))[0, 0]
    assert same[:, 1:-1].all()
    assert not same[:, [0, -1]].any()


def test_first_layer_of_resnet():
    layer = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
    x = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        rows = layer(x).shape[2]
        assert right_answers("1.2") == [rows, sum(p.numel() for p in layer.parameters()), macs(layer, x)]


def test_five_by_five_against_two_three_by_three():
    channels, size, corner = 4, 1000, 10

    def price(k):
        layer = nn.Conv2d(channels, channels, k, padding=k // 2, bias=False)
        x = torch.zeros(1, channels, size, size)
        with torch.no_grad():
            return sum(p.numel() for p in layer.parameters()), macs(layer, x), x.nbytes + layer(x).nbytes

    big, small = price(5), price(3)
    saved, maps, slower = right_answers("1.5")
    assert saved == pytest.approx(100 * (1 - 2 * small[0] / big[0]))
    assert maps == pytest.approx(2 * small[2] / big[2])

    def time(_, multiply_adds, moved):
        return max(multiply_adds / corner, moved)

    assert slower == pytest.approx(2 * time(*small) / time(*big))


@pytest.mark.parametrize("exercise", ["1.2", "1.5", "1.7", "1.8"])
def test_no_mistake_is_the_right_answer(exercise):
    for question, right in enumerate(right_answers(exercise)):
        assert right not in wrong_values(exercise, question)


def smallest_padding(size, kernel_size, stride, dilation):
    """By trial: the fewest zeros, the odd one at the end, that give ⌈size / stride⌉ outputs."""
    x, w = torch.zeros(1, 1, size), torch.zeros(1, 1, kernel_size)
    for total in range(1000):
        before, after = total // 2, total - total // 2
        padded = F.pad(x, (before, after))
        fits = padded.shape[2] > dilation * (kernel_size - 1)
        if fits and F.conv1d(padded, w, stride=stride, dilation=dilation).shape[2] == math.ceil(size / stride):
            return before, after
    raise AssertionError


def test_same_padding_is_what_trial_finds():
    for size in (4, 7, 8, 15):
        for kernel_size in (1, 2, 3, 5):
            for stride in (1, 2, 3):
                for dilation in (1, 2, 3):
                    case = size, kernel_size, stride, dilation
                    assert _same_padding(*case) == smallest_padding(*case)


def formula(size, k, s, d):
    return (math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (lambda size, k, s=1, d=1: k // 2, "two integers"),
        (lambda size, k, s=1, d=1: (k - 1, k - 1), "sum of both"),
        (lambda size, k, s=1, d=1: (k // 2, k // 2), "both sides"),
        (lambda size, k, s=1, d=1: (k // 2, (k - 1) // 2), "after the last"),
        (lambda size, k, s=1, d=1: smallest_padding(size, k, s, 1), "spans"),
        (lambda size, k, s=1, d=1: (d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2), "stride"),
        (
            lambda size, k, s=1, d=1: (formula(size, k, s, d) // 2, -(-formula(size, k, s, d) // 2)),
            "negative",
        ),
        (lambda size, k, s=1, d=1: (0, 0), "right sum"),
        (lambda size, k, s=1, d=1: (0, k), "rows of output"),
        (lambda size, k, s=1, d=1: 1 / 0, "raised"),
    ],
)
def test_wrong_same_padding_gets_a_hint(answer, keyword):
    verdict = check("1.3", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def test_right_same_padding():
    assert check("1.3", lambda *case: list(smallest_padding(*case))).passed is True


def conv2d(x, w, bias=None, stride=1, padding=0, dilation=1, *, without=(), swapped=False):
    """A right answer, and the wrong ones that leave something out."""
    given = {"stride": stride, "padding": padding, "dilation": dilation}
    used = {name: value for name, value in given.items() if name not in without}
    kernel = w.shape[2:]
    s, p, d = (used.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)))
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k in zip(x.shape[2:], kernel, strict=True)]
    y = w.flatten(1) @ F.unfold(x, kernel, **used)
    if bias is not None and "bias" not in without:
        y = y + bias[:, None]
    return y.unflatten(2, size[::-1] if swapped else size)


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (F.conv2d, "torch.conv2d is not allowed"),
        (lambda x, w, bias=None, stride=1, padding=0, dilation=1: x.tolist(), "Return a tensor"),
        (lambda *a, **s: conv2d(*a, **s, swapped=True), "which comes first"),
        (lambda *a, **s: conv2d(*a, **s, without=("bias",)), "bias"),
        (lambda *a, **s: conv2d(*a, **s, without=("stride",)), "stride"),
        (lambda *a, **s: conv2d(*a, **s, without=("padding",)), "padding"),
        (lambda *a, **s: conv2d(*a, **s, without=("dilation",)), "dilation"),
        (lambda x, w, *a, **s: conv2d(x, w.flip(2, 3), *a, **s), "(c, u, v)"),
        (lambda x, w: conv2d(x, w), "raised"),
    ],
)
def test_wrong_conv2d_gets_a_hint(answer, keyword):
    verdict = check("1.4", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def rows_read(layers):
    """How many rows of an image the middle of a stack's output depends on, by its gradient."""
    x = torch.zeros(1, 1, 400, 1, dtype=torch.double, requires_grad=True)
    y = x
    for kind, k in layers:
        y = F.conv2d(y, torch.ones(1, 1, k, 1, dtype=y.dtype)) if kind == "conv" else F.avg_pool2d(y, (k, 1))
    y[0, 0, y.shape[2] // 2].sum().backward()
    return x.grad.count_nonzero().item()


def test_receptive_fields():
    vgg = [layer for n in (2, 2, 3, 3, 3) for layer in [("conv", 3)] * n + [("pool", 2)]][:-1]
    assert right_answers("1.7")[:2] == [rows_read([("conv", 3)] * 5), rows_read(vgg)]


def test_winograd_by_its_tiles():
    def cover(m):
        return len({i + u for i in range(m) for u in range(3)})

    assert right_answers("1.8")[:2] == [cover(4), 4**2 * 3**2 / cover(4) ** 2]


def input_gradient(w, g, *, turn=False):
    """A right answer by im2col's transpose, and with the kernel turned the wrong one."""
    rows, columns = (size + k - 1 for size, k in zip(g.shape[2:], w.shape[2:], strict=True))
    products = (w.flip(2, 3) if turn else w).flatten(1).T @ g.flatten(2)
    return F.fold(products, (rows, columns), w.shape[2:])


def by_autograd(w, g):
    x = torch.zeros(len(g), w.shape[1], requires_grad=True)
    return torch.autograd.grad(x.sum(), x)[0]


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (lambda w, g: F.conv_transpose2d(g, w), "torch.conv_transpose2d is not allowed"),
        (lambda w, g: torch.nn.grad.conv2d_input((1, 1, 4, 4), w, g), "conv2d_input is not allowed"),
        (by_autograd, "torch.autograd.grad is not allowed"),
        (lambda w, g: input_gradient(w, g).tolist(), "Return a tensor"),
        (lambda w, g: g, "the input's"),
        (lambda w, g: input_gradient(w, g, turn=True), "turned once"),
        (lambda w, g: input_gradient(w[:1], g[:, :1]), "output channels"),
        (lambda w, g: input_gradient(w, g[:1]).expand(len(g), -1, -1, -1), "image"),
    ],
)
def test_wrong_input_gradient_gets_a_hint(answer, keyword):
    verdict = check("1.6", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def test_right_input_gradient():
    assert check("1.6", input_gradient).passed is True


def test_right_conv2d():
    assert check("1.4", conv2d).passed is True


@pytest.mark.parametrize("exercise", ["1.3", "1.4", "1.6"])
def test_no_answer_is_not_judged(exercise):
    assert check(exercise, ...).passed is None
    assert check(exercise, lambda *arguments, **settings: None).passed is None

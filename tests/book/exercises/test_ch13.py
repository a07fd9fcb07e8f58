import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib.book.exercises import CHECKS, QUIZZES, check
from eamlib.layers import conv_builder
from eamlib.models.resnet import resnet_features


def mean_iou(prediction, truth, num_classes, skip=True, union=True):
    ious = []
    for c in range(num_classes):
        called, true = prediction == c, truth == c
        whole = (called | true).sum() if union else true.sum()
        if whole:
            ious.append((called & true).sum() / whole)
        elif not skip:
            ious.append(torch.tensor(0.0))
    return 100 * torch.stack(ious).mean()


def field(layers, own_stride=False, dilated=True, strided=True):
    """The pixels that the taps of all the layers reach, as a set."""
    pixels, step = {0}, 1
    for kernel, stride, dilation in layers:
        step *= stride if own_stride else 1
        taps = [(dilation if dilated else 1) * step * j for j in range(kernel)]
        pixels = {p + tap for p in pixels for tap in taps}
        step *= stride if strided and not own_stride else 1
    return max(pixels) + 1


def local(x, weight, a):
    padded = F.pad(x, [weight.shape[-1] // 2] * 4)
    patches = padded.unfold(2, weight.shape[-1], 1).unfold(3, weight.shape[-1], 1)
    return torch.einsum("bkhw,kocij,bchwij->bohw", a, weight, patches)


RIGHT = {"13.3": mean_iou, "13.4": field, "13.5": local}
WRONG = [
    ("13.3", lambda p, t, n: mean_iou(p, t, n) / 100, "percent"),
    ("13.3", lambda p, t, n: 100 * (p == t).float().mean(), "pixel accuracy"),
    ("13.3", lambda p, t, n: mean_iou(p, t, n, skip=False), "never occurs"),
    ("13.3", lambda p, t, n: mean_iou(p, t, n, union=False), "true pixels alone"),
    ("13.3", lambda p, t, n: mean_iou(p, t, n) if len(p.unique()) == n else torch.tensor(torch.nan), "NaN"),
    ("13.3", lambda p, t, n: 50.0, "you return 50.00"),
    ("13.4", lambda layers: field(layers, dilated=False), "further apart"),
    ("13.4", lambda layers: field(layers, strided=False), "several pixels"),
    ("13.4", lambda layers: field(layers) - 1, "both included"),
    ("13.4", lambda layers: field(layers, own_stride=True), "own stride"),
    ("13.4", lambda layers: 3, "is not 3"),
    ("13.5", lambda x, w, a: local(x, w, a.mean((2, 3), keepdim=True).expand_as(a)), "same kernel"),
    (
        "13.5",
        lambda x, w, a: sum(local(a[:, [i]] * x, w[[i]], torch.ones_like(a[:, [i]])) for i in range(len(w))),
        "weight the input",
    ),
    ("13.5", lambda x, w, a: F.conv2d(x, w.flatten(0, 1), padding=w.shape[-1] // 2), "shape"),
    ("13.5", lambda x, w, a: -local(x, w, a), "values are not"),
]


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answers_pass(exercise):
    verdict = check(exercise, RIGHT[exercise])
    assert verdict.passed, verdict
    assert check(exercise, ...).passed is None
    assert exercise in CHECKS


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_hint(exercise, answer, hint):
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert hint in verdict.message


def answers(exercise):
    return [
        next(a.get("value", a.get("answer")) for a in question["answers"] if a.get("correct"))
        for question in QUIZZES[exercise]
    ]


@pytest.mark.parametrize(("stride", "dilation"), [(2, 1), (2, 2), (3, 2)])
def test_the_proof_holds_for_numbers(stride, dilation):
    assert answers("13.1")[:2] == ["x[s·i + s·d·j]", "4"]
    x, w = torch.randn(1, 1, 60), torch.randn(1, 1, 3)
    subsampled_first = F.conv1d(x[..., ::stride], w, dilation=dilation)
    torch.testing.assert_close(F.conv1d(x, w, dilation=stride * dilation)[..., ::stride], subsampled_first)


def test_the_factors_are_those_of_the_network():
    """Positions of every 3 × 3 convolution's map, with both strides and with none; nothing but their ratio counts."""
    maps = []
    for dilated in (False, True):
        features, _ = resnet_features(50, conv_builder("static"), 1 / 64, 2, dilated=dilated)
        seen = []
        for module in features.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.register_forward_hook(lambda m, i, output, seen=seen: seen.append(output[0, 0].numel()))
        features.eval()(torch.zeros(1, 3, 64, 64))
        maps.append(seen)
    factors = [fine // coarse for coarse, fine in zip(*maps, strict=True)]
    assert [factors[-1], factors[-5]] == answers("13.2")[:2]


def test_the_head_is_counted():
    conv = nn.Conv2d(2048, 512, 3, padding=1, device="meta")
    output = conv(torch.empty(1, 2048, 96, 96, device="meta"))
    assert answers("13.2")[2] == conv.weight[0].numel() * output.numel()

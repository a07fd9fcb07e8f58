import pytest
import torch
from torch import nn

from eamlib.exercises import CHECKS, QUIZZES, check
from eamlib.layers import DynamicConv2d, EAMAttention


def crossing(n, p, hidden, kernels, bias=True, first_wins=0):
    eam = n * p * p * hidden + hidden * kernels + kernels * bias
    width = 4
    while width * (width // 4) + (width // 4) * kernels + kernels <= eam:
        width += 4
    return width + first_wins


def r2_of(means, chosen):
    """Mean R² of all channels by least squares from the chosen ones, with a constant."""
    read = torch.cat([torch.ones(len(means), 1), means[:, chosen]], dim=1).double()
    errors = means.double() - read @ torch.linalg.lstsq(read, means.double()).solution
    return 1 - (errors.var(0) / means.double().var(0)).mean()


def forward_selection(means, n):
    chosen = []
    while len(chosen) < n:
        left = set(range(means.shape[1])) - set(chosen)
        chosen.append(max(left, key=lambda c: r2_of(means, [*chosen, c])))
    return chosen


def each_for_itself(means, n):
    """The best channels, each judged alone: copies of one another."""
    alone = torch.stack([r2_of(means, [c]) for c in range(means.shape[1])])
    return alone.topk(n).indices


RIGHT = {
    "09.3": lambda x, n, maximum=False: (lambda g: g.amax(2) if maximum else g.mean(2))(x.unflatten(1, (n, -1))),
    "09.4": crossing,
    "09.5": lambda x, n: x.mean((2, 3)).std(0).argsort(descending=True)[:n],
    "09.6": forward_selection,
}
WRONG = [
    (
        "09.3",
        lambda x, n, maximum=False: (lambda g: g.amax(1) if maximum else g.mean(1))(x.unflatten(1, (-1, n))),
        "neigh",
    ),
    ("09.3", lambda x, n, maximum=False: x.unflatten(1, (n, -1)).mean(2), "maximum=True"),
    ("09.3", lambda x, n, maximum=False: x[:, :n].mean(1), "shape"),
    ("09.4", lambda *a: crossing(*a, first_wins=-4), "not smaller yet"),
    ("09.4", lambda *a: crossing(*a, first_wins=1), "multiple of 4"),
    ("09.4", lambda n, p, hidden, kernels: 4 * round((n * p * p * hidden) ** 0.5 / 2), "For n"),
    ("09.5", lambda x, n: x.mean((0, 2, 3)).topk(n).indices, "largest means"),
    ("09.5", lambda x, n: x.var((0, 2, 3)).topk(n).indices, "not the pixels"),
    ("09.5", lambda x, n: x.mean((2, 3)).var(0).topk(n).indices.flip(0), "another order"),
    ("09.5", lambda x, n: x.nothing, "raised AttributeError"),
    ("09.6", lambda means, n: means.var(0).topk(n).indices, "vary most"),
    ("09.6", each_for_itself, "tell the same"),
    ("09.6", lambda means, n: forward_selection(means, n)[::-1], "another order"),
    ("09.6", lambda means, n: forward_selection(means, n)[:-1], "mean R²"),
]


@pytest.mark.parametrize("exercise", CHECKS.keys() & RIGHT.keys())
def test_right_answers_pass(exercise):
    verdict = check(exercise, RIGHT[exercise])
    assert verdict.passed, verdict


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_hint(exercise, answer, hint):
    torch.manual_seed(0)
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert hint in verdict.message


def test_the_counts_of_the_quiz_are_those_of_the_layers():
    def size(module):
        return sum(p.numel() for p in module.parameters())

    usual = DynamicConv2d(512, 512, 1)
    counted = [usual.weight.numel(), size(usual.attention), size(EAMAttention(512))]
    assert [question["answers"][0]["value"] for question in QUIZZES["09.2"]] == counted


def test_the_first_quiz_is_right():
    eam = EAMAttention(8, channels=8, output_size=1, seed=0)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(eam.descriptor(x), x.mean((2, 3)))
    assert isinstance(eam.predict, nn.Sequential)

import pytest
import torch
from torch import nn

from eamlib.book.exercises import CHECKS, QUIZZES, check
from eamlib.layers import DynamicConv2d, EAMAttention


def crossing(n, p, hidden, kernels, bias=True, first_wins=0):
    eam = n * p * p * hidden + hidden * kernels + kernels * bias
    width = 4
    while width * (width // 4) + (width // 4) * kernels + kernels <= eam:
        width += 4
    return width + first_wins


def dealt(reading, descriptor, fold, ridge=0.01, whole=True):
    """R² of ridge regressions by scikit-learn, each fold predicted by the others; of the last alone if not whole."""
    linear = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    predicted = torch.zeros_like(descriptor)
    for k in fold.unique():
        fit, judge = (fold != k, fold == k) if len(fold.unique()) > 1 else (fold == k, fold == k)
        scaled = (reading - reading[fit].mean(0)) / reading[fit].std(0)
        model = linear.Ridge(alpha=ridge * fit.sum().item()).fit(scaled[fit].numpy(), descriptor[fit].numpy())
        predicted[judge] = torch.as_tensor(model.predict(scaled[judge].numpy())).to(predicted)
    kept = torch.ones_like(judge) if whole else judge
    r2 = metrics.r2_score(descriptor[kept].numpy(), predicted[kept].numpy(), multioutput="raw_values")
    return torch.from_numpy(r2)


RIGHT = {
    "9.3": lambda x, n, maximum=False: (lambda g: g.amax(2) if maximum else g.mean(2))(x.unflatten(1, (n, -1))),
    "9.4": crossing,
    "9.5": lambda x, n: x.mean((2, 3)).std(0).argsort(descending=True)[:n],
    "9.6": dealt,
}
WRONG = [
    (
        "9.3",
        lambda x, n, maximum=False: (lambda g: g.amax(1) if maximum else g.mean(1))(x.unflatten(1, (-1, n))),
        "neigh",
    ),
    ("9.3", lambda x, n, maximum=False: x.unflatten(1, (n, -1)).mean(2), "maximum=True"),
    ("9.3", lambda x, n, maximum=False: x[:, :n].mean(1), "shape"),
    ("9.4", lambda *a: crossing(*a, first_wins=-4), "not smaller yet"),
    ("9.4", lambda *a: crossing(*a, first_wins=1), "multiple of 4"),
    ("9.4", lambda n, p, hidden, kernels: 4 * round((n * p * p * hidden) ** 0.5 / 2), "For n"),
    ("9.5", lambda x, n: x.mean((0, 2, 3)).topk(n).indices, "largest means"),
    ("9.5", lambda x, n: x.var((0, 2, 3)).topk(n).indices, "not the pixels"),
    ("9.5", lambda x, n: x.mean((2, 3)).var(0).topk(n).indices.flip(0), "another order"),
    ("9.5", lambda x, n: x.nothing, "raised AttributeError"),
    ("9.6", lambda r, d, group: dealt(r, d, torch.arange(len(r)) % 4), "both sides"),
    ("9.6", lambda r, d, group: dealt(r, d, torch.zeros(len(r))), "that it judges"),
    ("9.6", lambda r, d, group: dealt(r, d, group, whole=False), "added up"),
    ("9.6", lambda r, d, group: dealt(r, d, group).mean(), "One R² a channel"),
]


@pytest.mark.parametrize("exercise", sorted(CHECKS.keys() & RIGHT.keys()))
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
    assert [question["answers"][0]["value"] for question in QUIZZES["9.2"]] == counted


def test_the_first_quiz_is_right():
    eam = EAMAttention(8, channels=8, output_size=1, seed=0)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(eam.descriptor(x), x.mean((2, 3)))
    assert isinstance(eam.predict, nn.Sequential)

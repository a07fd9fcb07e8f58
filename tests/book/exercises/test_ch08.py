import pytest
import torch

from eamlib import data
from eamlib.book import weights
from eamlib.book.exercises import CHECKS, QUIZZES, check
from eamlib.redundancy import ChannelStatistics, measure
from eamlib.training import normalize


def merged(batches, between=1.0, dtype=torch.float64):
    n, mean, scatter = 0, 0.0, 0.0
    for batch in batches:
        batch = batch.to(dtype)
        own, total = batch.mean(0), n + len(batch)
        delta = own - mean
        scatter = scatter + (batch - own).T @ (batch - own)
        scatter = scatter + between * torch.outer(delta, delta) * n * len(batch) / total
        mean, n = mean + delta * len(batch) / total, total
    deviation = scatter.diagonal().sqrt()
    return scatter / torch.outer(deviation, deviation)


def raw_sums(batches):
    n, x, xx = 0, 0.0, 0.0
    for batch in batches:
        n, x, xx = n + len(batch), x + batch.sum(0), xx + batch.T @ batch
    covariance = xx / n - torch.outer(x, x) / n**2
    deviation = covariance.diagonal().clamp(min=1e-9).sqrt()
    return covariance / torch.outer(deviation, deviation)


def rank(maps, centre=True, power=1, exponential=True):
    samples = maps.movedim(1, -1).flatten(0, -2).double()
    values = torch.linalg.svdvals(samples - samples.mean(0) * centre) ** power
    entropy = torch.special.entr(values / values.sum()).sum()
    return entropy.exp().item() if exponential else entropy.item()


def rank_with_nan(maps):
    samples = maps.movedim(1, -1).flatten(0, -2).double()
    values = torch.linalg.svdvals(samples - samples.mean(0))
    values[values < 1e-9] = 0
    shares = values / values.sum()
    return (-(shares * shares.log()).sum()).exp().item()


def readers(correlation, n):
    left, chosen = correlation.clone(), []
    for _ in range(n):
        gain = left.square().sum(0) / left.diagonal().clamp(min=1e-9)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        left = left - torch.outer(left[:, chosen[-1]], left[:, chosen[-1]]) / left[chosen[-1], chosen[-1]]
    return chosen


RIGHT = {"8.3": merged, "8.4": rank, "8.5": readers}
WRONG = [
    ("8.3", lambda batches: merged(batches, between=0), "δ"),
    ("8.3", raw_sums, "digits are lost"),
    ("8.3", lambda batches: torch.corrcoef(next(batches).T), "all samples together"),
    ("8.3", lambda batches: merged(batches).diagonal(), "shape"),
    ("8.4", lambda maps: rank(maps, power=2), "variances"),
    ("8.4", lambda maps: rank(maps, centre=False), "centre"),
    ("8.4", lambda maps: rank(maps, exponential=False), "entropy"),
    ("8.4", lambda maps: rank(maps.movedim(0, 1)), "every channel"),
    ("8.4", rank_with_nan, "NaN"),
    ("8.5", lambda r, n: r.square().sum(0).topk(n).indices, "by itself"),
    ("8.5", lambda r, n: r.abs().sum(0).argsort()[:n], "the first should be"),
    (
        "8.5",
        lambda r, n: [readers(r, 1)[0], *[c for c in range(len(r)) if c not in readers(r, 1)][: n - 1]],
        "ogether",
    ),
    ("8.5", lambda r, n: [0] * n, "different"),
]


@pytest.mark.parametrize("exercise", sorted(CHECKS.keys() & RIGHT.keys()))
def test_right_answers_pass(exercise):
    torch.manual_seed(0)
    verdict = check(exercise, RIGHT[exercise])
    assert verdict.passed, verdict


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_hint(exercise, answer, hint):
    torch.manual_seed(0)
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert hint in verdict.message


@pytest.mark.parametrize("exercise", sorted(CHECKS.keys() & RIGHT.keys()))
def test_dots_are_no_answer(exercise):
    assert check(exercise, lambda *_: ...).passed is None


def right_answers(exercise):
    return [
        next(a["answer"] for a in question["answers"] if a.get("correct"))
        for question in QUIZZES[exercise]
        if question["type"] == "multiple_choice"
    ]


def test_the_quiz_on_ranks_agrees_with_the_statistics():
    x = torch.randn(5000, 2)
    rows = {
        "Rows (1, 0), (0, 1), (0, 1)": [[1.0, 0], [0, 1], [0, 1]],
        "Rows (1, 0), (0, 1), (1, 1)": [[1.0, 0], [0, 1], [1, 1]],
        "Rows (1, 2), (2, 4), (3, 6)": [[1.0, 2], [2, 4], [3, 6]],
    }
    alone = []
    for text, weight in rows.items():
        statistics = ChannelStatistics(3)
        statistics.update(x @ torch.tensor(weight).T)
        assert statistics.components(1.0) <= 2
        if statistics.predictability().min() < 0.5:
            alone.append(text)
    assert right_answers("8.1")[1:2] == alone


def test_the_quiz_counts_what_tensors_hold():
    maps = torch.empty(10_000, 512, 14, 14, device="meta")
    pairs = len(torch.triu_indices(512, 512, 1)[0])
    scatter = torch.empty(512, 512, dtype=torch.float64)
    counted = [pairs, maps.nbytes, scatter.nbytes]
    assert [question["answers"][0]["value"] for question in QUIZZES["8.2"]] == counted


def explained(correlation, chosen):
    rows = correlation[chosen]
    return (rows * (torch.linalg.pinv(rows[:, chosen], hermitian=True) @ rows)).sum(0).mean().item()


def test_the_reasons_of_the_design_are_what_the_chapter_network_shows():
    pytest.importorskip("safetensors")
    model, photos = weights.load("cifar100/mobilenet_v1-x0.25-static-e20-seed0"), data.sample("cifar100")
    images = normalize(photos.images[1000:], *weights.PIXEL_STATISTICS["cifar100"]).split(250)
    layers = {2: "features.2.1.2", 8: "features.8.1.2"}
    found = measure(model, images, list(layers.values()), view="means")

    def greedy(block, n):
        correlation = found[layers[block]].correlation
        return explained(correlation, readers(correlation, n))

    def drawn(block, n):
        correlation = found[layers[block]].correlation
        orders = (torch.randperm(len(correlation), generator=torch.Generator().manual_seed(seed)) for seed in range(10))
        return [explained(correlation, order[:n].tolist()) for order in orders]

    def alone(block, n):
        correlation = found[layers[block]].correlation
        return explained(correlation, correlation.square().sum(0).topk(n).indices.tolist())

    random = drawn(8, 4)
    said = [greedy(8, 4), alone(8, 4), sum(random) / 10, min(random), max(random), greedy(8, 8), alone(8, 8)]
    assert said == pytest.approx([0.35, 0.33, 0.24, 0.22, 0.29, 0.53, 0.44], abs=0.006)
    more = [greedy(8, 16), sum(drawn(8, 16)) / 10, greedy(2, 4), sum(drawn(2, 4)) / 10]
    assert more == pytest.approx([0.71, 0.62, 0.78, 0.65], abs=0.006)

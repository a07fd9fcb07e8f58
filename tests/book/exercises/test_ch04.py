"""Chapter 04: typical mistakes get their hints, and the quizzes' numbers come out of a count."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib import create_model
from eamlib.book.exercises import QUIZZES, check


def schedule(step, steps, maximum, warm_up, *, late=0, shape=lambda s: (1 - math.cos(math.pi * s)) / 2):
    """Right without the keywords; each of them makes one mistake."""
    top = warm_up * steps - 1 + late
    if 0 < top >= step:
        start, end, share = maximum / 25, maximum, step / top
    else:
        start, end, share = maximum, maximum / 250_000, (step - top) / max(steps - 1 - top, 1e-9)
    return start + (end - start) * shape(share)


def no_warm_up(step, steps, maximum, warm_up):
    return maximum if step < warm_up * steps else schedule(step, steps, maximum, warm_up)


def smoothed(logits, labels, eps, *, own=None, others=None):
    """Right without the keywords: the shares of the right label and of each label."""
    N = logits.shape[1]
    own = 1 - eps if own is None else own
    others = eps / N if others is None else others
    q = own * F.one_hot(labels, N) + others
    return -(q * logits.log_softmax(1)).sum(1).mean()


def over_the_others(logits, labels, eps):
    N = logits.shape[1]
    return smoothed(logits, labels, eps, own=1 - eps - eps / (N - 1), others=eps / (N - 1))


def naive(logits, labels, eps):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -((1 - eps) * p.gather(1, labels[:, None])[:, 0].log() + eps * p.log().mean(1)).mean()


@torch.no_grad()
def follow(average, model, decay, *, swapped=False, buffers=True):
    for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
        ours.lerp_(theirs, decay if swapped else 1 - decay)
    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
        if buffers:
            ours.copy_(theirs)
    return average


@torch.no_grad()
def into_the_model(average, model, decay):
    for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
        theirs.lerp_(ours, decay)
    return average


@torch.no_grad()
def with_new_tensors(average, model, decay):
    for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
        ours.data = decay * ours + (1 - decay) * theirs
    return average


def with_a_gradient(average, model, decay):
    for parent, theirs in zip(average, model, strict=True):
        for name, parameter in list(parent.named_parameters(recurse=False)):
            mixed = decay * parameter + (1 - decay) * getattr(theirs, name)
            delattr(parent, name)
            parent.register_buffer(name, None)
            parent._buffers.pop(name)
            parent._parameters[name] = mixed
    return average


def epoch_order(images, batch_size, seed, state=None):
    generator = torch.Generator().manual_seed(seed)
    if state is not None:
        generator.set_state(state)
    order = torch.randperm(images, generator=generator)
    return list(order.split(batch_size)), generator.get_state()


def by_number(images, batch_size, seed, state=None):
    """Another good design: the state is the epoch."""
    epoch = state or 0
    generator = torch.Generator().manual_seed(1_000 * seed + epoch)
    return list(torch.randperm(images, generator=generator).split(batch_size)), epoch + 1


def stuck(images, batch_size, seed, state=None):
    return epoch_order(images, batch_size, seed)


def global_generator(images, batch_size, seed, state=None):
    torch.manual_seed(seed)
    return list(torch.randperm(images).split(batch_size)), 1


def from_the_past(images, batch_size, seed, state=None):
    """The order of a later epoch depends on what was drawn by somebody else."""
    if state is None:
        return epoch_order(images, batch_size, seed)
    return list(torch.randperm(images).split(batch_size)), state


def dropping(images, batch_size, seed, state=None):
    batches, state = epoch_order(images, batch_size, seed, state)
    return batches[:-1], state


def with_replacement(images, batch_size, seed, state=None):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randint(images, (images,), generator=generator).split(batch_size)), generator.get_state()


def unshuffled(images, batch_size, seed, state=None):
    return list(torch.arange(images).split(batch_size)), 1


def seedless(images, batch_size, seed, state=None):
    return epoch_order(images, batch_size, 0, state)


def forgetful(images, batch_size, seed, state=None):
    return epoch_order(images, batch_size, seed, state)[0], None


WRONG = [
    ("4.3", lambda *a: schedule(*a, shape=lambda s: s), "along a line"),
    ("4.3", lambda *a: schedule(*a, shape=lambda s: (1 + math.cos(math.pi * s)) / 2), "wrong way"),
    ("4.3", lambda *a: schedule(*a, late=1), "a step late"),
    ("4.3", no_warm_up, "warm-up is missing"),
    ("4.3", lambda step, steps, maximum, warm_up: 17.0, "and you return 17"),
    ("4.4", lambda z, y, e: smoothed(z, y, 0), "nothing is smoothed"),
    ("4.4", lambda z, y, e: -smoothed(z, y, e), "its negative"),
    ("4.4", lambda z, y, e: smoothed(z, y, e) * len(y), "sum over the batch"),
    ("4.4", lambda z, y, e: -z.log_softmax(1)[:, 0], "one number"),
    ("4.4", over_the_others, "other classes only"),
    ("4.4", lambda z, y, e: smoothed(z, y, e, others=e), "too much smoothing"),
    ("4.4", lambda z, y, e: smoothed(z, y, e, own=1), "leaves the right label"),
    ("4.4", naive, "overflows"),
    ("4.4", lambda z, y, e: torch.tensor(7.0), "you return 7"),
    ("4.5", lambda average, model, decay: follow(average, model, decay, swapped=True), "swapped"),
    ("4.5", lambda average, model, decay: follow(average, model, decay, buffers=False), "buffers"),
    ("4.5", lambda average, model, decay: follow(copy.deepcopy(average), model, decay), "in place"),
    ("4.5", lambda average, model, decay: average, "not decay"),
    ("4.5", into_the_model, "still being trained"),
    ("4.5", with_new_tensors, "In place"),
    ("4.5", with_a_gradient, "no_grad"),
    ("4.6", stuck, "does not move on"),
    ("4.6", global_generator, "disturb"),
    ("4.6", from_the_past, "left alone"),
    ("4.6", dropping, "are asked for"),
    ("4.6", with_replacement, "exactly once"),
    ("4.6", unshuffled, "not shuffled"),
    ("4.6", seedless, "another seed"),
    ("4.6", forgetful, "would begin again"),
    ("4.6", lambda *a, **k: [1], "pair"),
]
RIGHT = [
    ("4.3", schedule),
    ("4.4", smoothed),
    ("4.5", follow),
    ("4.6", epoch_order),
    ("4.6", by_number),
]


@pytest.mark.parametrize(("exercise", "answer", "keyword"), WRONG)
def test_wrong_answer_gets_its_hint(exercise, answer, keyword):
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert keyword.lower() in verdict.message.lower()


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answer_passes(exercise, answer):
    assert check(exercise, answer).passed is True


@pytest.mark.parametrize("exercise", ["4.3", "4.4", "4.5", "4.6"])
def test_dots_are_no_answer(exercise):
    assert check(exercise, ...).passed is None


def right(exercise):
    return [next(a for a in q["answers"] if a.get("correct")) for q in QUIZZES[exercise]]


def test_numbers_of_the_count():
    batches = torch.arange(50_000).split(128)
    model = create_model("mobilenet_v1", num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    kept = sum(state["momentum_buffer"].nbytes for state in optimizer.state.values())
    steps = 30 * len(batches)
    images = torch.empty(50_000, 3, 32, 32, dtype=torch.uint8, device="meta")
    paced = max(batch for batch in range(1, 1_000) if 2 * batch / 128 <= 6)  # µs of the GPU for a kernel, of its launch
    assert [a["value"] for a in right("4.2")] == [steps, steps / 10, images.nbytes, kept, paced]


def test_weights_of_the_parts():
    """The proof's answers, on a network without and with batch normalisation."""
    torch.manual_seed(0)
    x, y = torch.randn(10, 5), torch.arange(10) % 3

    def gradient(model, x, y):
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    plain = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    normed = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    for model, same in ((plain, True), (normed, False)):
        parts = [gradient(model, a, b) for a, b in zip(x.split([4, 4, 2]), y.split([4, 4, 2]), strict=True)]
        mixed = sum(share * g for share, g in zip((0.4, 0.4, 0.2), parts, strict=True))
        assert torch.allclose(mixed, gradient(model, x, y), atol=1e-6) is same
    assert [a["answer"] for a in right("4.1")] == ["0.4 ḡ₁ + 0.4 ḡ₂ + 0.2 ḡ₃", "None in general", "B"]


@pytest.mark.parametrize("exercise", ["4.1", "4.2"])
def test_no_mistake_is_listed_twice(exercise):
    for question in QUIZZES[exercise]:
        values = [a["value"] for a in question["answers"] if a.get("type") == "value"]
        assert len(values) == len(set(values))

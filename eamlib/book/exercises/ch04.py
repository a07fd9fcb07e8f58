"""Exercises of chapter 04."""

from __future__ import annotations

import math
from collections.abc import Callable

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import LIBRARY, seeded, without


def _run(images: int = 50_000, batch: int = 128, epochs: int = 30, launch: int = 6) -> list[dict]:
    parameters, image, on_gpu = 3_217_226, 3 * 32 * 32, 2
    steps = epochs * math.ceil(images / batch)
    pace = batch * launch // on_gpu
    return [
        number(
            f"How many steps are the {epochs} epochs?",
            steps,
            f"Steps of an epoch, the smaller one at its end included; times {epochs}.",
            right=f"{steps // epochs} an epoch: {images // batch} full batches and one of {images % batch}.",
            mistakes={
                epochs * (images // batch): "The last batch of an epoch is smaller, but it is a step.",
                math.ceil(epochs * images / batch): "A batch ends with its epoch: round up before you multiply.",
                steps // epochs: "That is one epoch.",
            },
        ),
        number(
            "How many of them are the warm-up?",
            steps // 10,
            "A tenth of all steps.",
            right=f"{epochs // 10} epochs.",
            mistakes={epochs // 10: "These are epochs; count steps."},
        ),
        number(
            "How many bytes do the training images take on the device, as uint8?",
            images * image,
            "A byte for each pixel and channel.",
            right=f"{images * image / 1e6:.1f} MB; as float32 it would be {4 * images * image / 1e6:.1f} MB.",
            mistakes={
                4 * images * image: "That is float32.",
                images * 32 * 32: "An image has three channels.",
            },
        ),
        number(
            "How many bytes does the optimizer keep, beside weights and gradients?",
            4 * parameters,
            "Momentum keeps one v for each parameter.",
            right="One float32 each.",
            mistakes={
                parameters: "So many numbers. A float32 has 4 bytes.",
                8 * parameters: "Adam would keep two numbers for each parameter; momentum keeps one.",
                12 * parameters: "Count neither the weights nor the gradients.",
            },
        ),
        number(
            "Up to which batch do the launches set the pace of a step, and no longer the GPU?",
            pace,
            f"How long does the GPU take for a kernel at a batch of {batch}, and how long is it given?",
            right=f"There the GPU needs {launch} µs for a kernel, as long as the CPU for the next launch.",
            mistakes={
                batch: f"There the GPU is done in {on_gpu} µs and waits for {launch - on_gpu}.",
                batch * on_gpu // launch: f"The other way round: the GPU has time to spare at {batch}.",
                launch // on_gpu: "That is the factor; count images.",
            },
        ),
    ]


QUIZZES = {
    "4.1": [
        choice(
            "A batch of 10 runs in parts of 4, 4 and 2. Which sum of the parts' mean gradients is the batch's?",
            (
                "0.4 ḡ₁ + 0.4 ḡ₂ + 0.2 ḡ₃",
                "Each image counts 1/10, so each part counts as many tenths as it has images.",
            ),
            {
                "(ḡ₁ + ḡ₂ + ḡ₃) / 3": "That gives an image of the small part twice the say of another. When is the "
                "mean of means the mean?",
                "ḡ₁ + ḡ₂ + ḡ₃": "Each of them is a mean already. What if all images were the same one?",
                "4 ḡ₁ + 4 ḡ₂ + 2 ḡ₃": "This is the sum over the images, ten times their mean.",
            },
        ),
        choice(
            "With batch normalisation, in training mode, which sum is the batch's gradient?",
            (
                "None in general",
                "The images of a part are normalised by their part: their losses are other ones, not only their "
                "weights.",
            ),
            {
                "The same one": "Is the answer to an image the same in a part as in the batch?",
                "The same one, if all parts are equally large": "Equal sizes mend the mean of means. The statistics "
                "are still a part's.",
                "The same one, once the running statistics have settled": "In training mode they are not used.",
            },
        ),
        choice(
            "4 devices share a batch of B, and each runs its share in 2 parts. The gradients are summed over parts and "
            "devices. What divides a part's summed loss?",
            ("B", "Every image counts 1/B, wherever it runs."),
            {
                "B / 4": "That is the mean over a device's share; the sum over the devices is then 4 times too large.",
                "B / 8": "That is the mean over the part; the sum of 8 means is 8 times too large.",
                "8 B": "B images, each with 1 / (8 B): the gradient is 8 times too small.",
            },
        ),
    ],
    "4.2": _run(),
}

# What each student of a class is asked instead.
DRAWN = {
    "4.2": Drawn(
        _run,
        "{images:,} images, batches of {batch}, {epochs} epochs; a kernel takes the CPU {launch} µs to "
        "launch, and the GPU 2 µs at a batch of {batch}. The rest is as above.",
        {"images": (30_000, 40_000, 45_000), "batch": (96, 192), "epochs": (20, 40, 60), "launch": (8, 10)},
    ),
}


@without(LIBRARY, r"^torch\.optim\.lr_scheduler\.")
def _learning_rate(answer: Callable) -> str | None:
    from eamlib.training.recipe import Recipe

    for steps, maximum, warm_up in ((40, 0.1, 0.25), (1000, 0.8, 0.1), (37, 0.05, 0.5), (24, 0.2, 0.0), (30, 0.1, 0.9)):
        recipe = Recipe(epochs=1, learning_rate=maximum, warm_up=warm_up)
        top = warm_up * steps - 1
        for step in (*range(1, steps), 0):  # at step 0 several mistakes look alike
            right, yours = recipe.learning_rate_at(step, steps), float(answer(step, steps, maximum, warm_up))
            if math.isclose(yours, right, rel_tol=1e-6):
                continue
            where = f"For step {step} of {steps}, maximum {maximum} and warm_up {warm_up}"
            rising = 0 < top >= step
            share = step / top if rising else (step - top) / (steps - 1 - top)
            start, end = (maximum / 25, maximum) if rising else (maximum, maximum / 250_000)
            if math.isclose(yours, start + (end - start) * share, rel_tol=1e-6):
                return f"{where} you go along a line; half a cosine is asked for."
            if step and math.isclose(yours, start + (end - start) / 2 * (1 + math.cos(math.pi * share)), rel_tol=1e-6):
                return f"{where} your cosine runs the wrong way: at share 0 it is to be at its start."
            if rising and math.isclose(yours, maximum, rel_tol=1e-6):
                return f"{where} you return the maximum. The warm-up is missing."
            if warm_up * steps > 0 and math.isclose(yours, _one_late(recipe, step, steps), rel_tol=1e-6):
                return (
                    f"{where} you are a step late: the maximum stands at warm_up · steps − 1, since steps count from 0."
                )
            part = "the warm-up" if rising else "the fall"
            return f"{where}, in {part}, it is {right:.6g}, and you return {yours:.6g}."
    return None


def _one_late(recipe, step: int, steps: int) -> float:
    """The schedule whose maximum stands at ``warm_up * steps``."""
    top, maximum = recipe.warm_up * steps, recipe.learning_rate
    if step <= top:
        start, end, share = maximum / 25, maximum, step / top
    else:
        start, end, share = maximum, maximum / 250_000, (step - top) / max(1e-9, steps - 1 - top)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


@without(LIBRARY, r"cross_entropy")
def _smoothing(answer: Callable) -> str | None:
    import torch
    import torch.nn.functional as F

    generator = seeded(0)
    for images, classes, eps, size in (
        (4, 3, 0.1, 1),
        (7, 10, 0.0, 1),
        (1, 5, 0.3, 2),
        (6, 4, 1.0, 1),
        (3, 6, 0.1, 300),
    ):
        logits = size * torch.randn(images, classes, generator=generator)
        labels = torch.randint(classes, (images,), generator=generator)
        yours = torch.as_tensor(answer(logits.clone(), labels.clone(), eps)).detach()
        where = f"For {images} images of {classes} classes and smoothing {eps}"
        if yours.dim() != 0:
            return f"{where} you return shape {list(yours.shape)}; one number is asked for, the mean over the batch."
        if yours.isnan() or yours.isinf():
            return f"{where} and large logits you return {yours.item()}: exp overflows. torch.log_softmax does not."
        right, log_p = F.cross_entropy(logits, labels, label_smoothing=eps), logits.log_softmax(1)
        if torch.allclose(yours.float(), right, rtol=1e-4, atol=1e-5):
            continue
        own = log_p.gather(1, labels[:, None])[:, 0]
        others = (log_p.sum(1) - own) / (classes - 1)
        wrong = {
            "the plain loss: nothing is smoothed": -own.mean(),
            "the sum over the batch": right * images,
            "its negative: the loss is minus the sum of q · ln p": -right,
            "what spreads ε over the other classes only: every class gets ε / N, the right one, too": -(
                (1 - eps) * own + eps * others
            ).mean(),
            "N times too much smoothing: ε is shared by the N classes": -((1 - eps) * own + eps * log_p.sum(1)).mean(),
            "what leaves the right label at 1: its share is 1 − ε, besides ε / N": -(own + eps * log_p.mean(1)).mean(),
        }
        for what, value in wrong.items():
            if torch.allclose(yours.float(), value, rtol=1e-4, atol=1e-5):
                return f"{where} you return {what}."
        return f"{where} it is {right.item():.4f}, and you return {yours.item():.4f}."
    return None


def _follow(answer: Callable) -> str | None:
    import copy

    import torch
    from torch import nn

    generator = seeded(0)
    for decay in (0.9, 0.5, 0.0, 1.0):
        model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(7, 2))
        average = copy.deepcopy(model)
        with torch.no_grad():
            for tensor in (*model.parameters(), *average.parameters()):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            model[1].running_mean += 2
            model[1].num_batches_tracked += 7
        before = [p.detach().clone() for p in average.parameters()]
        theirs = {name: t.clone() for name, t in model.state_dict().items()}
        pointers = [p.data_ptr() for p in average.parameters()]
        result = answer(average, model, decay)
        where = f"With decay {decay}"
        if result is not average:
            return f"{where} you return something else: change `average` in place and return it."
        if any(not torch.equal(t, theirs[name]) for name, t in model.state_dict().items()):
            return f"{where} you change `model`, which is still being trained."
        if any(p.grad_fn is not None or not p.is_leaf for p in average.parameters()):
            return f"{where} a gradient is recorded: work under torch.no_grad()."
        if [p.data_ptr() for p in average.parameters()] != pointers:
            return (
                f"{where} the average has new tensors; an optimizer or a compiled network would not see them. In place!"
            )
        pairs = list(zip((p.detach() for p in average.parameters()), before, model.parameters(), strict=True))
        if not all(torch.allclose(now, decay * old + (1 - decay) * new, atol=1e-6) for now, old, new in pairs):
            if all(torch.allclose(now, decay * new + (1 - decay) * old, atol=1e-6) for now, old, new in pairs):
                return f"{where} the two shares are swapped: `decay` is what stays of the average."
            return f"{where} the parameters are not decay · average + (1 − decay) · model."
        if not torch.equal(average[1].num_batches_tracked, model[1].num_batches_tracked) or not torch.equal(
            average[1].running_mean, model[1].running_mean
        ):
            return f"{where} the parameters are right; the buffers of `average` are to be copies of the model's."
    return None


def _order(answer: Callable) -> str | None:
    import torch

    for images, batch_size, seed in ((20, 6, 0), (64, 16, 3), (7, 10, 1)):
        where = f"For {images} images in batches of {batch_size}"
        torch.manual_seed(5)
        undisturbed = torch.rand(3)
        torch.manual_seed(5)
        first = answer(images, batch_size, seed, None)
        if not isinstance(first, tuple) or len(first) != 2:
            return f"{where}: return a pair, the batches and the state."
        batches, state = first
        if not torch.equal(torch.rand(3), undisturbed):
            return (
                f"{where} you draw from torch's own generator and disturb whoever else uses it. Make one of your own."
            )
        sizes = [len(batch) for batch in batches]
        right = [min(batch_size, images - start) for start in range(0, images, batch_size)]
        if sizes != right:
            return f"{where} your batches have {sizes} images; {right} are asked for."
        order = torch.cat([torch.as_tensor(batch) for batch in batches]).tolist()
        if sorted(order) != list(range(images)):
            return f"{where} not every image appears exactly once."
        if order == sorted(order):
            return f"{where} the order is not shuffled."
        again = torch.cat(list(answer(images, batch_size, seed, None)[0])).tolist()
        if again != order:
            return f"{where} the same seed gives another order the second time: what does it depend on?"
        if torch.cat(list(answer(images, batch_size, seed + 1, None)[0])).tolist() == order:
            return f"{where} another seed gives the same order."
        if state is None:
            return f"{where} the state is None: the next epoch would begin again."

        kept = _through_a_file(state)
        orders = [order]
        for _ in range(3):
            batches, state = answer(images, batch_size, seed, state)
            orders.append(torch.cat(list(batches)).tolist())
        if len({tuple(each) for each in orders}) < len(orders):
            return f"{where} two of four epochs have the same order: the state does not move on."
        torch.manual_seed(11)  # another process, which has drawn other things
        torch.rand(100)
        resumed = torch.cat(list(answer(images, batch_size, seed, kept)[0])).tolist()
        if resumed != orders[1]:
            return f"{where} a run that goes on from the kept state gets another order than one that was left alone."
    return None


def _through_a_file(state: object) -> object:
    """As a checkpoint would give it back: tensors and plain values alone."""
    import io

    import torch

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


CHECKS = {"4.3": _learning_rate, "4.4": _smoothing, "4.5": _follow, "4.6": _order}

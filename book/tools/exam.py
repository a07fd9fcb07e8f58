"""An exam over all chapters, with other numbers for each seed; its answers are computed by eamlib.

    python book/tools/exam.py 7     # _build/exam/exam-7.md, to print, and exam-7-answers.md

The text is `exam.md`, where [[name]] stands for a number of its question. Seed 0 is the exam that the book prints.
"""

import math
import random
import re
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eamlib import convert, cost, create_model
from eamlib.analysis.watch import watch
from eamlib.data.segmentation import iou
from eamlib.functional import dynamic_conv2d
from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention, KernelAttention
from eamlib.layers.convolution import static_conv
from eamlib.models.mobilenet_v2 import InvertedResidual

TEXT = Path(__file__).with_suffix(".md")
FOLDER = Path(__file__).parents[2] / "_build" / "exam"
MINUTES = 90


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(module: nn.Module, channels: int, side: int, *parts: str) -> int:
    counted = cost(module, (channels, side, side)).multiply_adds
    return sum(counted[part] for part in parts or ["convolution"])


def two_halves(draw):
    C, out, k, S = draw([32, 48, 64]), draw([96, 128, 192]), draw([3, 5]), draw([28, 56])
    standard = macs(nn.Conv2d(C, out, k, 2, k // 2, bias=False), C, S)

    def pair(m):
        depthwise = nn.Conv2d(C, m * C, k, 2, k // 2, groups=C, bias=False)
        return macs(nn.Sequential(depthwise, nn.Conv2d(m * C, out, 1, bias=False)), C, S)

    multiplier = next(m for m in range(1, 100) if pair(m) >= standard)
    given = {"C": C, "out": out, "k": k, "S": S, "padding": k // 2, "side": S // 2}
    return given | {"standard": standard, "halves": pair(1), "multiplier": multiplier}


def inverted_residual(draw):
    C, out, S, t = draw([16, 24, 40]), draw([48, 72, 96]), draw([14, 28, 56]), draw([4, 6])
    block = InvertedResidual(C, out, 2, t, conv=static_conv).eval()
    convolutions = {name: layer for name, layer in block.named_modules() if isinstance(layer, nn.Conv2d)}
    with torch.no_grad(), watch(convolutions, keep=lambda name, inputs, output: output.numel()) as maps:
        block(torch.zeros(1, C, S, S))
    given = {"C": C, "out": out, "S": S, "t": t, "hidden": t * C, "side": S // 2}
    return given | {"parameters": parameters(block), "macs": macs(block, C, S), "bytes": 4 * max(maps.values())[0]}


def training(draw):
    images, batch, epochs = draw([50_000, 60_000]), draw([112, 128, 192]), draw([20, 30, 40])
    classes = draw([10, 100])
    size = parameters(create_model("mobilenet_v1", num_classes=classes))
    steps = epochs * len(torch.empty(images).split(batch))
    given = {"images": images, "batch": batch, "epochs": epochs, "classes": classes, "parameters": size}
    return given | {"steps": steps, "bytes": 4 * size}


def dynamic(draw):
    C, K, S = draw([96, 128, 192]), draw([4, 6, 8]), draw([7, 14])
    layer = DynamicConv2d(C, C, 1, num_kernels=K)
    more = macs(layer, C, S, "attention", "aggregation")
    return {"C": C, "K": K, "S": S, "hidden": C // 4, "parameters": parameters(layer), "macs": more}


def dynet(draw):
    C, g = draw([48, 64, 96]), draw([3, 4, 6])
    layer = DyNetConv2d(C, C, 1, group_size=g)
    maps, kernel = layer.weight.shape[0], layer.weight.numel() // g
    places = next(P for P in range(1, 10_000) if maps * P > kernel)
    more = macs(layer, C, 7, "attention", "aggregation")
    return {"C": C, "g": g, "parameters": parameters(layer), "macs": more, "places": places}


def ways(draw):
    B, K, C, out, S = draw([8, 16, 32]), draw([2, 4, 8]), draw([64, 128]), draw([128, 256]), draw([2, 4])

    def multiplications(strategy, kernels):
        operands = torch.zeros(B, C, S, S), torch.zeros(kernels, out, C, 1, 1), torch.zeros(B, kernels)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            dynamic_conv2d(*operands, strategy=strategy)
        return counter.get_flop_counts()["Global"]

    products = [n for op, n in multiplications("fuse", K).items() if "conv" in str(op)]
    given = {"B": B, "K": K, "C": C, "out": out, "S": S, "places": S * S, "mixed": B * C * out * 4 / 2**20}
    return given | {"first": sum(multiplications("bmm", K).values()) // 2, "products": sum(products) // 2}


def four_channels(draw):
    C, K, (n, p, h) = draw([128, 256, 512]), draw([4, 8]), draw([(4, 5, 10), (4, 3, 10), (2, 5, 16), (8, 3, 8)])
    eam = parameters(EAMAttention(C, K, channels=n, output_size=p, hidden=h))
    with torch.device("meta"):
        crossing = next(c for c in range(4, 4096, 4) if parameters(KernelAttention(c, K)) > eam)
    given = {"C": C, "K": K, "n": n, "p": p, "h": h, "hidden": C // 4}
    return given | {"usual": parameters(KernelAttention(C, K)), "eam": eam, "crossing": crossing}


def figures(draw):
    (n, p), images, accuracy = draw([(4, 5), (4, 3), (2, 5), (8, 3)]), draw([2_500, 10_000]), draw([80, 90])

    def total(h):
        options = {"channels": n, "output_size": p, "hidden": h}
        return parameters(create_model("mobilenet_v1", "eam-rcr", num_classes=100, **options))

    ten, step = total(10), total(11) - total(10)
    printed = f"{ten / 1e6:.2f}"
    survivors = [h for h in range(1, 100) if f"{(ten + (h - 10) * step) / 1e6:.2f}" == printed]
    error = 100 * math.sqrt(accuracy / 100 * (1 - accuracy / 100) / images)
    given = {"n": n, "p": p, "images": images, "accuracy": accuracy, "total": ten, "printed": printed}
    return given | {"step": step, "survivors": ", ".join(map(str, survivors)), "error": error}


def your_own(draw):
    C, out = draw([32, 64]), draw([64, 128])
    before = nn.Sequential(nn.Conv2d(C, out, 3, padding=1, bias=False))
    after = parameters(convert(before, "eam-rcr", where=lambda *_: True))
    counts = torch.tensor([[draw(range(40, 91)) if i == j else draw(range(2, 21)) for j in range(3)] for i in range(3)])
    right, all_of_it = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
    return {
        "C": C,
        "out": out,
        "parameters": after,
        "copies": 3 * parameters(before),
        "matrix": "; ".join(", ".join(map(str, row)) for row in counts.tolist()),
        "each": ", ".join(f"{a}/{b}" for a, b in zip(right.tolist(), all_of_it.tolist(), strict=True)),
        "iou": 100 * iou(counts).mean().item(),
    }


QUESTIONS = two_halves, inverted_residual, training, dynamic, dynet, ways, four_channels, figures, your_own


def numbers(seed: int) -> list[dict]:
    """The numbers of each question, those of its answers among them."""
    draw = random.Random(seed).choice
    return [question(draw) for question in QUESTIONS]


def exam(seed: int, *, answers: bool) -> str:
    """The exam as Markdown, with the answers folded away or without them."""
    text = TEXT.read_text(encoding="utf-8")
    if not answers:
        text = re.sub(r"<details>.*?</details>\n+", "", text, flags=re.DOTALL)
    questions = re.split(r"(?=^\*\*\d+\. )", text, flags=re.MULTILINE)[1:]
    filled = []
    for question, values in zip(questions, numbers(seed), strict=True):
        filled.append(re.sub(r"\[\[(\w+):?(.*?)\]\]", lambda slot, v=values: format(v[slot[1]], slot[2]), question))
    return "".join(filled)


def points() -> int:
    return sum(int(number) for number in re.findall(r"^\*\*\d+\. .*\((\d+) points", TEXT.read_text("utf-8"), re.M))


def write(seed: int, folder: Path = FOLDER) -> list[Path]:
    """Write the questions, and apart from them the questions with answers."""
    head = f"# Exam {seed}\n\n{MINUTES} minutes, {points()} points. Name:\n\n"
    texts = {f"exam-{seed}.md": exam(seed, answers=False), f"exam-{seed}-answers.md": exam(seed, answers=True)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(head + text, encoding="utf-8")
    return [folder / name for name in texts]


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or not arguments[0].isdecimal():
        sys.exit("usage: make exam SEED=7, with an integer of at least 0")
    print(*write(int(arguments[0])), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])

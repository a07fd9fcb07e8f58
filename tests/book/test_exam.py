"""The exam of `make exam`: its numbers, its variants, its minutes, a bank of one's own, and how it is written."""

import math
import re
from functools import cache
from itertools import combinations

import chromium
import exam
import pypdf
import pytest
from browser import NoBrowser
from conftest import ROOT
from exam import BadBank
from exercises import KINDS

READ = cache(exam.read)


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    monkeypatch.setattr(exam, "read", READ)


BANK = """# Padding (chapter 01)

```python
n = draw([5, 7, 9])
same = n // 2
```

A kernel has [[n]] × [[n]] places.

## a: count

Which padding keeps the size?

### Answer

[[same]].

## b: reason

Why are kernels odd?

### Answer

- 2: Both reasons.
- 1: One.
- 0: None.
"""


@pytest.fixture
def bank(tmp_path):
    def write(text):
        file = tmp_path / "bank.md"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.mark.parametrize("seed", [0, 7])
def test_the_answers_of_an_exam_are_what_its_formulas_give(seed):
    """The library counts them by building the layers; here they are counted on paper."""
    numbers = [exam.values(question, seed) for question in exam.read(exam.TEXT)]
    halves, residual, training, dynamic, dynet, ways, four, figures, own, _ = numbers

    C, out, k, side = (halves[name] for name in ("C", "out", "k", "side"))
    assert side == (halves["S"] + 2 * halves["padding"] - k) // 2 + 1
    assert halves["standard"] == k * k * C * out * side**2
    assert halves["halves"] == side**2 * C * (k * k + out)
    assert halves["multiplier"] == math.ceil(1 / (1 / out + 1 / k**2))

    C, out, S, t = (residual[name] for name in ("C", "out", "S", "t"))
    wide = t * C
    assert residual["size"] == C * wide + 9 * wide + wide * out + 2 * (2 * wide + out)
    assert residual["multiply_adds"] == S * S * C * wide + (S // 2) ** 2 * (9 * wide + wide * out)
    assert residual["largest"] == 4 * wide * S * S

    assert training["steps"] == training["epochs"] * math.ceil(training["images"] / training["batch"])
    assert training["images"] % training["batch"], "the last batch of an epoch is said to be smaller"
    assert training["size"] == 3_206_976 + 1025 * training["classes"]
    assert (training["kept"], training["gradients"]) == (4 * training["size"], 2 * training["size"])

    C, K = dynamic["C"], dynamic["K"]
    assert dynamic["size"] == K * C * C + C * (C // 4) + C // 4 * K + K
    assert dynamic["more"] == dynamic["size"] - K
    assert dynamic["stored"] == 4 * K * C * C

    C, g = dynet["C"], dynet["g"]
    assert dynet["size"] == 2 * g * C * C + g * C
    assert dynet["more"] == 2 * g * C * C
    assert dynet["places"] == C // g + 1

    B, K, C, out, S = (ways[name] for name in ("B", "K", "C", "out", "S"))
    assert ways["first"] == B * C * out * (S * S + K)
    assert ways["products"] == K * B * C * out * S * S
    assert ways["mixed"] * 2**20 == 4 * B * C * out

    C, K, n, p, h = (four[name] for name in ("C", "K", "n", "p", "h"))
    assert four["usual"] == C * C // 4 + C // 4 * K + K
    assert four["eam"] == n * p * p * h + h * K + K
    width = four["crossing"]
    assert width**2 / 4 + K * width / 4 + K > four["eam"] >= (width - 4) ** 2 / 4 + K * (width - 4) / 4 + K

    n, p = figures["n"], figures["p"]
    assert figures["step"] == 26 * (n * p * p + 4)
    low, high = float(figures["printed"]) * 1e6 - 5_000, float(figures["printed"]) * 1e6 + 5_000
    totals = {h: figures["total"] + (h - 10) * figures["step"] for h in range(1, 100)}
    assert figures["allowed"] == [h for h, total in totals.items() if low <= total < high]
    assert 10 in figures["allowed"]
    q = figures["accuracy"] / 100
    assert figures["error"] == pytest.approx(100 * math.sqrt(q * (1 - q) / figures["images"]))

    C, out = own["C"], own["out"]
    assert own["size"] == 4 * 9 * C * out + 4 * 25 * 10 + 10 * 4 + 4
    assert own["added"] == own["copies"] + own["attention"] == own["size"] - 9 * C * out
    counts = [[int(n) for n in row.split(", ")] for row in own["matrix"].split("; ")]
    shares = [counts[i][i] / (sum(counts[i]) + sum(row[i] for row in counts) - counts[i][i]) for i in range(3)]
    assert own["mean_iou"] == pytest.approx(100 * sum(shares) / 3)
    assert own["each"].count("/") == 3


def test_every_part_has_another_question_and_another_answer_for_another_seed():
    for question in exam.read(exam.TEXT):
        for letter in question.parts:
            shown = []
            for seed in 6, 7, 8:
                part, numbers = exam.variant(seed, question, letter), exam.values(question, seed)
                both = (question.text + part.text, part.answer)
                shown.append([exam.filled(text, numbers, question.file, part.line) for text in both])
            for (one, its_answer), (other, others_answer) in combinations(shown, 2):
                assert one != other
                assert its_answer != others_answer, f"{question.title}, ({letter})"


def test_an_exam_takes_ninety_minutes_at_the_rates_of_the_exercises():
    rates = {name: kind.minutes / kind.points for name, kind in KINDS.items()}
    minutes = {1: rates["count"], 2: 2 * rates["design"]}
    for seed in range(12):
        asked = exam.drawn(seed)
        kinds = [variants[0].kind for question in asked for variants in question.parts.values()]
        proofs = [kind for kind in kinds if kind.exercise == "prove"]
        others = [minutes[kind.points] for kind in kinds if kind.exercise != "prove"]
        assert sum(others) + len(proofs) * KINDS["prove"].minutes == 90 == exam.MINUTES
    assert len({tuple(question.title for question in exam.drawn(seed)) for seed in range(12)}) > 6


def test_answers_lie_apart_and_every_read_one_has_a_key(tmp_path):
    asked = exam.drawn(7)
    questions, answers = (path.read_text(encoding="utf-8") for path in exam.write(7, tmp_path))
    parts = [exam.variant(7, question, letter) for question in asked for letter in question.parts]
    assert answers.count("<summary>Solution</summary>") == len(parts) == questions.count('<div class="room"')
    assert "[[" not in answers
    assert "Solution" not in questions
    for points in 2, 1, 0:
        assert answers.count(f"\n- {points}: ") == sum(part.kind.points == 2 for part in parts)
        assert f"\n- {points}: " not in questions
    points = sum(map(int, re.findall(r"\*\((\d) points?\)\*$", questions, flags=re.MULTILINE)))
    assert f"90 minutes, {points} points." in questions
    assert "cheat sheet is not allowed" in questions
    assert "cheat sheet is allowed" in exam.write(7, tmp_path, sheet=True)[0].read_text(encoding="utf-8")


def test_all_questions_of_a_bank_are_asked_and_the_books_fill_the_time(bank, tmp_path):
    file = bank(
        BANK
        + BANK.replace("Padding", "Kernels")
        .replace("a: count", "a: prove", 1)
        .replace("[[same]].", "- 2: All.\n- 1: Half.\n- 0: Nothing.")
    )
    asked = exam.drawn(7, file)
    assert [question.title for question in asked[-2:]] == ["Padding (chapter 01)", "Kernels (chapter 01)"]
    assert 90 - 15 < sum(question.minutes for question in asked) <= 90
    questions, answers = (path.read_text(encoding="utf-8") for path in exam.write(7, tmp_path, bank=file))
    assert "(a) Which padding keeps the size? *(1 point)*" in questions
    n, _ = re.findall(r"A kernel has (\d) × \1 places\.", questions)
    assert f"\n{int(n) // 2}.\n" in answers
    assert "n = draw" not in questions


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        (BANK, "", 1, "no question; one begins with '# Title'"),
        ("# Padding", "Hello\n# Padding", 1, "text above the first question"),
        ("a: count", "a: essay", 10, "'## a: essay' cannot stand here; allowed are '# Title', under it"),
        ("## a: count", "### Answer", 10, "'### Answer' cannot stand here"),
        ("# Padding (chapter 01)", "## a: count", 1, "'## a: count' cannot stand here"),
        (BANK[BANK.index("## a") :], "", 1, "no part; allowed is '## a: count | reason | prove'"),
        ("b: reason", "a: reason", 18, "not of the kind of the other part a in line 10"),
        ("Why are kernels odd?", "", 18, "needs a text"),
        ("[[same]].", "", 10, "under '### Answer' another one"),
        ("- 1: One.\n", "", 18, "three lines that begin with '- 2: ', '- 1: ' and '- 0: '"),
        ("[[same]]", "[[other]]", 10, "[[other]] is no name that the question's Python gives"),
        ("[[same]]", "[[same:q]]", 10, "[[same:q]] cannot be written"),
        ("n // 2", "n // 0", 5, "ZeroDivisionError"),
        ("n // 2", "n //", 5, "SyntaxError"),
    ],
)
def test_a_bad_bank_is_named_before_anything_is_written(old, new, line, what, bank, tmp_path, monkeypatch):
    assert old in BANK
    file = bank(BANK.replace(old, new, 1))
    monkeypatch.setattr(exam, "FOLDER", tmp_path / "exam")
    with pytest.raises(BadBank, match=f"^{re.escape(str(file))}, line {line}: .*{re.escape(what)}"):
        exam.write(7, tmp_path / "exam", bank=file)
    assert not (tmp_path / "exam").exists()


def test_a_bank_that_is_not_there_or_too_long_is_named(bank, tmp_path):
    with pytest.raises(BadBank, match="nowhere.md, line 1: cannot be read"):
        exam.drawn(7, tmp_path / "nowhere.md")
    with pytest.raises(BadBank, match="take 105 minutes; allowed are 90"):
        exam.drawn(7, bank(BANK * 7))


def test_the_bank_that_the_guide_shows_is_one(bank):
    guide = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^````text\n(.*?)^````$", guide, flags=re.DOTALL | re.MULTILINE)
    [question] = exam.read(bank(shown))
    assert question.minutes == 15


def test_variants_of_a_part_need_not_stand_together(bank):
    [question] = exam.read(bank(BANK + "\n## a: count\n\nHow many places?\n\n### Answer\n\n[[n]]².\n"))
    assert [[part.line for part in variants] for variants in question.parts.values()] == [[10, 28], [18]]


@pytest.mark.parametrize("arguments", [[], ["seven"], ["-7"], ["7", "8"]])
def test_an_exam_needs_a_seed(arguments, capsys):
    with pytest.raises(SystemExit):
        exam.main(arguments)
    assert "usage: make exam SEED=7" in capsys.readouterr().err


def test_without_a_browser_the_markdown_stays(tmp_path, monkeypatch, capsys):
    def nothing_to_print_with(files):
        raise NoBrowser("Install one.")

    files = [tmp_path / "exam-7.md"]
    monkeypatch.setattr(exam, "write", lambda *arguments, **options: files)
    monkeypatch.setattr(exam, "on_paper", nothing_to_print_with)
    exam.main(["7"])
    assert capsys.readouterr().out.splitlines() == [
        str(files[0]),
        "Not printed as PDF; the Markdown is there. Install one.",
    ]


@chromium.NEEDED
def test_it_prints_with_room_for_answers_and_with_formulas(tmp_path):
    file = tmp_path / "exam.md"
    room = '<div class="room" style="height: 105mm"></div>\n\n'
    file.write_text("# Exam\n\n" + f"(a) Prove it.\n\n{room}" * 3 + "It is $x^2$.\n", encoding="utf-8")
    [paper] = exam.on_paper([file])
    pages = pypdf.PdfReader(paper).pages
    assert len(pages) == 2  # two rooms of 105 mm fit on the first
    assert [page.extract_text().count("Prove it.") for page in pages] == [2, 1]
    assert "$" not in pages[1].extract_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exam.md", "exam.pdf"]

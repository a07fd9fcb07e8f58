import ctypes
import os
import subprocess
import sys

import pytest
import torch

from eamlib import tiled


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library loaded yet, and an empty cache folder, which is returned."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EAMLIB_TILED", raising=False)
    tiled._library.cache_clear()
    yield tmp_path / "eamlib"
    tiled._library.cache_clear()


def operands(dtype=torch.double, batch=3, kernels=4, rows=26, columns=70, pixels=37):
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, columns, pixels), (kernels, rows, columns), (batch, kernels)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def needs_compiler():
    if reason := tiled.why_not(torch.zeros(1)):
        pytest.skip(f"tiled: {reason}")


# Numbers of pixels below, at and above the lanes of a vector; rows, columns and samples that fill no tile.
@pytest.mark.parametrize("pixels", [1, 3, 4, 7, 8, 15, 16, 17, 49, 130, 300])
@pytest.mark.parametrize(
    ("batch", "kernels", "rows", "columns"), [(1, 1, 1, 1), (2, 4, 25, 33), (40, 3, 9, 5), (3, 2, 13, 300)]
)
def test_equals_two_products_forward_and_backward(batch, kernels, rows, columns, pixels):
    needs_compiler()
    input, weight, attention = operands(batch=batch, kernels=kernels, rows=rows, columns=columns, pixels=pixels)
    expected = torch.einsum("bk,koc,bcp->bop", attention, weight, input)
    found = tiled.mixed_matmul(input, weight, attention)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (input, weight, attention), gradient),
        torch.autograd.grad(expected, (input, weight, attention), gradient),
        rtol=1e-10,
        atol=1e-10,
    )


def test_results_do_not_depend_on_the_threads():
    needs_compiler()
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            leaves = operands(torch.float32, batch=35)
            output = tiled.mixed_matmul(*leaves)
            results.append((output, *torch.autograd.grad(output.sin().sum(), leaves)))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


def test_gradients_of_gradients():
    needs_compiler()
    leaves = operands(rows=3, columns=5, pixels=4)
    assert torch.autograd.gradgradcheck(tiled.mixed_matmul, leaves)


def test_compiled_once_and_kept(fresh):
    needs_compiler()
    made = list(fresh.iterdir())
    assert [path.suffix for path in made] == [".so"]
    stamp = made[0].stat().st_mtime_ns
    tiled._library.cache_clear()
    assert isinstance(tiled._library("float"), ctypes.CDLL)
    assert [path.stat().st_mtime_ns for path in fresh.iterdir()] == [stamp]


def test_cache_folder_that_cannot_be_written(fresh, monkeypatch):
    needs_compiler()
    tiled._library.cache_clear()
    fresh.parent.joinpath("file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh.parent / "file"))
    assert tiled.why_not(torch.zeros(1)) is None


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("EAMLIB_TILED", "0", "EAMLIB_TILED=0 forbids it"),
        ("CC", "no-such-compiler", "there is no C compiler 'no-such-compiler'"),
        ("CC", "false", "compiling it failed"),
    ],
)
def test_without_a_compiler_it_says_why_and_auto_goes_on(fresh, monkeypatch, variable, value, reason):
    monkeypatch.setenv(variable, value)
    assert reason in tiled.why_not(torch.zeros(1))
    from eamlib.functional import dynamic_conv2d

    given = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 3, 1, 1), torch.rand(2, 2)
    torch.testing.assert_close(dynamic_conv2d(*given), dynamic_conv2d(*given, strategy="loop"))
    with pytest.raises(ValueError, match=reason):
        dynamic_conv2d(*given, strategy="tiled")


def test_two_processes_compile_at_once(fresh):
    needs_compiler()
    code = "import torch; from eamlib import tiled; assert tiled.why_not(torch.zeros(1)) is None"
    for path in fresh.iterdir():
        path.unlink()
    runs = [subprocess.Popen([sys.executable, "-c", code], env=os.environ) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert [path.suffix for path in fresh.iterdir()] == [".so"]

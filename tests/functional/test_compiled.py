"""The library's C, compiled and kept where nobody else can change it."""

import ctypes
import logging
import os
import subprocess
import sys

import pytest
import torch

from eamlib.functional import compiled, dynamic_conv2d, tiled


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library loaded yet, and an empty cache folder, which is returned."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EAMLIB_TILED", raising=False)
    forget()
    yield tmp_path / "eamlib"
    forget()


@pytest.fixture
def small(fresh, monkeypatch, tmp_path):
    """Instead of the library one that does nothing, which is compiled at once; the cache folder is returned."""
    source = tmp_path / "nothing.c"
    source.write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in compiled._FUNCTIONS))
    monkeypatch.setattr(compiled, "_SOURCES", (source,))
    return fresh


def forget():
    compiled.library.cache_clear()
    compiled._missed.cache_clear()


def made(folder):
    """The one library that there is, made if there is none."""
    forget()
    found = compiled.library("float")
    if isinstance(found, str):
        pytest.skip(found)
    (path,) = folder.iterdir()
    return path


def test_compiled_once_and_kept(small):
    path = made(small)
    stamp = path.stat().st_mtime_ns
    assert path.suffix == ".so" and small.stat().st_mode & 0o777 == 0o700
    assert made(small) == path and path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),
        lambda content: b"",
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
    ],
)
def test_what_was_cut_short_or_changed_is_made_anew(small, harm):
    path = made(small)
    whole = path.read_bytes()
    path.unlink()  # this process has it in memory still
    path.write_bytes(harm(whole))
    assert compiled._checksum(made(small).read_bytes()) in made(small).name


def test_a_file_that_others_may_write_or_that_is_a_link_is_made_anew(small, tmp_path):
    path = made(small)
    path.chmod(0o666)
    assert not made(small).stat().st_mode & 0o022
    elsewhere = tmp_path / "elsewhere.so"
    path = made(small).rename(elsewhere) and path
    path.symlink_to(elsewhere)
    assert not made(small).is_symlink()


def test_a_folder_of_another_user_is_not_used(small, monkeypatch):
    made(small)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    forget()
    assert isinstance(compiled.library("float"), ctypes.CDLL)
    assert [path.suffix for path in compiled._cache_of_this_process().iterdir()] == [".so"]


def test_a_folder_that_others_may_write_to_is_closed(small):
    made(small)
    small.chmod(0o777)
    made(small)
    assert small.stat().st_mode & 0o777 == 0o700


def test_without_a_cache_folder_nothing_stays_behind(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "scratch").mkdir()
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from eamlib.functional import compiled; print(type(compiled.library('float')).__name__)",
        ],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "scratch")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() in ("CDLL", "str")
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("EAMLIB_TILED", "0", "EAMLIB_TILED=0 forbids it"),
        ("CC", "no-such-compiler", "there is no C compiler 'no-such-compiler'"),
        ("CC", "false", "compiling it failed"),
    ],
)
def test_without_a_compiler_it_says_why_once_and_auto_goes_on(fresh, monkeypatch, caplog, variable, value, reason):
    monkeypatch.setenv(variable, value)
    given = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 3, 1, 1), torch.rand(2, 2)
    with caplog.at_level(logging.INFO, "eamlib"):
        for _ in range(2):
            torch.testing.assert_close(dynamic_conv2d(*given), dynamic_conv2d(*given, strategy="loop"))
            assert reason in tiled.why_not(torch.zeros(1))
    # What was forbidden need not be said.
    assert [reason in line for line in caplog.messages] == ([True] if variable == "CC" else [])
    with pytest.raises(ValueError, match=reason):
        dynamic_conv2d(*given, strategy="tiled")


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_on_another_system_the_other_ways_serve(fresh, monkeypatch, system):
    """Windows has neither users by number nor, mostly, a compiler; Apple's knows neither OpenMP nor -march=native."""
    if system == "win32":
        monkeypatch.delattr(os, "getuid")
        monkeypatch.setenv("PATH", "")
    else:
        plain = fresh.parent / "cc"
        plain.write_text('#!/bin/sh\ncase "$*" in *native*|*openmp*) exit 1;; esac\nexec /usr/bin/env cc "$@"\n')
        plain.chmod(0o755)
        monkeypatch.setenv("CC", str(plain))
    given = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 3, 1, 1), torch.rand(2, 2)
    torch.testing.assert_close(dynamic_conv2d(*given), dynamic_conv2d(*given, strategy="loop"))
    if system == "darwin" and tiled.why_not(given[0]) is None:
        torch.testing.assert_close(
            dynamic_conv2d(*given, strategy="tiled"), dynamic_conv2d(*given, strategy="loop"), rtol=1e-4, atol=1e-5
        )


def test_two_processes_compile_at_once(small, tmp_path):
    made(small).unlink()
    code = (
        "from pathlib import Path; from eamlib.functional import compiled; compiled._SOURCES = (Path('nothing.c'),); "
        "assert not isinstance(compiled.library('float'), str)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert {path.suffix for path in small.iterdir()} == {".so"}

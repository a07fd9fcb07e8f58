import numpy as np
import pytest
from PIL import Image

from eamlib.data.decoded import decoded, rgb


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 200, [200, 200, 200]),
        ("1", 1, [255, 255, 255]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 0), [1, 2, 3]),
        ("LA", (7, 0), [7, 7, 7]),
        ("P", 0, [0, 0, 0]),
        ("I;16", 257 * 200, [200, 200, 200]),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, value, expected):
    path = tmp_path / "image.png"
    if mode == "I;16":
        Image.fromarray(np.full((4, 5), value, np.uint16)).save(path)
    else:
        Image.new(mode, (5, 4), value).save(path)
    pixels = rgb(path)
    assert pixels.shape == (4, 5, 3) and pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == expected and (pixels == pixels[0, 0]).all()


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "image.png"
    with pytest.raises(ValueError, match=r"image.png cannot be read: truncated or no image"):
        rgb(path)
    path.write_text("no image")
    with pytest.raises(ValueError, match=r"image.png cannot be read: truncated or no image"):
        rgb(path)


def test_a_changed_file_is_decoded_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("EAMLIB_DATA", str(tmp_path))
    path = tmp_path / "image.png"
    for shade in (10, 2_000 // 9):
        Image.new("L", (8, 8), shade).save(path)
        assert decoded("shades", [path], 8)[0, 0, 0, 0] == shade


def test_nothing_half_written_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("EAMLIB_DATA", str(tmp_path))
    Image.new("L", (8, 8)).save(tmp_path / "image.png")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert decoded("shades", [tmp_path / "image.png"], 8).shape == (1, 3, 8, 8)
    assert not list((tmp_path / "decoded").iterdir())

import pytest
import torch
import torch.nn.functional as F

from eamlib.data.augmentation import augment


def noise(*shape, dtype=torch.uint8):
    pixels = torch.randint(256, shape, generator=torch.Generator().manual_seed(0))
    return pixels.to(torch.uint8) if dtype == torch.uint8 else (pixels / 255).to(dtype)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def crops_and_flips(image, pad):
    """Everything that may become of one image, by place and flip: the definition, taken literally."""
    _, height, width = image.shape
    padded = F.pad(image[None].double(), (pad, pad, pad, pad), mode="reflect")[0].to(image.dtype)
    for down in range(2 * pad + 1):
        for right in range(2 * pad + 1):
            crop = padded[:, down : down + height, right : right + width]
            yield (down, right, 0), crop
            yield (down, right, 1), crop.flip(2)


def drawn(images, result, pad):
    """How each image was cropped and flipped, found by comparison with all the ways."""
    return [
        next(place for place, candidate in crops_and_flips(before, pad) if torch.equal(candidate, after))
        for before, after in zip(images, result, strict=True)
    ]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("shape", "pad"), [((12, 12), 4), ((9, 14), 3), ((14, 9), 8), ((6, 5), 0), ((1, 1), 0)])
def test_each_image_is_one_of_its_crops(shape, pad, dtype):
    images = noise(20, 3, *shape, dtype=dtype)
    before = images.clone()
    result = augment(images, pad=pad, generator=seeded())
    assert result.shape == images.shape and result.dtype == dtype and torch.equal(images, before)
    assert len(drawn(images, result, pad)) == 20


def test_every_crop_and_flip_is_as_likely():
    images = noise(1, 3, 8, 8).expand(9000, -1, -1, -1)
    result = augment(images, pad=1, generator=seeded())
    counts = torch.tensor([(result == way).all(3).all(2).all(1).sum() for _, way in crops_and_flips(images[0], 1)])
    assert counts.sum() == 9000
    # Chi-squared with 17 degrees of freedom exceeds 40.8 once in a thousand.
    assert (counts - 500).square().sum() / 500 < 40.8


def test_images_are_drawn_for_one_by_one():
    images = noise(50, 3, 12, 12)
    assert len(set(drawn(images, augment(images, generator=seeded()), 4))) > 30


def test_nothing_asked_for_is_nothing_done():
    images = noise(10, 3, 12, 9)
    assert torch.equal(augment(images, pad=0, flip=False), images)
    places = drawn(images, augment(images, pad=3, flip=False, generator=seeded()), 3)
    assert {flipped for _, _, flipped in places} == {0}


def test_a_generator_decides():
    images = noise(30, 3, 10, 10)
    first, again, other = (augment(images, cutout=4, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(1)
    assert torch.equal(first, augment(images, cutout=4))  # torch's own, where none is given


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("cutout", [1, 4, 5, 9])
def test_cutout_covers_a_square_with_the_mean(cutout, dtype):
    images = noise(2000, 3, 9, 12, dtype=dtype)
    images[:, 0] //= 2 if dtype == torch.uint8 else 1  # so that the channels differ
    whole, cut = (augment(images, pad=2, cutout=size, generator=seeded()) for size in (0, cutout))
    mean = images.double().mean((0, 2, 3))
    mean = (mean.round() if dtype == torch.uint8 else mean).to(dtype)
    covered = torch.isclose(cut.float(), mean.float()[:, None, None], atol=1e-6).all(1)
    assert torch.equal(whole[(~covered)[:, None].expand_as(whole)], cut[(~covered)[:, None].expand_as(cut)])
    places = set()
    for hole in covered:
        rows, columns = (hole.any(side).nonzero().flatten().tolist() for side in (1, 0))
        assert hole.sum() == len(rows) * len(columns)  # one rectangle
        for edge, size in ((rows, 9), (columns, 12)):
            assert len(edge) == cutout or (len(edge) >= cutout // 2 and (edge[0] == 0 or edge[-1] == size - 1))
        places.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert len(places) > 60  # of the 108 centres, for cutout = 9 some give the same square


def test_grey_images_with_one_channel_in_memory_and_empty_batches():
    images = noise(5, 1, 8, 8).expand(-1, 3, -1, -1)
    result = augment(images, pad=2, cutout=3, generator=seeded())
    assert torch.equal(result[:, 0], result[:, 2])
    assert augment(images[:0], cutout=2).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels_moves_as_one(channels):
    images = noise(5, 1, 8, 8).expand(-1, channels, -1, -1)
    result = augment(images, pad=2, generator=seeded())
    assert result.shape == images.shape and (result == result[:, :1]).all()
    assert torch.equal(result[:, 0], augment(images[:, :1].expand(-1, 3, -1, -1), pad=2, generator=seeded())[:, 0])


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.zeros(3, 8, 8), {}, r"images has shape \[3, 8, 8\]; allowed is \[B, C, H, W\]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), {}, "images are of torch.int64; allowed are uint8 and floating"),
        (torch.zeros(2, 3, 8, 6), {"pad": 6}, "pad = 6 must be an integer from 0 to 5"),
        (torch.zeros(2, 3, 8, 8), {"pad": -1}, "pad = -1"),
        (torch.zeros(2, 3, 8, 8), {"pad": 2.0}, "pad = 2.0"),
        (torch.zeros(2, 3, 8, 6), {"cutout": 7}, "cutout = 7 must be an integer from 0 to 6"),
        (torch.zeros(2, 3, 8, 8), {"cutout": True}, "cutout = True"),
    ],
)
def test_bad_input_is_named(images, options, message):
    with pytest.raises(ValueError, match=message):
        augment(images, **options)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cuda_does_what_the_cpu_does(dtype):
    images = noise(100, 3, 32, 32, dtype=dtype)
    cpu, gpu = (augment(images.to(d), cutout=8, generator=seeded()) for d in ("cpu", "cuda"))
    assert gpu.is_cuda
    torch.testing.assert_close(cpu, gpu.cpu())  # the mean's last bit may differ
    own = augment(images.cuda(), generator=torch.Generator("cuda").manual_seed(1))
    assert own.is_cuda and own.shape == images.shape

import pytest
import torch
from torch.utils.data import DataLoader

from eamlib import data
from eamlib.data import segmentation

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def few():
    return segmentation.load("digits", 40)


def test_images_and_masks_fit(few):
    assert few.images.shape == (40, 3, 64, 64) and few.images.dtype == torch.uint8
    assert few.masks.shape == (40, 64, 64) and few.masks.dtype == torch.int64
    assert few.classes == ("background", *"0123456789") and len(few) == 40
    assert few.masks.min() == 0 and few.masks.max() <= 10
    # Something is pasted on every image, one or two digits of it.
    kinds = [len(mask[mask > 0].unique()) for mask in few.masks]
    assert min(kinds) == 1 and max(kinds) == 2


def test_the_same_seed_gives_the_same_set(few):
    again = segmentation.load("digits", 40)
    assert torch.equal(few.images, again.images) and torch.equal(few.masks, again.masks)
    assert not torch.equal(few.masks, segmentation.load("digits", 40, seed=1).masks)
    # And it does not touch the global generator.
    torch.manual_seed(0)
    before = torch.get_rng_state()
    segmentation.load("digits", 2)
    assert torch.equal(before, torch.get_rng_state())


def test_training_and_test_images_share_no_photographed_pixel():
    left, right = segmentation._photographs(True), segmentation._photographs(False)
    for a, b in zip(left, right, strict=True):
        assert a.shape[:2] == b.shape[:2] == (3, 427) and a.shape[2] + b.shape[2] == 640
        assert min(a.shape[1:] + b.shape[1:]) > 128, "a crop of 128 pixels must fit"


def test_training_and_test_images_share_no_place(few):
    test = segmentation.load("digits", 40, train=False)
    boxes = [{tuple((m > 0).nonzero().flatten().tolist()) for m in s.masks} for s in (few, test)]
    assert not boxes[0] & boxes[1]


def test_a_mask_is_the_shape_of_its_object():
    """With one object an image, every object pixel is of one class, and a class's shapes look like its digits."""
    dataset = segmentation.load("digits", 60, max_objects=1, size=48)
    assert dataset.images.shape[2:] == (48, 48)
    for mask in dataset.masks:
        assert len(mask.unique()) == 2
        rows, columns = ((mask > 0).any(axis).sum().item() for axis in (1, 0))
        assert rows <= 42 and columns <= 42, "objects are at most 7/8 of the image"


def test_fewer_classes():
    dataset = segmentation.load("digits", 30, classes=3)
    assert dataset.classes == ("background", "0", "1", "2")
    assert set(dataset.masks.unique().tolist()) == {0, 1, 2, 3}


def test_a_data_loader_takes_a_set(few):
    images, masks = next(iter(DataLoader(few, batch_size=4)))
    assert images.shape == (4, 3, 64, 64) and images.min() >= 0 and images.max() <= 1
    assert torch.equal(masks, few.masks[:4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objects": "digit"}, "Did you mean 'digits'"),
        ({"objects": "imagenet100"}, "objects = 'imagenet100' stays on disk"),
        ({"count": 0}, "count = 0"),
        ({"size": 8}, "size = 8 must be an integer of at least 16"),
        ({"max_objects": 0}, "max_objects = 0"),
        ({"classes": 0}, "classes = 0"),
        ({"classes": 11}, "classes = 11 must be an integer from 1 to 10"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        segmentation.load(**options)


def test_confusion_and_iou_by_hand():
    truth = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 0, 0]])
    prediction = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 0]])
    matrix = segmentation.confusion(prediction, truth, 2)
    assert matrix.tolist() == [[5, 1], [1, 2]]
    torch.testing.assert_close(segmentation.iou(matrix), torch.tensor([5 / 7, 2 / 4]).double())


def test_iou_is_jaccards():
    jaccard_score = pytest.importorskip("sklearn.metrics").jaccard_score
    torch.manual_seed(0)
    prediction, truth = torch.randint(5, (2, 3, 8, 9))
    ours = segmentation.iou(segmentation.confusion(prediction, truth, 5))
    expected = jaccard_score(truth.flatten(), prediction.flatten(), average=None)
    torch.testing.assert_close(ours, torch.from_numpy(expected))


def test_iou_of_many_matrices_and_of_a_class_that_never_occurs():
    matrices = torch.tensor([[[3, 1, 0], [0, 2, 0], [0, 0, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    ious = segmentation.iou(matrices)
    assert ious.shape == (2, 3) and ious[0, 2].isnan() and ious[1].tolist() == [1, 1, 1]
    torch.testing.assert_close(ious.nanmean(-1)[0].item(), (3 / 4 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("prediction", "truth", "classes", "message"),
    [
        (torch.zeros(2, 2).long(), torch.zeros(2, 3).long(), 2, "must agree"),
        (torch.zeros(2, 2), torch.zeros(2, 2).long(), 2, "argmax"),
        (torch.full((2, 2), 2), torch.zeros(2, 2).long(), 2, "from 2 to 2"),
        (torch.zeros(2, 2).long(), torch.full((2, 2), -1), 2, "truth has classes from -1"),
        (torch.zeros(2, 2).long(), torch.zeros(2, 2).long(), 0, "num_classes = 0"),
    ],
)
def test_bad_masks_are_named(prediction, truth, classes, message):
    with pytest.raises(ValueError, match=message):
        segmentation.confusion(prediction, truth, classes)


def test_a_matrix_must_be_square():
    with pytest.raises(ValueError, match="allowed is"):
        segmentation.iou(torch.zeros(2, 3))


def test_objects_come_from_their_own_part(monkeypatch):
    asked = []
    real = data.load
    monkeypatch.setattr(data, "load", lambda name, **options: asked.append(options["train"]) or real(name, **options))
    segmentation.load("digits", 1)
    segmentation.load("digits", 1, train=False)
    assert asked == [True, False]

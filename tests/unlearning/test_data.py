"""In-memory, streamed and joined sets all give the same images."""

import threading
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unlearning.data import (
    Images,
    StreamedImages,
    TensorImages,
    channels_last,
    concatenate,
)
from unlearning.errors import InvalidProblem
from unlearning.testing import toy_images

WHOLE = toy_images(20, channels=3)


def _streamed(load: Callable[[Tensor], Tensor] | None = None, ahead: int = 2) -> StreamedImages:
    return StreamedImages(
        load or (lambda index: WHOLE.images[index]),
        WHOLE.labels,
        WHOLE.num_classes,
        WHOLE.mean,
        WHOLE.std,
        ahead=ahead,
    )


def _joined() -> Images:
    return concatenate(WHOLE.subset(torch.arange(8)), _streamed().subset(torch.arange(8, 20)))


KINDS: dict[str, Callable[[], Images]] = {
    "tensor": lambda: WHOLE,
    "streamed": _streamed,
    "joined": _joined,
    "reordered": lambda: (
        _joined().subset(torch.arange(19, -1, -1)).subset(torch.arange(19, -1, -1))
    ),
}


def test_batches_are_normalised_pixel_by_pixel() -> None:
    batch = WHOLE.batch(torch.tensor([4, 2]))
    for place, index in enumerate([4, 2]):
        for channel in range(3):
            pixels = WHOLE.images[index, channel].double() / 255
            expected = (pixels - WHOLE.mean[channel]) / WHOLE.std[channel]
            torch.testing.assert_close(batch[place, channel].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(index=st.lists(st.integers(0, 19), min_size=1, max_size=25))
def test_every_kind_gives_the_same_images_and_labels(kind: str, index: list[int]) -> None:
    images, wanted = KINDS[kind](), torch.tensor(index)
    expected = WHOLE.batch(wanted)
    assert torch.equal(images.batch(wanted), expected)
    assert torch.equal(next(iter(images.batches([wanted]))), expected)
    subset = images.subset(wanted)
    assert len(subset) == len(index)
    assert torch.equal(subset.labels, WHOLE.labels[wanted])
    assert torch.equal(subset.batch(torch.arange(len(index))), expected)


def test_streaming_yields_in_order_and_loads_only_a_little_ahead() -> None:
    loaded: list[int] = []

    def load(index: Tensor) -> Tensor:
        loaded.append(int(index[0]))
        return WHOLE.images[index]

    batches = _streamed(load).batches([torch.tensor([i]) for i in range(20)])
    for i in range(3):
        assert torch.equal(next(batches), WHOLE.batch(torch.tensor([i])))
    assert max(loaded) <= 3 + 2 + 1  # taken, waiting, in the loader's hands
    batches.close()  # type: ignore[attr-defined]
    assert not any(t.name == "images-load-ahead" for t in threading.enumerate())


def test_error_while_streaming_reaches_the_caller() -> None:
    def load(_index: Tensor) -> Tensor:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        list(_streamed(load).batches([torch.arange(3)]))


def test_subset_is_a_copy() -> None:
    subset = WHOLE.subset(torch.arange(3))
    subset.images.zero_()
    assert WHOLE.images[:3].any()


@pytest.mark.parametrize(
    ("images", "labels", "mean", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2), [0.0], "uint8"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2), [0.0], "uint8"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3), [0.0], "agree"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2), [0.0, 0.0], "agree"),
        (
            torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
            torch.tensor([0, 4]),
            [0.0],
            "labels must lie",
        ),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([-1, 0]), [0.0], "labels must"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, 1), [0.0], "one dimension"),
    ],
)
def test_contradictory_sets_are_refused(
    images: Tensor, labels: Tensor, mean: list[float], message: str
) -> None:
    with pytest.raises(InvalidProblem, match=message):
        TensorImages(images, labels, 4, mean, [1.0] * len(mean))


def test_zero_std_is_refused() -> None:
    with pytest.raises(InvalidProblem, match="std above zero"):
        TensorImages(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1), 2, [0.0], [0.0])


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (1, 1, 2, 2), (3, 2, 4, 5), (2, 3, 1, 1)])
def test_channels_last_keeps_the_values_and_the_layout_is_not_mistaken(
    shape: tuple[int, int, int, int],
) -> None:
    x = torch.rand(shape)
    strides = (shape[1] * shape[2] * shape[3], 1, shape[1] * shape[3], shape[1])
    for layout in (x, x.contiguous(memory_format=torch.channels_last)):
        result = channels_last(layout)
        assert torch.equal(result, x)
        assert result.stride() == strides
    assert channels_last(result).data_ptr() == result.data_ptr()


def test_images_of_one_channel_stay_channels_last_through_a_convolution() -> None:
    seen = torch.nn.Conv2d(1, 4, 3)(channels_last(torch.rand(2, 1, 6, 6)))
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert not seen.is_contiguous()


def test_only_sets_of_one_task_can_be_joined() -> None:
    other = TensorImages(WHOLE.images, WHOLE.labels, 9, WHOLE.mean, WHOLE.std)
    with pytest.raises(InvalidProblem, match="same classes"):
        concatenate(WHOLE, other)

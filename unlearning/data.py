"""Labelled images: held on the device, or streamed when they do not fit.

Pixels stay uint8 until a batch is asked for; a batch is float32 [b, C, H, W], normalised, on the
device. Labels stay on the CPU, where splits and metrics are computed.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from unlearning.errors import InvalidProblem


class Images(Protocol):
    """What training and metrics need of a labelled set of images."""

    @property
    def labels(self) -> Tensor:
        """Labels, int64 [n], on the CPU."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of classes of the whole task, not only of those present."""
        ...

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        ...

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> Tensor:
        """Return the images at `index` (int64 [b]), float32 [b, C, H, W], normalised."""
        ...

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield one batch for each index, loading ahead where loading is slow."""
        ...

    def subset(self, index: Tensor) -> "Images":
        """Return the images at `index` as a set of its own."""
        ...


class _Normalised:
    """Checked labels, and the arithmetic from uint8 to normalised floats on the device."""

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: str | torch.device,
    ) -> None:
        labels = torch.as_tensor(labels).to("cpu", torch.int64)
        if labels.dim() != 1:
            raise InvalidProblem(f"labels must have one dimension, not shape {tuple(labels.shape)}")
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
            raise InvalidProblem(f"labels must lie in 0 … {num_classes - 1}")
        if len(mean) != len(std) or min(std, default=0) <= 0:
            raise InvalidProblem("mean and std must have one entry per channel, std above zero")
        self.labels = labels
        self.num_classes = num_classes
        self.device = torch.device(device)
        self.mean, self.std = tuple(mean), tuple(std)
        scale = torch.tensor(self.std, dtype=torch.float64).reciprocal()
        offset = torch.tensor(self.mean, dtype=torch.float64) * scale
        self._scale = (scale / 255).float().view(-1, 1, 1).to(self.device)
        self._offset = offset.float().view(-1, 1, 1).to(self.device)

    def __len__(self) -> int:
        return len(self.labels)

    def _normalise(self, pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32).mul_(self._scale).sub_(self._offset)


class TensorImages(_Normalised):
    """Images held whole on the device as uint8 [n, C, H, W].

    Raises:
        InvalidProblem: for pixels that are not uint8 of four dimensions, for lengths or channels
            that do not agree, and for labels out of range.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(labels, num_classes, mean, std, device)
        if images.dtype != torch.uint8 or images.dim() != 4:
            raise InvalidProblem("images must be uint8 of shape [n, C, H, W]")
        if len(images) != len(self.labels) or images.shape[1] != len(self.mean):
            raise InvalidProblem("images, labels and mean must agree in number and channels")
        self.images = images.to(self.device)

    def batch(self, index: Tensor) -> Tensor:
        """Return the images at `index`, normalised."""
        return self._normalise(self.images[index.to(self.device, non_blocking=True)])

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield one batch for each index; all of them go to the device in one copy."""
        wanted = list(indices)
        sent = torch.cat([torch.arange(0), *wanted]).to(self.device, non_blocking=True)
        return map(self.batch, torch.split(sent, [len(index) for index in wanted]))

    def subset(self, index: Tensor) -> "TensorImages":
        """Return a copy of the images at `index`."""
        index = index.cpu()
        pixels = self.images[index.to(self.device)]
        labels = self.labels[index]
        return TensorImages(
            pixels, labels, self.num_classes, self.mean, self.std, device=self.device
        )


class StreamedImages(_Normalised):
    """Images fetched when needed by `load`, a few batches ahead in one thread.

    Args:
        load: Returns uint8 [b, C, H, W] for positions int64 [b]; called from one thread at a time
            within a walk. What it raises reaches the caller of `batch` or `batches`.
        positions: Maps this set's index to the positions that `load` knows; all by default.
        ahead: Batches that may wait in memory.
    """

    def __init__(
        self,
        load: Callable[[Tensor], Tensor],
        labels: Tensor,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        device: str | torch.device = "cpu",
        positions: Tensor | None = None,
        ahead: int = 4,
    ) -> None:
        super().__init__(labels, num_classes, mean, std, device)
        self.load = load
        self.ahead = ahead
        self.positions = torch.arange(len(self.labels)) if positions is None else positions.cpu()

    def _fetch(self, index: Tensor) -> Tensor:
        pixels = self.load(self.positions[index.cpu()])
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    def batch(self, index: Tensor) -> Tensor:
        """Return the images at `index`, normalised."""
        return self._normalise(self._fetch(index).to(self.device, non_blocking=True))

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield one batch for each index, loading up to `ahead` of them in advance."""
        for pixels in _load_ahead(self._fetch, indices, self.ahead):
            yield self._normalise(pixels.to(self.device, non_blocking=True))

    def subset(self, index: Tensor) -> "StreamedImages":
        """Return the images at `index`; nothing is loaded."""
        index = index.cpu()
        return StreamedImages(
            self.load,
            self.labels[index],
            self.num_classes,
            self.mean,
            self.std,
            device=self.device,
            positions=self.positions[index],
            ahead=self.ahead,
        )


class _JoinedImages:
    """Two sets one after the other; neither is copied."""

    def __init__(self, first: Images, second: Images) -> None:
        self._first, self._second = first, second
        self.labels = torch.cat([first.labels, second.labels])
        self.num_classes = first.num_classes
        self.device = first.device

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> Tensor:
        index = index.cpu()
        inside = index < len(self._first)
        parts = []
        if inside.any():
            parts.append(self._first.batch(index[inside]))
        if not inside.all():
            parts.append(self._second.batch(index[~inside] - len(self._first)))
        # stable sort: first all members of the first set, then the second, each in order
        order = torch.argsort((~inside).to(torch.uint8), stable=True)
        return torch.cat(parts)[torch.argsort(order).to(self.device, non_blocking=True)]

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        return (self.batch(index) for index in indices)

    def subset(self, index: Tensor) -> Images:
        index = index.cpu()
        inside = index < len(self._first)
        if inside.all():
            return self._first.subset(index)
        if not inside.any():
            return self._second.subset(index - len(self._first))
        return _ReorderedImages(self, index)


class _ReorderedImages:
    """Some images of another set in a given order; nothing is copied."""

    def __init__(self, whole: Images, index: Tensor) -> None:
        self._whole, self._index = whole, index
        self.labels = whole.labels[index]
        self.num_classes = whole.num_classes
        self.device = whole.device

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> Tensor:
        return self._whole.batch(self._index[index.cpu()])

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        return (self.batch(index) for index in indices)

    def subset(self, index: Tensor) -> Images:
        return _ReorderedImages(self._whole, self._index[index.cpu()])


def channels_last(x: Tensor) -> Tensor:
    """Return images [b, C, H, W] in channels-last memory, without a copy where they are in it.

    Of one channel both layouts are the same memory, and torch then keeps the strides that it
    reads as channels-first, in which max-pooling on the CPU takes twelve times as long.
    """
    _, channels, height, width = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    return x.as_strided(x.shape, (channels * height * width, 1, channels * width, channels))


def concatenate(a: Images, b: Images) -> Images:
    """Join two sets of one task, `a` first, without copying pixels.

    Raises:
        InvalidProblem: when the sets differ in number of classes or device.
    """
    if a.num_classes != b.num_classes or a.device != b.device:
        raise InvalidProblem("only sets of the same classes and device can be joined")
    return _JoinedImages(a, b)


def _load_ahead(
    load: Callable[[Tensor], Tensor], indices: Iterable[Tensor], ahead: int
) -> Iterator[Tensor]:
    """Yield load(index) for each index, computed in a thread at most `ahead` results early."""
    ready: queue.Queue[Tensor | BaseException | None] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def offer(item: Tensor | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for index in indices:
                if not offer(load(index)):
                    return
            offer(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            offer(error)

    thread = threading.Thread(target=work, name="images-load-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()

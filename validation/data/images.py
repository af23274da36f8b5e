"""Images as the training loop wants them: by index, whole batches at once."""

from __future__ import annotations

from typing import Protocol

import torch


class Images(Protocol):
    """Labelled images. `N` of them, each `C H W`."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """C H W of every image."""
        ...

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images `B C H W` (float32, normalised) and labels `B` (int64) at `indices` `B`, on the CPU."""
        ...


class InMemory:
    """Images held as bytes. A batch is one gather and one scaling: no workers, no copies between processes."""

    def __init__(
        self, images: torch.Tensor, labels: torch.Tensor, *, mean: float | list[float], std: float | list[float]
    ):
        """
        Args:
            images: `N C H W` uint8.
            labels: `N` int64.
            mean, std: of the training images over 0..255, one number or one per channel.
        """
        self.images, self.labels = images, labels
        # (x - mean) / std as one multiply-add
        self._scale = 1.0 / torch.as_tensor(std, dtype=torch.float32).reshape(-1, 1, 1)
        self._shift = -torch.as_tensor(mean, dtype=torch.float32).reshape(-1, 1, 1) * self._scale

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = self.images[indices].to(torch.float32).mul_(self._scale).add_(self._shift)
        return pixels, self.labels[indices]


class Grey:
    """Grey images for a network that takes colours: its one channel stands in each of theirs."""

    def __init__(self, images: Images, channels: int) -> None:
        self._images, self._channels = images, channels

    def __len__(self) -> int:
        return len(self._images)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self._channels, *self._images.shape[1:])

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, labels = self._images.batch(indices)
        return pixels.expand(-1, self._channels, -1, -1), labels


def normalised(
    train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]
) -> tuple[InMemory, InMemory]:
    """Both parts scaled by the mean and spread of the training images, per channel."""
    # A histogram of bytes per channel gives both exactly, without a float copy of the images.
    values = torch.arange(256, dtype=torch.float64)
    mean, std = [], []
    for channel in range(train[0].shape[1]):
        counts = torch.bincount(train[0][:, channel].reshape(-1), minlength=256).double()
        counts /= counts.sum()
        centre = float((counts * values).sum())
        mean.append(centre)
        std.append(max(float((counts * (values - centre) ** 2).sum()) ** 0.5, 1.0))
    return InMemory(*train, mean=mean, std=std), InMemory(*test, mean=mean, std=std)

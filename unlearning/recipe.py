"""How a model was trained, precisely enough to train its like again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, Self

from unlearning.settings import check_names, check_ranges, check_types


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of stochastic gradient descent with a one-cycle learning rate.

    Raises:
        InvalidProblem: when a value is out of range or of another type.
    """

    epochs: int = 25
    """Walks over the training set."""
    batch_size: int = 128
    """Samples per step; a short last batch joins the one before it."""
    peak_lr: float = 0.1
    """Largest learning rate, reached after three tenths of the steps."""
    momentum: float = 0.9
    """Momentum of the descent."""
    nesterov: bool = True
    """Whether the momentum looks ahead."""
    weight_decay: float = 5e-4
    """Squared penalty on all parameters."""
    clip_norm: float = 5.0
    """Longest gradient; longer ones are shortened to it."""
    label_smoothing: float = 0.0
    """Probability spread over all classes in the target."""
    shift: int = 1
    """Largest random shift of an image in pixels, borders repeated."""
    flip: bool = False
    """Whether images are mirrored left to right at random."""
    init: Literal["random"] = "random"
    """Where the initial weights come from. Pretrained ones can't be had again, and are refused."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "peak_lr": 0 < self.peak_lr < float("inf"),
            "momentum": 0 <= self.momentum < 1,
            "nesterov": not self.nesterov or self.momentum > 0,
            "weight_decay": 0 <= self.weight_decay < float("inf"),
            "clip_norm": 0 < self.clip_norm < float("inf"),
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "shift": self.shift >= 0,
        }
        check_ranges(self, ranges)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Make a recipe from parsed JSON; names that it does not know are refused."""
        check_names(cls, values)
        return cls(**values)  # type: ignore[arg-type]  # types are checked in __post_init__

    def epochs_of(self, share: float) -> int:
        """Return the number of epochs that are a share of the recipe's, one at least."""
        return max(1, round(share * self.epochs))

    def to_dict(self) -> dict[str, int | float | bool | str]:
        """Return the settings as JSON values."""
        return asdict(self)

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hexadecimal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

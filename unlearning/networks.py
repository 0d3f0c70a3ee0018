"""Networks by name: two small ones of our own, and torchvision's classifiers without weights."""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn

from unlearning.errors import InvalidProblem

_DOWNLOADING_ARGUMENTS = {"weights", "weights_backbone", "progress"}


class SmallCNN(nn.Module):
    """Three 3x3 convolution blocks, global average pooling and a linear head.

    A block is convolution, batch norm, ReLU; all but the last halve the image by max-pooling. The
    last block ends in batch norm and ReLU right before the mean over positions, so a positive
    factor on one of its channels can be undone exactly in a column of the head.
    """

    def __init__(
        self, num_classes: int, channels: Sequence[int] = (32, 64, 64), in_channels: int = 1
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for number, width in enumerate(channels, start=1):
            layers: list[nn.Module] = [
                nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            if number < len(channels):
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            blocks.append(nn.Sequential(*layers))
            in_channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [b, K] for images [b, C, H, W]."""
        logits: Tensor = self.head(self.pool(self.blocks(images)).flatten(1))
        return logits


class MLP(nn.Module):
    """Linear layers with ReLU on the flattened image, and a linear head."""

    def __init__(
        self, num_classes: int, in_features: int = 64, hidden: Sequence[int] = (128, 64)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(in_features, width), nn.ReLU()]
            in_features = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(in_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [b, K] for images [b, C, H, W]."""
        logits: Tensor = self.head(self.layers(images.flatten(1)))
        return logits


_OWN: dict[str, type[SmallCNN | MLP]] = {"small_cnn": SmallCNN, "mlp": MLP}


def build_network(architecture: str, num_classes: int, **kwargs: object) -> nn.Module:
    """Build an untrained network; its weights are drawn from torch's global random state.

    Seed with `randomness.seeded` around the call.

    Args:
        architecture: `expunge:small_cnn`, `expunge:mlp` or `torchvision:<name>`.
        num_classes: Width of the logits.
        kwargs: Passed to the network. For torchvision's ResNets `small_images=True` replaces the
            7x7 stem and its pooling by a 3x3 convolution, as usual for 32x32 pixels.

    Raises:
        InvalidProblem: for an unknown name or an argument that the network does not take.
    """
    family, _, name = architecture.partition(":")
    try:
        if family == "expunge" and name in _OWN:
            return _OWN[name](num_classes, **kwargs)  # type: ignore[arg-type]  # checked by the call
        if family == "torchvision" and name in torchvision.models.list_models(torchvision.models):
            return _build_torchvision(name, num_classes, kwargs)
    except (TypeError, ValueError) as error:
        raise InvalidProblem(f"{architecture} cannot be built: {error}") from error
    raise InvalidProblem(
        f"unknown architecture {architecture!r}; known are expunge:small_cnn, expunge:mlp and "
        "torchvision:<name of a classifier>"
    )


def _build_torchvision(name: str, num_classes: int, kwargs: dict[str, object]) -> nn.Module:
    if refused := _DOWNLOADING_ARGUMENTS & kwargs.keys():
        raise InvalidProblem(f"{', '.join(sorted(refused))} cannot be set: weights are given")
    small_images = kwargs.pop("small_images", False)
    if name in {"googlenet", "inception_v3"}:  # their auxiliary heads change the output's type
        kwargs = {"aux_logits": False, "init_weights": True, **kwargs}
    network: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=num_classes, **kwargs
    )
    if small_images:
        if not isinstance(network, torchvision.models.ResNet):
            raise InvalidProblem("small_images is only known for ResNets")
        width = network.conv1.out_channels
        network.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return network


def classifier_name(model: nn.Module) -> str:
    """Name the classifier module: the last linear layer or 1x1 convolution in order of definition.

    Raises:
        InvalidProblem: when the model has neither.
    """
    names: list[str] = [name for name, module in model.named_modules() if is_classifier(module)]
    if names:
        return names[-1]
    raise InvalidProblem("the model has no linear layer or 1x1 convolution to be its classifier")


def is_classifier(module: nn.Module) -> bool:
    """Tell whether a module can be a classifier: linear, or a convolution with 1x1 kernels."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def count_outputs(classifier: nn.Module) -> int:
    """Return the number of logits that a classifier module gives."""
    weight = classifier.weight
    assert isinstance(weight, torch.Tensor)  # noqa: S101 - a linear layer or convolution has one
    return weight.shape[0]

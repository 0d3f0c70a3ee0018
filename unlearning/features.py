"""Features inside a network: what its classifier and its last stage are given.

The penultimate features are the input of the classifier module, caught by a forward pre-hook; so
they are found in any network without knowing its layout. Maps [b, C, H, W] are averaged over
positions, token sequences [b, T, d] over tokens.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from unlearning.data import Images, channels_last
from unlearning.errors import InvalidProblem

_DOMINANT_SHARE = 0.9


@dataclass(frozen=True)
class Outputs:
    """What a model makes of a set of images, on the CPU, in the set's order."""

    features: Tensor
    """Penultimate features, float32 [n, d]."""
    logits: Tensor
    """Logits, float32 [n, K]."""
    stage_features: Tensor | None
    """Pooled input of the last stage, float32 [n, d2]; None where no stage can be told."""


class Tap:
    """Catch the pooled input of one module while the network runs; a context manager.

    Gradients flow through `value`. In a model called several times `value` is the latest.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._caught: Tensor | None = None

    def __enter__(self) -> Self:
        self._handle = self._module.register_forward_pre_hook(self._catch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handle.remove()

    def _catch(self, _module: nn.Module, inputs: tuple[object, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            self._caught = inputs[0]

    @property
    def reached(self) -> bool:
        """Whether the module has been given a tensor yet."""
        return self._caught is not None

    @property
    def value(self) -> Tensor:
        """The pooled input, float32 [b, d]."""
        if self._caught is None:
            raise InvalidProblem("the classifier module takes no part in the forward pass")
        return pool(self._caught)


def pool(x: Tensor) -> Tensor:
    """Average a map or a token sequence to float32 [b, d].

    Maps are [b, C, H, W], or [b, H, W, C] (as in Swin) where only that reading has square sides.
    """
    x = x.float()
    if x.dim() == 4:
        _, first, second, third = x.shape
        return x.mean((1, 2)) if first == second != third else x.mean((2, 3))
    if x.dim() == 3:
        return x.mean(1)
    return x.flatten(1)


def find_module(model: nn.Module, name: str) -> nn.Module:
    """Return the module called `name`.

    Raises:
        InvalidProblem: when there is none.
    """
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise InvalidProblem(f"the model has no module called {name!r}") from error


def find_last_stage(model: nn.Module, classifier: str) -> nn.Module | None:
    """Find the network's last stage by a rule that needs no list of architectures.

    Of the modules defined before the classifier (or before the branch that holds it) those with a
    convolution or linear layer count. The last of them is the stage; but where it holds at least
    nine tenths of their parameters it is the whole trunk, and the search goes on inside it. So
    ResNets give `layer4`, ConvNeXts their last group of blocks, MobileNets the last convolution,
    transformers the last block. None where the stage's input would be the image itself.
    """
    children: list[nn.Module] = []
    branch: nn.Module = model
    for part in classifier.split("."):
        children = _before(branch, part)
        if children:
            break
        branch = find_module(branch, part)
    while children:
        stage = children[-1]
        if _size(stage) < _DOMINANT_SHARE * sum(map(_size, children)):
            return stage
        inner = [child for child in stage.children() if _has_matrix(child)]
        if not inner:
            return stage if len(children) > 1 else None
        children = inner
    return None


def _before(parent: nn.Module, name: str) -> list[nn.Module]:
    found: list[nn.Module] = []
    for child_name, child in parent.named_children():
        if child_name == name:
            break
        if _has_matrix(child):
            found.append(child)
    return found


def _has_matrix(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Linear | nn.Conv2d) for part in module.modules())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def split_evenly(length: int, batch_size: int) -> list[Tensor]:
    """Return the positions 0 … length - 1 in order, at most `batch_size` together."""
    return list(torch.split(torch.arange(length), batch_size)) if length else []


@torch.no_grad()
def extract(
    model: nn.Module,
    images: Images,
    classifier: str,
    batch_size: int = 512,
    *,
    stages: bool = True,
) -> Outputs:
    """Run a model over images in eval mode without augmentation and keep what it sees.

    The model's mode is restored; nothing of it changes. It must be on the images' device; one in
    half precision is given its images in half precision.

    Raises:
        InvalidProblem: when the classifier does not exist or takes no part in the forward pass.
    """
    stage = find_last_stage(model, classifier) if stages else None
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    modes = {module: module.training for module in model.modules()}
    kept: list[tuple[Tensor, Tensor, Tensor | None]] = []
    model.eval()
    try:
        with Tap(find_module(model, classifier)) as head, Tap(stage or nn.Identity()) as last:
            for x in images.batches(split_evenly(len(images), batch_size)):
                logits = model(channels_last(x.to(dtype))).float()
                early = last.value.cpu() if last.reached else None
                kept.append((head.value.cpu(), logits.cpu(), early))
    finally:
        for module, training in modes.items():
            module.training = training
    if not kept:
        raise InvalidProblem("features of an empty set were asked for")
    features, logits_parts, stage_parts = zip(*kept, strict=True)
    early_parts = [part for part in stage_parts if part is not None]
    return Outputs(
        features=torch.cat(features),
        logits=torch.cat(logits_parts),
        stage_features=torch.cat(early_parts) if early_parts else None,
    )

"""Weights survive the disk to the bit; damaged and hostile files change nothing."""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearning.errors import WeightsRejected
from unlearning.testing import mlp, small_cnn
from unlearning.weights import load_weights, save_weights


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = small_cnn()
    model.get_submodule("blocks.0.1").state_dict()["running_mean"].fill_(0.5)
    save_weights(model, tmp_path / "model.safetensors", {"seed": 3})
    return tmp_path / "model.safetensors"


def test_parameters_buffers_and_metadata_come_back(saved: Path) -> None:
    model = small_cnn()
    assert load_weights(model, saved) == {"seed": 3}
    file = load_file(saved)
    assert all(torch.equal(file[name], value) for name, value in model.state_dict().items())
    assert model.state_dict()["blocks.0.1.running_mean"].eq(0.5).all()


def test_digest_is_of_the_file_and_equal_for_equal_weights(tmp_path: Path) -> None:
    model = small_cnn()
    metadata = {"b": 1, "a": [2, 3], "c": {"e": None, "d": True}}
    first = save_weights(model, tmp_path / "first", metadata)
    model.to(memory_format=torch.channels_last)
    second = save_weights(model, tmp_path / "second", dict(reversed(metadata.items())))
    assert first == second == hashlib.sha256((tmp_path / "first").read_bytes()).hexdigest()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "second"]


def test_tensors_that_share_memory_are_saved_under_each_name(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_weights(model, tmp_path / "shared", {})
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_weights(other, tmp_path / "shared")
    state = other.state_dict()
    assert torch.equal(state["0.weight"], state["1.weight"])


def _rejected(path: Path, code: str, message: str, model: nn.Module | None = None) -> None:
    model = model or small_cnn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsRejected, match=message) as caught:
        load_weights(model, path)
    assert caught.value.code == code
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class _Bomb:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (pytest.fail, ("the file was unpickled",))


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "plain.pt", tmp_path / "zipped.pt"
    plain.write_bytes(pickle.dumps(_Bomb()))
    torch.save({"x": _Bomb()}, zipped)
    for path in (plain, zipped):
        _rejected(path, "weights_not_safetensors", "never loaded")


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + b"0" * 50,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 3) + b"{a}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 13) + b'{"head": null',
        struct.pack("<Q", 12) + b'{"head": 12}',
        struct.pack("<Q", 30_000) + b'{"a":' * 6_000,
    ],
)
def test_other_formats_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    _rejected(tmp_path / "file", "weights_not_safetensors", "safetensors")


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1, -1000])
def test_cut_files_are_refused(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    _rejected(saved, "weights_truncated", "bytes|within its header")


def test_offsets_that_overlap_are_refused(saved: Path) -> None:
    content = saved.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["head.bias"]["data_offsets"] = header["head.weight"]["data_offsets"]
    altered = json.dumps(header).encode()
    saved.write_bytes(struct.pack("<Q", len(altered)) + altered + content[8 + length :])
    _rejected(saved, "weights_not_safetensors", "damaged")


def _altered(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.bias"), "lacks head.bias"),
        (lambda t: t.update({"spare": torch.zeros(1)}), "has spare besides"),
        (lambda t: t.update({"head.bias": torch.zeros(5)}), "shape"),
        (lambda t: t.update({"head.bias": torch.zeros(4).double()}), "type F64, expected F32"),
    ],
)
def test_files_of_another_network_are_refused(
    saved: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    _altered(saved, change)
    _rejected(saved, "weights_mismatch", message)


def test_another_architecture_is_refused(saved: Path) -> None:
    _rejected(saved, "weights_mismatch", "registered architecture", mlp())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["head.bias", "blocks.1.1.running_var"])
def test_values_that_are_not_finite_are_refused(saved: Path, name: str, value: float) -> None:
    _altered(saved, lambda t: t[name].__setitem__(0, value))
    _rejected(saved, "weights_not_finite", name)

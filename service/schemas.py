"""Bodies of requests, and the frame of every answer. Unknown members are refused."""

import uuid
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.bounds import Moment
from service.ladders import MethodName, NamedRung

Item = TypeVar("Item")
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Label = Annotated[int, Field(ge=0, lt=2**31)]
SampleId = Annotated[str, Field(min_length=1, max_length=512)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_DATASET_ID = "019a0c4e-6b00-7aaa-9c00-000000000001"
_MODEL_ID = "019a0c4e-6b00-7aaa-9c00-000000000002"


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class Problem(BaseModel):
    """An RFC 9457 problem document; `code` is stable, see docs/problems.md."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    action: str = Field(description="What to do about it.")
    request_id: str | None
    errors: list[dict[str, str]] = Field(
        default=[], description="Places (JSON pointers) and what is wrong there."
    )


class Page(BaseModel, Generic[Item]):
    """One page of a list; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None


class DatasetOrder(_Order):
    """Register a data set by its manifest."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "digits", "manifest_uri": "digits/manifest.parquet"},
                {
                    "name": "cifar10",
                    "manifest_uri": "file:///data/cifar10-train.parquet",
                    "format": "image_parquet",
                    "class_names": ["airplane", "automobile"],
                },
            ]
        }
    )
    name: Name
    manifest_uri: str | None = Field(
        default=None,
        max_length=4096,
        description="Path or file:// URL under a data root; absent when the manifest is uploaded.",
    )
    root: str | None = Field(
        default=None,
        max_length=4096,
        description="Folder that uris are relative to; default: the manifest's own. "
        "Required when the manifest is uploaded.",
    )
    format: Literal["parquet", "csv", "image_parquet", "image_folder"] | None = None
    class_names: list[Name] | None = Field(default=None, min_length=1, max_length=100_000)


class Preprocessing(_Order):
    """How images become inputs: resized, scaled to [0, 1], normalised per channel."""

    mean: list[float] = Field(min_length=1, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=1, max_length=3)
    size: tuple[Annotated[int, Field(ge=1, le=4096)], Annotated[int, Field(ge=1, le=4096)]]
    channels: Literal[1, 3]

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> "Preprocessing":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError("mean and std need one value per channel")
        return self


class Recipe(_Order):
    """How the model was trained, so that its like can be trained again (SGD, one cycle)."""

    epochs: int = Field(default=25, ge=1, le=10_000)
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    peak_lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=5e-4, ge=0)
    clip_norm: float = Field(default=5.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    shift: int = Field(default=1, ge=0, le=4096, description="Random shift in pixels.")
    flip: bool = False
    init: Literal["random"] = Field(
        default="random",
        description="Initial weights. Pretrained ones are refused: no reference would have them.",
    )


class ModelOrder(_Order):
    """Register a trained classifier; the weights come by URI or as the form part `weights`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "digits-classifier",
                    "dataset_id": _DATASET_ID,
                    "architecture": "expunge:small_cnn",
                    "preprocessing": {
                        "mean": [0.3],
                        "std": [0.38],
                        "size": [8, 8],
                        "channels": 1,
                    },
                    "recipe": {"epochs": 25},
                    "weights_uri": "digits/original.safetensors",
                }
            ]
        }
    )
    name: Name
    dataset_id: uuid.UUID
    architecture: str = Field(pattern=r"^(expunge|torchvision):[a-z0-9_]{1,100}$")
    architecture_kwargs: dict[str, Any] = Field(default={}, max_length=50)
    preprocessing: Preprocessing
    classifier: str | None = Field(
        default=None, max_length=200, description="Name of the last layer; default: found out."
    )
    recipe: Recipe | None = Field(
        default=None, description="Without it nothing can be retrained, nor audited."
    )
    dataset_revision: int | None = Field(
        default=None, ge=1, lt=2**31, description="What it was trained on; default: the newest."
    )
    trained_on_erased: bool | None = Field(
        default=None,
        description="Whether its training saw samples that were accepted for erasure. Unless this "
        "is `false`, the model is flagged in `suspect_samples`.",
    )
    weights_uri: str | None = Field(default=None, max_length=4096)
    weights_sha256: Digest | None = None


class DeletionOrder(_Order):
    """Ask a model, or all models of a data set, to forget samples: by id, label or subject."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": _MODEL_ID,
                    "sample_ids": ["digit-0007", "digit-0042"],
                    "subject_request_id": "DSR-2026-1182",
                    "regulation": "gdpr",
                    "submitted_time": "2026-11-17T09:05:00Z",
                },
                {
                    "model_id": _MODEL_ID,
                    "labels": [9],
                    "ladder": [{"method": "muda", "hyperparameters": {"epochs": 4}}, "retrain"],
                },
                {"dataset_id": _DATASET_ID, "subject_ids": ["customer-4711"]},
            ]
        }
    )
    model_id: uuid.UUID | None = None
    dataset_id: uuid.UUID | None = Field(
        default=None,
        description="Instead of `model_id`: every model of this data set is asked, each by a "
        "deletion request of its own; the answer is their group.",
    )
    leave_out: list[uuid.UUID] = Field(
        default=[], max_length=1000, description="With `dataset_id`: models that are not asked."
    )
    sample_ids: list[SampleId] = Field(default=[])
    labels: list[Label] = Field(default=[], max_length=10_000)
    subject_ids: list[SampleId] = Field(default=[], max_length=10_000)
    subject_request_id: str | None = Field(default=None, min_length=1, max_length=200)
    regulation: Literal["gdpr", "uk_gdpr", "ccpa", "other"] = "gdpr"
    submitted_time: Moment | None = Field(
        default=None, description="When the data subject asked; default: now."
    )
    policy: str = Field(default="standard", max_length=100)
    ladder: list[NamedRung] | None = Field(
        default=None,
        min_length=1,
        max_length=10,
        description="Methods in the order in which they are tried: names, or objects with"
        " hyper-parameters. `retrain` can only be the last.",
    )
    audit: Literal["references", "qualified", "none"] = Field(
        default="references",
        description="`qualified` needs a live qualification of each approximate method of the"
        " ladder; `none` starts at `retrain`.",
    )
    pool: bool = Field(
        default=False,
        description="Train at least ten models more, each without a tenth of the samples at most, "
        "so that `muda` has targets for single samples from models that never saw them. Needs the "
        "audit level `references`; nothing is trained where whole classes alone are forgotten.",
    )
    include_duplicates: Literal["none", "byte_equal"] = Field(
        default="none",
        description="`byte_equal`: training samples whose files equal a named one's are forgotten "
        "too, under whatever id and label. They count into `num_samples` and the commitment.",
    )

    dry_run: bool = Field(
        default=False, description="Check and price the request; nothing is written."
    )
    approval: bool = Field(
        default=False,
        description="A candidate that passed waits for `…/approve` before it is promoted.",
    )

    @model_validator(mode="after")
    def _times_have_zones(self) -> "DeletionOrder":
        if self.submitted_time is not None and self.submitted_time.tzinfo is None:
            raise ValueError("submitted_time needs a time zone")
        return self

    @model_validator(mode="after")
    def _one_target(self) -> "DeletionOrder":
        if (self.model_id is None) == (self.dataset_id is None):
            raise ValueError("name either model_id or dataset_id")
        if self.leave_out and self.dataset_id is None:
            raise ValueError("leave_out goes with dataset_id only")
        return self


class QualificationOrder(_Order):
    """Qualify a method on a model: trial erasures, audited with references, that erase nothing."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"method": "muda", "trials": 10, "kinds": ["class"]}]}
    )
    method: MethodName
    policy: str = Field(default="standard", max_length=100)
    trials: int = Field(
        default=10, ge=1, le=200, description="Each costs the first look's references and more."
    )
    kinds: list[Literal["class", "mislabelled"]] = Field(
        default=["class", "mislabelled"],
        min_length=1,
        max_length=2,
        description="Dealt in turn: a class left out, or samples planted with wrong labels.",
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="Draws the trials; default: drawn and told."
    )


class AuditOrder(_Order):
    """Have a candidate made elsewhere audited; it erases nothing and needs the model's recipe."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_id": _MODEL_ID,
                    "sample_ids": ["digit-0007"],
                    "label": "fine-tuned by our own team",
                    "weights_uri": "digits/candidate.safetensors",
                }
            ]
        }
    )
    model_id: uuid.UUID
    base_version: int | None = Field(default=None, ge=1, lt=2**31)
    sample_ids: list[SampleId] = Field(default=[])
    labels: list[Label] = Field(default=[], max_length=10_000)
    subject_ids: list[SampleId] = Field(default=[], max_length=10_000)
    label: Name = Field(description="Who made the candidate, and how.")
    policy: str = Field(default="standard", max_length=100)
    weights_uri: str | None = Field(default=None, max_length=4096)
    weights_sha256: Digest | None = None


class RequestAuditOrder(_Order):
    """Have a closed request audited at a level at which it was not."""

    audit: Literal["references"] = Field(
        default="references", description="Trains the references of the policy's first look."
    )

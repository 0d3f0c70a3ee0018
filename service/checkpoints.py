"""Signed checkpoints of an audit log: what its end was, so that nobody can cut it off unnoticed.

A checkpoint is an in-toto statement in a DSSE envelope, signed like a report. Kept by somebody
else, it is what a log that was cut off or rewritten is found out by.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.chain import Anchor
from service.commitment import canonical_json
from service.signing import Signer
from service.verify import STATEMENT_TYPE, Key, verify_envelope

CHECKPOINT_TYPE = "https://expunge.dev/audit-log-checkpoint/v1"


@dataclass(frozen=True, kw_only=True)
class LogHead:
    """The last entry of a tenant's log, and when it was looked at."""

    tenant_id: uuid.UUID
    seq: int
    hash: str
    at: datetime


@dataclass(frozen=True)
class SignedHead:
    """The DSSE envelope of a checkpoint and the id of the key that signed it."""

    envelope: bytes
    keyid: str


def sign_head(head: LogHead, signer: Signer) -> SignedHead:
    """Return the signed checkpoint of a log's head."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": f"audit-log/{head.tenant_id}", "digest": {"sha256": head.hash}}],
        "predicateType": CHECKPOINT_TYPE,
        "predicate": {
            "tenant_id": str(head.tenant_id),
            "seq": head.seq,
            "hash": head.hash,
            "at": head.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        },
    }
    return SignedHead(signer.sign(canonical_json(statement)), signer.keyid)


def read_checkpoint(envelope: bytes, keys: Sequence[Key]) -> tuple[str, Anchor]:
    """Return the tenant's id and the anchor of a checkpoint whose signature holds.

    Raises:
        VerificationError: None of the keys signed it, it was changed, or it is no checkpoint.
    """
    statement, key = verify_envelope(envelope, keys, CHECKPOINT_TYPE)
    told = statement["predicate"]
    name = f"the checkpoint of {told['at']} (key {key.keyid[:15]}…)"
    return str(told["tenant_id"]), Anchor(int(told["seq"]), str(told["hash"]), name)

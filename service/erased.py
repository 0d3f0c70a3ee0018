"""Keyed hashes of erased samples, which keep them out after their ids were dropped.

HMAC-SHA256 under a key that follows from the installation's pepper: without the pepper nobody can
try out ids, however few there are. With another pepper the hashes say nothing any more.
"""

import hashlib
import hmac
import uuid
from typing import NamedTuple

from service.sealing import derive_key

PURPOSE = "erased samples"


class Marks(NamedTuple):
    """The two hashes of a sample: of its id below its data set's root, and of its file."""

    name: bytes
    content: bytes


class Eraser:
    """Hash samples of tenants.

    Args:
        pepper: At least 32 bytes.
    """

    def __init__(self, pepper: bytes) -> None:
        self._key = derive_key(pepper, PURPOSE)
        self.key_id = hmac.digest(self._key, b"key id", hashlib.sha256).hex()[:16]

    def marks(self, tenant_id: uuid.UUID, root: str, sample_id: str, sha256: str) -> Marks:
        """Return the hashes of one sample.

        Args:
            tenant_id: The same sample of two tenants has nothing in common.
            root: The folder that the data set's files are relative to: an id means something only
                there.
            sample_id: The caller's id.
            sha256: Of the file, in hex.
        """
        name = f"name\0{root}\0{sample_id}".encode()
        content = f"content\0{sha256.lower()}".encode()
        return Marks(self._hash(tenant_id, name), self._hash(tenant_id, content))

    def _hash(self, tenant_id: uuid.UUID, text: bytes) -> bytes:
        return hmac.digest(self._key, tenant_id.bytes + text, "sha256")

"""Verify an Expunge report without Expunge.

This file needs Python 3.11 and the package ``cryptography``, nothing else: copy it anywhere.

    python verify.py report.dsse.json --jwks jwks.json
    python verify.py report.dsse.json --key signer.pem
    python verify.py report.dsse.json --jwks jwks.json --key SHA256:3f9a...   (this key only)

Options: ``--weights FILE`` compares a weights file with the report's subject; ``--ids FILE --salt
HEX`` checks that the ids in the file, one a line, are exactly those that the report commits to;
``--json`` prints the outcome for a program.

Exit codes:
    0  all that was asked holds
    1  the signature does not fit: the report was changed
    2  the call or a file cannot be read
    3  the signature fits, but another check fails
    4  none of the given keys signed the report
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://expunge.dev/unlearning-report/v1"
COMMITMENT = "salted-merkle-sha256/1"
REQUIRED = ("report", "request", "lineage", "verdict", "what_this_does_not_prove")
HOLDS, CHANGED, UNREADABLE, CHECK_FAILED, UNKNOWN_KEY = range(5)


class VerificationError(Exception):
    """Stop the verification; ``exit_code`` says how."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Key:
    """A public key, and the Unix times between which it signs (None: no bound known)."""

    keyid: str
    public_key: Ed25519PublicKey
    not_before: float | None = None
    not_after: float | None = None


@dataclass
class Outcome:
    """What a verification found: plain sentences, and the statement that was signed."""

    statement: dict[str, Any]
    keyid: str
    proved: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Return the exit code that belongs to this outcome."""
        return CHECK_FAILED if self.failed else HOLDS


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that DSSE signs."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(public_key: Ed25519PublicKey) -> str:
    """Return ``SHA256:<hex>`` of the DER SubjectPublicKeyInfo."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA256:{hashlib.sha256(der).hexdigest()}"


def keys_of_jwks(document: dict[str, Any]) -> list[Key]:
    """Read the Ed25519 keys of a JSON Web Key Set; each ``kid`` is recomputed, never believed."""
    keys = []
    for jwk in document["keys"]:
        if jwk.get("crv") == "Ed25519":
            public_key = Ed25519PublicKey.from_public_bytes(_decode(jwk["x"]))
            keys.append(Key(key_id(public_key), public_key, jwk.get("nbf"), jwk.get("exp")))
    return keys


def verify_envelope(envelope: bytes, keys: Sequence[Key]) -> tuple[dict[str, Any], Key]:
    """Return the signed statement and the key that signed it.

    Raises:
        VerificationError: No envelope, no known key, or the signature does not fit its content.
    """
    try:
        document = json.loads(envelope)
        payload_type, payload = document["payloadType"], _decode(document["payload"])
        signatures = [(item.get("keyid"), _decode(item["sig"])) for item in document["signatures"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VerificationError(CHANGED, "This is no DSSE envelope, or it was damaged.") from error
    claimed = {keyid for keyid, _ in signatures}
    candidates = [key for key in keys if key.keyid in claimed]
    if not candidates:
        raise VerificationError(UNKNOWN_KEY, "None of the keys given here signed this report.")
    for key in candidates:
        for keyid, signature in signatures:
            if keyid == key.keyid and _fits(key, signature, pae(payload_type, payload)):
                return _statement(payload_type, payload), key
    raise VerificationError(CHANGED, "The signature does not fit: the report was changed since.")


def merkle_root(sample_ids: Sequence[str], salt: bytes) -> str:
    """Return the commitment to a set of ids, hex.

    Leaves are SHA-256(0x00 ‖ salt ‖ id) in the order of the ids; the tree is RFC 6962's, its nodes
    SHA-256(0x01 ‖ left ‖ right).
    """
    level = [hashlib.sha256(b"\x00" + salt + name.encode()).digest() for name in sorted(sample_ids)]
    if not level:
        return hashlib.sha256(b"").hexdigest()
    while len(level) > 1:  # pairing from the left and lifting the odd one gives RFC 6962's tree
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = above + level[len(level) - len(level) % 2 :]
    return level[0].hex()


def check_key_window(outcome: Outcome, key: Key) -> None:
    """Check that the key was in use when the report says that it was made."""
    made = datetime.fromisoformat(outcome.statement["predicate"]["report"]["generated_at"])
    early = key.not_before is not None and made.timestamp() < key.not_before - 1
    late = key.not_after is not None and made.timestamp() > key.not_after + 1
    if early or late:
        outcome.failed.append(f"The report is dated {made}, when this key was not in use.")
    elif key.not_before is None and key.not_after is None:
        outcome.not_checked.append("Whether the key was in use at the time: no dates are known.")
    else:
        outcome.proved.append(f"The key was in use at the report's date, {made:%d %B %Y}.")


def check_weights(outcome: Outcome, path: Path | None) -> None:
    """Check a weights file against the report's subject."""
    subject = outcome.statement["subject"][0]
    if path is None:
        outcome.not_checked.append("The weights file: give it with --weights.")
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest == subject["digest"]["sha256"]:
        outcome.proved.append(f"{path.name} is the model that the report is about, bit for bit.")
    else:
        outcome.failed.append(f"{path.name} is not the model that the report is about.")


def check_ids(outcome: Outcome, path: Path | None, salt: str | None) -> None:
    """Check a list of ids, one a line, against the report's commitment."""
    samples = outcome.statement["predicate"]["request"]["samples"]
    if path is None or salt is None:
        outcome.not_checked.append("Which samples it is about: give --ids and --salt.")
        return
    commitment = samples["commitment"]
    if commitment["algorithm"] != COMMITMENT:
        outcome.not_checked.append(f"The ids: {commitment['algorithm']} is unknown here.")
        return
    ids = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    if hmac.compare_digest(merkle_root(ids, bytes.fromhex(salt)), commitment["root"]):
        outcome.proved.append(f"The {len(ids)} ids are exactly those that the report is about.")
    else:
        told = f"The {len(ids)} ids are not the {samples['count']} that the report is about."
        outcome.failed.append(told)


def verify(
    envelope: bytes,
    keys: Sequence[Key],
    *,
    weights: Path | None = None,
    ids: Path | None = None,
    salt: str | None = None,
) -> Outcome:
    """Verify an envelope and whatever else was given beside it.

    Raises:
        VerificationError: The envelope itself does not hold.
    """
    statement, key = verify_envelope(envelope, keys)
    outcome = Outcome(statement, key.keyid)
    outcome.proved.append(f"{key.keyid} signed this report and nothing in it was changed since.")
    check_key_window(outcome, key)
    check_weights(outcome, weights)
    check_ids(outcome, ids, salt)
    return outcome


def describe(outcome: Outcome) -> str:
    """Return the outcome in words."""
    predicate = outcome.statement["predicate"]
    report = predicate["report"]["id"]
    lines = [f"Report {report}", f"It says: {predicate['verdict_in_words']}", ""]
    sections = (
        ("Holds", outcome.proved),
        ("DOES NOT HOLD", outcome.failed),
        ("Not checked", outcome.not_checked),
        ("What this does not prove", predicate["what_this_does_not_prove"]),
    )
    for title, sentences in sections:
        if sentences:
            lines += [f"{title}:", *(f"  - {sentence}" for sentence in sentences), ""]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verifier on the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    checks = {"weights": options.weights, "ids": options.ids, "salt": options.salt}
    facts: dict[str, Any] = {}
    try:
        keys = _read_keys(options.jwks, options.key)
        outcome = verify(options.report.read_bytes(), keys, **checks)
        facts = {name: value for name, value in vars(outcome).items() if name != "statement"}
        exit_code, words = outcome.exit_code, describe(outcome)
    except VerificationError as error:
        exit_code, words = error.exit_code, f"REFUSED: {error}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        exit_code, words = UNREADABLE, f"Unreadable: {error}"
    answer = json.dumps({"exit_code": exit_code, "detail": words, **facts})
    sys.stdout.write((answer if options.as_json else words) + "\n")
    return exit_code


def _statement(payload_type: str, payload: bytes) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(payload)
    kinds = (payload_type, statement.get("_type"), statement.get("predicateType"))
    if kinds != (PAYLOAD_TYPE, STATEMENT_TYPE, PREDICATE_TYPE):
        raise VerificationError(CHECK_FAILED, "The signature fits, but this is no Expunge report.")
    missing = [name for name in REQUIRED if name not in statement.get("predicate", {})]
    if missing or not statement.get("subject"):
        told = f"The signed report lacks {missing or 'its subject'}."
        raise VerificationError(CHECK_FAILED, told)
    return statement


def _fits(key: Key, signature: bytes, signed: bytes) -> bool:
    try:
        key.public_key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _decode(text: str) -> bytes:
    padded = text + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError("This is no base64.") from error


def _read_keys(jwks: Path | None, key: str | None) -> list[Key]:
    pinned = key if key is not None and key.startswith("SHA256:") else None
    keys = keys_of_jwks(json.loads(jwks.read_text(encoding="utf-8"))) if jwks is not None else []
    if key is not None and pinned is None:
        public_key = load_pem_public_key(Path(key).read_bytes())
        if not isinstance(public_key, Ed25519PublicKey):
            raise ValueError(f"{key} is no Ed25519 public key.")
        keys.append(Key(key_id(public_key), public_key))
    if not keys:
        raise ValueError("Give the signer's keys: --jwks FILE, or --key PEM-FILE.")
    return [entry for entry in keys if pinned in (None, entry.keyid)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Verify an Expunge report.")
    parser.add_argument("report", type=Path, help="the DSSE envelope, report.dsse.json")
    parser.add_argument("--jwks", type=Path, help="the signer's keys, /.well-known/jwks.json")
    parser.add_argument("--key", help="a public key (PEM file), or SHA256:… to allow one of --jwks")
    parser.add_argument(
        "--weights", type=Path, help="the model that should be the report's subject"
    )
    parser.add_argument("--ids", type=Path, help="sample ids, one a line")
    parser.add_argument("--salt", help="the request's salt, hex, from whoever may see the ids")
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())

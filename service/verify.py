"""Verify an Expunge report without Expunge: Python 3.11 and the package ``cryptography`` suffice.

    python verify.py report.dsse.json --jwks jwks.json                    (the signer's keys)
    python verify.py report.dsse.json --key signer.pem                    (one key)
    python verify.py report.dsse.json --jwks jwks.json --key SHA256:3f9a… (that key only)

A key that came with the report says nothing about who signed: pin what the signer told you.
Exit codes: 0 all that was asked holds; 1 the signature does not fit; 2 the call or a file cannot be
read; 3 the signature fits, but another check fails; 4 none of the given keys signed the report.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://expunge.dev/unlearning-report/v1"
RENDERINGS_TYPE = "https://expunge.dev/report-renderings/v1"
COMMITMENT = "salted-merkle-sha256/1"
GENESIS = "0" * 64
HOLDS, CHANGED, UNREADABLE, CHECK_FAILED, UNKNOWN_KEY = range(5)
OPTIONS = {
    "jwks": "the signer's keys, /.well-known/jwks.json",
    "key": "a public key (PEM file), or SHA256:… to allow one of --jwks",
    "weights": "the model that should be the report's subject",
    "ids": "sample ids, one a line",
    "salt": "the request's salt, hex, from whoever may see the ids",
    "figures": "a folder with the report's figures",
    "log": "a segment of the audit log, as /v1/audit-log gives it",
    "renderings": "the service's signed list of the digests of page and PDF",
    "html": "the page, checked against --renderings",
    "pdf": "the PDF, checked against --renderings",
}
# The schema's essentials: members by their type, or by the pattern of a string.
_ESSENTIALS: dict[type | str, str] = {
    str: "report.id verdict_in_words request.samples.commitment.algorithm",
    int: "request.samples.count audit_log.seq",
    list: "tries figures residual_copies what_this_proves what_this_does_not_prove",
    "1": "report.schema_version",
    r"[0-9a-f]{64}": "request.samples.commitment.root lineage.base.sha256 lineage.result.sha256 "
    "policy.digest audit_log.hash",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)": "report.generated_at "
    "request.submitted_time request.received_at request.completed_at",
    "PASS|QUALIFIED|NOTHING_TO_REMOVE|RETRAINED|INCONCLUSIVE|FAIL": "verdict",
}
Json = dict[str, Any]


class VerificationError(Exception):
    """Stop the verification; the arguments are the exit code and the reason."""


class Key(NamedTuple):
    """A public key, and the Unix times between which it signs (None: no bound known)."""

    keyid: str
    public_key: Ed25519PublicKey
    not_before: float | None = None
    not_after: float | None = None


class Outcome(NamedTuple):
    """The signed statement, and claims about it: true, false, or None where nothing was asked."""

    statement: Json
    keyid: str
    claims: dict[str, bool | None]


def key_id(public_key: Ed25519PublicKey) -> str:
    """Return ``SHA256:<hex>`` of the DER SubjectPublicKeyInfo."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA256:{hashlib.sha256(der).hexdigest()}"


def keys_of_jwks(document: Json) -> list[Key]:
    """Read the Ed25519 keys of a JSON Web Key Set; each ``kid`` is recomputed, never believed."""
    keys = []
    for jwk in document["keys"]:
        if jwk.get("crv") == "Ed25519":
            public_key = Ed25519PublicKey.from_public_bytes(_decode(jwk["x"]))
            keys.append(Key(key_id(public_key), public_key, jwk.get("nbf"), jwk.get("exp")))
    return keys


def verify_envelope(
    envelope: bytes, keys: Sequence[Key], predicate_type: str = PREDICATE_TYPE
) -> tuple[Json, Key]:
    """Return the signed statement, in the form of its kind, and its key, or raise."""
    try:
        document = json.loads(envelope)
        kind, payload = document["payloadType"], _decode(document["payload"])
        signatures = [(item.get("keyid"), _decode(item["sig"])) for item in document["signatures"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VerificationError(CHANGED, "This is no DSSE envelope, or it was damaged.") from error
    candidates = [(key, sig) for key in keys for keyid, sig in signatures if keyid == key.keyid]
    if not candidates:
        raise VerificationError(UNKNOWN_KEY, "None of the keys given here signed this report.")
    encoded = kind.encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(encoded), encoded, len(payload), payload)
    for key, signature in candidates:
        try:
            key.public_key.verify(signature, signed)
        except InvalidSignature:
            continue
        return _statement(kind, payload, predicate_type), key
    raise VerificationError(CHANGED, "The signature does not fit: the report was changed since.")


def merkle_root(sample_ids: Sequence[str], salt: bytes) -> str:
    """Return the commitment to a set of ids, hex: the tree of RFC 6962 over the sorted ids.

    Leaves are SHA-256(0x00 ‖ salt ‖ id), nodes SHA-256(0x01 ‖ left ‖ right).
    """
    level = [hashlib.sha256(b"\x00" + salt + name.encode()).digest() for name in sorted(sample_ids)]
    while len(level) > 1:  # pairing from the left and lifting the odd one gives RFC 6962's tree
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = above + level[len(level) - len(level) % 2 :]
    return level[0].hex() if level else hashlib.sha256(b"").hexdigest()


def verify(envelope: bytes, keys: Sequence[Key], **given: str | None) -> Outcome:
    """Verify an envelope, or raise, and what was given beside it by the names of ``OPTIONS``."""
    statement, key = verify_envelope(envelope, keys)
    predicate, subject = statement["predicate"], statement["subject"][0]["digest"]
    samples, log = predicate["request"]["samples"], predicate["audit_log"]
    made: str = predicate["report"]["generated_at"]
    figures = _are(given.get("figures"), {figure["sha256"] for figure in predicate["figures"]})
    weights = _are(given.get("weights"), {subject["sha256"]})
    ids = _ids(samples["commitment"], given.get("ids"), given.get("salt"))
    pages = [Path(page) for page in (given.get("html"), given.get("pdf")) if page]
    at, rendered = _rendered(envelope, made, keys, given.get("renderings"), pages)
    claims = {
        f"{key.keyid} signed this report and nothing in it was changed since.": True,
        "That key is the one that you got from the signer (--key).": bool(given.get("key")) or None,
        f"The key was in use on {made}.": _in_use(made, key),
        "Subject, result, policy and verdict do not contradict each other.": _agrees(statement),
        "The weights are the model that it is about, bit for bit (--weights).": weights,
        f"The ids are exactly the {samples['count']} that it is about (--ids, --salt).": ids,
        "Its figures are as they were measured (--figures).": figures,
        f"The log is unbroken through entry {log['seq']} (--log).": _chain(log, given.get("log")),
        f"The service made these pages from it{at} (--html, --pdf, --renderings).": rendered,
    }
    return Outcome(statement, key.keyid, claims)


def describe(outcome: Outcome) -> str:
    """Return the outcome in words."""
    predicate = outcome.statement["predicate"]
    lines = [f"Report {predicate['report']['id']}", f"It says: {predicate['verdict_in_words']}", ""]
    titles = {"Holds": True, "DOES NOT HOLD": False, "Not checked": None}
    told = {t: [c for c, holds in outcome.claims.items() if holds is v] for t, v in titles.items()}
    told["What this does not prove"] = predicate["what_this_does_not_prove"]
    for title, sentences in told.items():
        if sentences:
            lines += [f"{title}:", *(f"  - {sentence}" for sentence in sentences), ""]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verifier on the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Verify an Expunge report.")
    parser.add_argument("report", type=Path, help="the DSSE envelope, report.dsse.json")
    for name, words in OPTIONS.items():
        parser.add_argument(f"--{name}", help=words)
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    options, facts = vars(parser.parse_args(arguments)), {}
    try:
        keys = _read_keys(options["jwks"], options["key"])
        outcome = verify(options["report"].read_bytes(), keys, **{n: options[n] for n in OPTIONS})
        facts = {"keyid": outcome.keyid, "claims": outcome.claims}
        exit_code = CHECK_FAILED if False in outcome.claims.values() else HOLDS
        words = describe(outcome)
    except VerificationError as error:
        exit_code, words = error.args[0], f"REFUSED: {error.args[1]}"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        exit_code, words = UNREADABLE, f"Unreadable: {error}"
    answer = {"exit_code": exit_code, "detail": words, **facts}
    sys.stdout.write((json.dumps(answer) if options["as_json"] else words) + "\n")
    return exit_code


def _in_use(moment: str, key: Key) -> bool | None:
    made, unknown = datetime.fromisoformat(moment).timestamp(), key[2:] == (None, None)
    return None if unknown else (key.not_before or 0) - 1 <= made <= (key.not_after or made) + 1


def _agrees(statement: Json) -> bool:
    predicate, subject = statement["predicate"], statement["subject"][0]["digest"]["sha256"]
    policy, audit = predicate["policy"], predicate.get("audit") or {}
    named = "document" not in policy or _digest_of(policy["document"]) == policy["digest"]
    passed = predicate["verdict"] != "PASS" or audit.get("verdict") == "PASS"
    return named and passed and subject == predicate["lineage"]["result"]["sha256"]


def _are(path: str | None, wanted: set[str]) -> bool | None:
    """Say whether a file, or the files of a folder, have these digests among theirs."""
    if path is None:
        return None
    files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    return wanted <= {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _ids(commitment: Json, path: str | None, salt: str | None) -> bool | None:
    if path is None or salt is None or commitment["algorithm"] != COMMITMENT:
        return None
    ids = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
    return hmac.compare_digest(merkle_root(ids, bytes.fromhex(salt)), commitment["root"])


def _chain(named: Json, path: str | None) -> bool | None:
    if path is None:
        return None
    events = json.loads(Path(path).read_text(encoding="utf-8"))["items"]
    before = GENESIS if events[0]["seq"] == 1 else events[0]["prev_hash"]
    for number, event in enumerate(events, events[0]["seq"]):
        content = {name: value for name, value in event.items() if name != "hash"}
        found = (event["seq"], event["prev_hash"], event["hash"])
        if found != (number, before, _digest_of(content)):
            return False
        before = event["hash"]
    return (named["seq"], named["hash"]) in {(event["seq"], event["hash"]) for event in events}


def _rendered(
    envelope: bytes, made: str, keys: Sequence[Key], path: str | None, pages: list[Path]
) -> tuple[str, bool | None]:
    if path is None or not pages:
        return "", None
    listing, key = verify_envelope(Path(path).read_bytes(), keys, RENDERINGS_TYPE)
    at, own = listing["predicate"].get("listed_at"), hashlib.sha256(envelope).hexdigest()
    timely = datetime.fromisoformat(at or made) >= datetime.fromisoformat(made)
    listed = {entry["digest"]["sha256"] for entry in listing["subject"]}
    known = all(hashlib.sha256(page.read_bytes()).hexdigest() in listed for page in pages)
    holds = known and timely and listing["predicate"]["envelope"] == {"sha256": own}
    return f" and listed them on {at or 'no date'}", holds and _in_use(at or made, key) is not False


def _statement(payload_type: str, payload: bytes, predicate_type: str) -> Json:
    statement: Json = json.loads(payload)
    kinds = (payload_type, statement.get("_type"), statement.get("predicateType"))
    if kinds != (PAYLOAD_TYPE, STATEMENT_TYPE, predicate_type):
        raise VerificationError(CHECK_FAILED, "The signature fits, but this is no Expunge report.")
    wanted = _ESSENTIALS if predicate_type == PREDICATE_TYPE else {}
    places = [(path, kind) for kind, paths in wanted.items() for path in paths.split()]
    bad = [path for path, kind in places if not _has(statement.get("predicate"), path, kind)]
    if bad or not statement.get("subject"):
        told = f"The signed report lacks or distorts: {', '.join(bad) or 'its subject'}."
        raise VerificationError(CHECK_FAILED, told)
    return statement


def _has(value: Any, path: str, kind: type | str) -> bool:  # noqa: ANN401 - any JSON value
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(kind, str):
        return isinstance(value, str) and re.fullmatch(kind, value) is not None
    return isinstance(value, kind) and not isinstance(value, bool)


def _digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _decode(text: str) -> bytes:
    padded = text + "=" * (-len(text) % 4)
    return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)


def _read_keys(jwks: str | None, key: str | None) -> list[Key]:
    pinned = key if key is not None and key.startswith("SHA256:") else None
    keys = keys_of_jwks(json.loads(Path(jwks).read_text(encoding="utf-8"))) if jwks else []
    if key is not None and pinned is None:
        public_key = load_pem_public_key(Path(key).read_bytes())
        if not isinstance(public_key, Ed25519PublicKey):
            raise ValueError(f"{key} is no Ed25519 public key.")
        dated = [entry for entry in keys if entry.keyid == key_id(public_key)]
        keys = dated or [Key(key_id(public_key), public_key)]  # a key set tells when it signed
    if not keys:
        raise ValueError("Give the signer's keys: --jwks FILE, or --key PEM-FILE.")
    return [entry for entry in keys if pinned in (None, entry.keyid)]


if __name__ == "__main__":
    sys.exit(main())

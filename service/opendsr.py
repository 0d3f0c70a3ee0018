"""OpenDSR 2.0: the words of its bodies, and signatures that its controllers can check.

A signature is the base64 of RSA PKCS #1 v1.5 or ECDSA over the SHA-256 of the exact bytes of a body
(FIPS 186-4, OpenDSR §4.2), made with the key of a certificate that the discovery document names.
"""

import base64
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from service.commitment import canonical_json
from service.config import Settings

API_VERSION = "2.0"
DOMAIN_HEADER = "X-OpenDSR-Processor-Domain"
SIGNATURE_HEADER = "X-OpenDSR-Signature"
PREFIX = "/v1/opendsr"
IDENTITY = {"identity_type": "controller_customer_id", "identity_format": "raw"}
_OTHERS_MASK = 0o077


class OpendsrNotReady(Exception):
    """Raise when the adapter is not configured, or its key and certificate cannot be used."""


class OpendsrSigner:
    """Sign bodies as the processor of one domain.

    Args:
        key: RSA or elliptic curve.
        certificate: PEM, the chain after it if there is one.
        public_url: Where controllers reach this service; its host is the domain.
    """

    def __init__(
        self,
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        certificate: bytes,
        public_url: str,
    ) -> None:
        self._key = key
        self.certificate = certificate
        self.public_url = public_url

    @cached_property
    def domain(self) -> str:
        """Name of this processor: the host of its public URL."""
        return urlsplit(self.public_url).hostname or ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read key and certificate.

        Raises:
            OpendsrNotReady: One is missing, unreadable, open to others, or does not fit the other.
        """
        key_file, certificate_file = settings.opendsr_key_file, settings.opendsr_certificate_file
        if key_file is None or certificate_file is None or not settings.public_url:
            raise OpendsrNotReady(
                "OpenDSR needs EXPUNGE_PUBLIC_URL, EXPUNGE_OPENDSR_KEY_FILE and"
                " EXPUNGE_OPENDSR_CERTIFICATE_FILE."
            )
        try:
            key = _private_key(key_file)
            pem = certificate_file.read_bytes()
            found = x509.load_pem_x509_certificate(pem)
        except (OSError, ValueError, TypeError) as error:
            raise OpendsrNotReady(
                f"{key_file} or {certificate_file} cannot be read as PEM."
            ) from error
        signer = cls(key, pem, settings.public_url)
        _check_pair(signer, key, found)
        return signer

    def sign(self, body: bytes) -> str:
        """Return the signature of a body in base64."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            made = self._key.sign(body, padding.PKCS1v15(), SHA256())
        else:
            made = self._key.sign(body, ec.ECDSA(SHA256()))
        return base64.b64encode(made).decode()

    def headers(self, body: bytes) -> dict[str, str]:
        """Return the headers that every answer and callback carries."""
        return {DOMAIN_HEADER: self.domain, SIGNATURE_HEADER: self.sign(body)}

    def receipt(self, members: dict[str, Any]) -> bytes:
        """Return a body with `processor_signature` over the canonical JSON of its other members."""
        signature = self.sign(canonical_json(members))
        return canonical_json({**members, "processor_signature": signature})

    def status(self, facts: dict[str, Any], controller_id: str) -> dict[str, Any]:
        """Return the members that a status and a callback share, our own ones as an extension."""
        own = {name: facts[name] for name in ("request_id", "status", "verdict")}
        members: dict[str, Any] = {
            "controller_id": controller_id,
            "subject_request_id": facts["subject_request_id"],
            "request_status": facts["request_status"],
            "expected_completion_time": facts["expected_completion_time"],
            "api_version": API_VERSION,
            "extensions": {self.domain: own},
        }
        if facts["status"] == "completed":
            path = f"/v1/deletion-requests/{facts['request_id']}/report"
            members["results_url"] = f"{self.public_url}{path}"
        return members

    def callback(self, facts: bytes, controller_id: str, url: str) -> bytes:
        """Return the body of a callback to a URL, from what the ledger wrote down."""
        members = self.status(json.loads(facts), controller_id)
        return canonical_json({**members, "status_callback_url": url})

    def discovery(self) -> dict[str, Any]:
        """Return what this processor can do: erasure, by the ids that manifests call subjects."""
        return {
            "api_version": API_VERSION,
            "supported_identities": [IDENTITY],
            "supported_subject_request_types": ["erasure"],
            "processor_certificate": f"{self.public_url}{PREFIX}/certificate.pem",
        }


def _private_key(path: Path) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if path.stat().st_mode & _OTHERS_MASK:
        raise OpendsrNotReady(f"{path} is open to others; run: chmod 600 {path}")
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise OpendsrNotReady(f"{path} is neither an RSA nor an elliptic curve key.")
    return key


def _check_pair(
    signer: OpendsrSigner,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    certificate: x509.Certificate,
) -> None:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise OpendsrNotReady("The OpenDSR key does not belong to the certificate.")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        domains = names.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        domains = []
    parent = signer.domain.partition(".")[2]
    if signer.domain not in domains and f"*.{parent}" not in domains:
        raise OpendsrNotReady(f"The OpenDSR certificate is not issued to {signer.domain}.")

"""A Python client of the HTTP interface; the command line and the demo use nothing else.

with ExpungeClient("http://127.0.0.1:8000", api_key) as client:
request = client.open_request(model_id, sample_ids=["digit-0007"])
closed = client.wait(request["id"])
statement = client.report(request["id"])
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2

from service.client_calls import HttpCalls, Json
from service.client_errors import ExpungeProblem, no_answer, raise_for_problem
from service.client_waiting import WaitTimeout, sleep_until
from service.event_stream import Event, parse_events

__all__ = ["ENVELOPE", "PAGE", "STATEMENT", "ExpungeClient", "ExpungeProblem", "WaitTimeout"]

ENVELOPE = "application/vnd.in-toto+json"
STATEMENT = "application/json"
PAGE = "text/html"
PDF = "application/pdf"
_OPEN = frozenset({"pending", "in_progress", "on_hold"})
_GROUPS = "deletion-request-groups"
_COLLECTIONS = {"request": "deletion-requests", "audit": "audits", "group": _GROUPS}


class ExpungeClient(HttpCalls):
    """Talk to one service with one key.

    Args:
        base_url: Like ``https://expunge.example``.
        api_key: ``ex_live_…``.
        transport: Another way to send, for tests.
    """

    def ready(self) -> Json:
        """Return the readiness checks; raise ExpungeProblem when one fails."""
        return self._json("GET", "/readyz")

    def register_dataset(
        self, name: str, manifest: str | Path, *, upload: bool = False, **fields: object
    ) -> Json:
        """Register a data set by the path of its manifest on the server, or by uploading it.

        Further fields: ``root`` (needed with ``upload``), ``format``, ``class_names``.
        """
        order = {"name": name, **fields}
        if upload:
            return self._send_file("/v1/datasets", "dataset", order, "manifest", Path(manifest))
        return self._json("POST", "/v1/datasets", {**order, "manifest_uri": str(manifest)})

    def grow(self, dataset_id: str, manifest: str, **fields: object) -> Json:
        """Add the samples of a manifest on the server to a data set; ``format`` as there."""
        order = {"manifest_uri": manifest, **fields}
        return self._json("POST", f"/v1/datasets/{dataset_id}/samples", order)

    def samples(self, dataset_id: str, **filters: object) -> Iterator[Json]:
        """Yield samples; filters are ``label``, ``subject_id`` and ``split``."""
        yield from self._pages(f"/v1/datasets/{dataset_id}/samples", {"limit": 1000, **filters})

    def register_model(
        self,
        name: str,
        dataset_id: str,
        weights: str | Path,
        *,
        upload: bool = False,
        **fields: object,
    ) -> Json:
        """Register a model by the path of its weights on the server, or by uploading them.

        Further fields as in the API: ``architecture``, ``preprocessing``, ``recipe``, …
        """
        order = {"name": name, "dataset_id": dataset_id, **fields}
        if upload:
            return self._send_file("/v1/models", "model", order, "weights", Path(weights))
        return self._json("POST", "/v1/models", {**order, "weights_uri": str(weights)})

    def model(self, model_id: str) -> Json:
        """Return a model."""
        return self._json("GET", f"/v1/models/{model_id}")

    def versions(self, model_id: str) -> list[Json]:
        """Return a model's versions, oldest first."""
        return list(self._pages(f"/v1/models/{model_id}/versions", {}))

    def attest_deployment(
        self, model_id: str, version: int, environment: str, deployed_by: str, **fields: object
    ) -> Json:
        """Attest that a version serves; ``deployed_at`` where that is not now."""
        order = {"version": version, "environment": environment, "deployed_by": deployed_by}
        return self._json("POST", f"/v1/models/{model_id}/deployments", {**order, **fields})

    def deployments(self, **filters: object) -> Iterator[Json]:
        """Yield deployments, newest first; filters: ``environment``, ``active``, ``stale``."""
        yield from self._pages("/v1/deployments", filters)

    def wait_for_model(self, model_id: str, timeout_s: float = 300) -> Json:
        """Return a model once its weights were checked; see its ``status``."""
        deadline = time.monotonic() + timeout_s
        while (model := self.model(model_id))["status"] == "registering":
            sleep_until(deadline, 0.5)
        return model

    def download_weights(
        self, model_id: str, number: int, path: Path, *, for_audit: bool = False
    ) -> Path:
        """Write a version's weights to a file; for an audit also those of an outdated version."""
        url = f"/v1/models/{model_id}/versions/{number}/weights"
        with self._http.stream("GET", url, params={"for_audit": for_audit}) as response:
            raise_for_problem(response)
            with path.open("wb") as file:
                file.writelines(response.iter_bytes())
        return path

    def open_request(
        self, model_id: str | None = None, sample_ids: Sequence[str] = (), **fields: object
    ) -> Json:
        """Ask a model to forget samples, or with ``dataset_id`` all models of a data set.

        Further fields as in the API: ``labels``, ``subject_ids``, …; ``dry_run`` only prices it.
        """
        order = {"sample_ids": list(sample_ids), **fields}
        order |= {} if model_id is None else {"model_id": model_id}
        return self._json("POST", "/v1/deletion-requests", order)

    def get_request(self, request_id: str) -> Json:
        """Return a deletion request."""
        return self._json("GET", f"/v1/deletion-requests/{request_id}")

    def list_requests(self, **filters: object) -> Iterator[Json]:
        """Yield deletion requests, newest first; filters: ``status``, ``model_id``, ``overdue``."""
        yield from self._pages("/v1/deletion-requests", filters)

    def list_duplicates(self, request_id: str) -> Iterator[Json]:
        """Yield copies of the requested samples under other ids, as far as they were found."""
        yield from self._pages(f"/v1/deletion-requests/{request_id}/duplicates", {})

    def act(self, request_id: str, action: str, **fields: object) -> Json:
        """Cancel or release an open request; or extend, hold, approve or reject it: ``reason``."""
        url = f"/v1/deletion-requests/{request_id}/{action}"
        return self._json("POST", url, fields or None)

    def cancel(self, request_id: str) -> Json:
        """Withdraw a deletion request."""
        return self.act(request_id, "cancel")

    def open_audit(
        self,
        model_id: str,
        weights: str | Path,
        sample_ids: Sequence[str] = (),
        *,
        label: str,
        upload: bool = False,
        **fields: object,
    ) -> Json:
        """Have weights made elsewhere audited, by their path on the server or uploaded."""
        order = {"model_id": model_id, "sample_ids": list(sample_ids), "label": label, **fields}
        if upload:
            return self._send_file("/v1/audits", "audit", order, "weights", Path(weights))
        return self._json("POST", "/v1/audits", {**order, "weights_uri": str(weights)})

    def get_audit(self, audit_id: str) -> Json:
        """Return an audit."""
        return self._json("GET", f"/v1/audits/{audit_id}")

    def audit_request(self, request_id: str, audit: str = "references") -> Json:
        """Have a closed request audited at a level at which it was not; its report stays."""
        url = f"/v1/deletion-requests/{request_id}/audits"
        return self._json("POST", url, {"audit": audit})

    def reproduce(self, request_id: str) -> Json:
        """Have a closed request's audit made again; once completed, see its ``comparison``."""
        return self._json("POST", f"/v1/deletion-requests/{request_id}/reproductions")

    def qualify(self, model_id: str, method: str, **fields: object) -> Json:
        """Start the trials of a method on a model.

        Further fields as in the API: ``policy``, ``trials``, ``kinds``, ``seed``.
        """
        order = {"method": method, **fields}
        return self._json("POST", f"/v1/models/{model_id}/qualifications", order)

    def get_qualification(self, model_id: str, qualification_id: str) -> Json:
        """Return a qualification with its trials."""
        return self._json("GET", f"/v1/models/{model_id}/qualifications/{qualification_id}")

    def qualifications(self, model_id: str) -> list[Json]:
        """Return all qualifications of a model, newest first, failed and expired ones too."""
        return list(self._pages(f"/v1/models/{model_id}/qualifications", {}))

    def wait_for_qualification(
        self, model_id: str, qualification_id: str, timeout_s: float = 86_400
    ) -> Json:
        """Return a qualification once its trials are over; see its ``state``."""
        deadline = time.monotonic() + timeout_s
        while (found := self.get_qualification(model_id, qualification_id))["state"] == "running":
            sleep_until(deadline, 1.0)
        return found

    def follow(self, key: str, *, kind: str = "request") -> Iterator[Event]:
        """Yield events until it is closed; a broken connection is taken up where it broke."""
        url = f"/v1/{_COLLECTIONS[kind]}/{key}/events"
        last = ""
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            try:
                with self._http.stream("GET", url, headers=headers) as response:
                    raise_for_problem(response)
                    for event in parse_events(response.iter_lines()):
                        last = event.id
                        yield event
                        if event.name == "done":
                            return
            except httpx2.TransportError as error:
                if not last:
                    raise no_answer(error) from error
            time.sleep(1.0)  # the stream ended early: take it up again

    def wait(self, key: str, *, kind: str = "request", timeout_s: float = 86_400) -> Json:
        """Poll until a request, audit or group is closed and return it; raise WaitTimeout."""
        deadline = time.monotonic() + timeout_s
        url = f"/v1/{_COLLECTIONS[kind]}/{key}"
        while (resource := self._json("GET", url))["status"] in _OPEN:
            sleep_until(deadline, 1.0)
        return resource

    def report(self, key: str, accept: str = STATEMENT, *, kind: str = "request") -> Any:  # noqa: ANN401
        """Return a report: the statement as a dict, the page as text, envelope or PDF as bytes."""
        url = f"/v1/{_COLLECTIONS[kind]}/{key}/report"
        response = self._request("GET", url, headers={"Accept": accept})
        if accept == STATEMENT:
            return response.json()
        return response.text if accept == PAGE else response.content

    def report_file(self, key: str, name: str) -> bytes:
        """Return a request's `reply`, or its report's `bundle` or list of `renderings`."""
        url = f"/v1/{_COLLECTIONS['request']}/{key}"
        if name != "reply":
            url = self._request("GET", f"{url}/report").headers["content-location"]
        return self._request("GET", f"{url}/{name}").content

    def jwks(self) -> Json:
        """Return the public keys."""
        return self._json("GET", "/.well-known/jwks.json")

    def verifier(self) -> str:
        """Return the stand-alone verifier's source."""
        return self._request("GET", "/v1/verifier").text

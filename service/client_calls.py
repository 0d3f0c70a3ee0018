"""How the client speaks HTTP: one connection, problems as exceptions, pages as iterators."""

import json as json_text
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, cast

import httpx2

from service.client_errors import no_answer, raise_for_problem
from service.client_waiting import patiently

Json = dict[str, Any]
_READ_TIMEOUT_S = 60.0


class HttpCalls:
    """Send calls to one service with one key; see `ExpungeClient`."""

    def __init__(
        self, base_url: str, api_key: str, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._http = httpx2.Client(
            base_url=base_url.rstrip("/"),
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx2.Timeout(_READ_TIMEOUT_S, connect=10.0),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _json(self, method: str, url: str, body: Json | None = None) -> Json:
        return cast("Json", self._request(method, url, json=body).json())

    def _pages(self, url: str, parameters: Mapping[str, object]) -> Iterator[Json]:
        wanted: dict[str, Any] = {k: v for k, v in parameters.items() if v is not None}
        while True:
            page = self._request("GET", url, params=wanted).json()
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            wanted["cursor"] = page["next_cursor"]

    def _send_file(self, url: str, part: str, order: Json, file_part: str, path: Path) -> Json:
        with path.open("rb") as file:
            parts: Any = {
                part: (None, json_text.dumps(order).encode(), "application/json"),
                file_part: (path.name, file, "application/octet-stream"),
            }
            return cast("Json", self._request("POST", url, files=parts).json())

    def _request(
        self,
        method: str,
        url: str,
        *,
        json: Json | None = None,
        files: Any = None,  # noqa: ANN401 - httpx's own type is private
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        try:
            response = patiently(
                lambda: self._http.request(
                    method, url, json=json, files=files, params=params, headers=headers
                )
            )
        except httpx2.TransportError as error:
            raise no_answer(error) from error
        raise_for_problem(response)
        return response

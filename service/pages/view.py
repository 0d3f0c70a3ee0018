"""A statement as the renderings look at it: its members by short names, and what is asked often."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from service.pages import formats
from service.pages.blocks import Span, styled

VERDICTS = {
    "PASS": ("good", "Passed the audit"),
    "QUALIFIED": ("calm", "Done by a method that passed trials"),
    "NOTHING_TO_REMOVE": ("calm", "Nothing measurable to remove"),
    "RETRAINED": ("calm", "Retrained without the data"),
    "INCONCLUSIVE": ("open", "Not settled"),
    "FAIL": ("bad", "Failed the audit"),
}


class View:
    """Read a statement; optional members may be missing, required ones are in the schema.

    Attributes:
        statement: The verified statement.
        keyid: Id of the key that signed it.
    """

    def __init__(self, statement: Mapping[str, Any], keyid: str = "") -> None:
        self.statement = statement
        self.keyid = keyid
        self.predicate: Mapping[str, Any] = statement["predicate"]
        self.request: Mapping[str, Any] = self.predicate["request"]
        self.lineage: Mapping[str, Any] = self.predicate["lineage"]
        self.audit: Mapping[str, Any] = self.predicate.get("audit") or {}
        self.is_audit = self.predicate["report"]["about"] == "audit"
        self.verdict = str(self.predicate["verdict"])

    @cached_property
    def tone(self) -> str:
        """The verdict's colour and sign."""
        return VERDICTS.get(self.verdict, ("open", ""))[0]

    @cached_property
    def verdict_title(self) -> str:
        """The verdict in a few words."""
        return VERDICTS.get(self.verdict, ("", self.verdict))[1]

    @cached_property
    def title(self) -> str:
        """What kind of report this is."""
        return "Audit report" if self.is_audit else "Erasure report"

    @cached_property
    def lead(self) -> str:
        """What the report is about, in a sentence."""
        number = self.lineage["result"].get("number")
        name = self.lineage["model"]["name"] + (f", version {number}" if number else "")
        if not self.is_audit:
            return f"About the model {name}."
        label = self.request.get("label")
        made = f" ({label})" if label else ""
        return f"About a model made elsewhere{made}, compared with {name}."

    @cached_property
    def day(self) -> str:
        """The report's date."""
        return formats.day(self.predicate["report"]["generated_at"])

    @cached_property
    def limit(self) -> float | None:
        """The policy's limit for the upper bound of λ; None where the policy isn't at hand."""
        document = self.predicate["policy"].get("document") or {}
        limit = (document.get("influence") or {}).get("limit")
        return None if limit is None else float(limit)

    @cached_property
    def reference(self) -> str:
        """The number under which the caller knows the request."""
        return str(self.request.get("subject_request_id") or self.request["id"])


def mark(verdict: object) -> Span:
    """Return a verdict in its colour."""
    return styled(VERDICTS.get(str(verdict), ("open", ""))[0], formats.words(verdict))


def yes(value: object, good: str, bad: str) -> Span:
    """Return a tick or a cross with its words: colour is never alone."""
    return styled("good", f"✓ {good}") if value else styled("bad", f"✕ {bad}")

"""The sentences of a report: what a verdict means and what no report proves.

A sentence never claims more than was measured. PASS and NOTHING_TO_REMOVE speak of what could not
be told apart; RETRAINED is exact by provenance and says that it rests on the record.
"""

from collections.abc import Mapping, Sequence
from typing import Any

VERDICTS = ("PASS", "QUALIFIED", "NOTHING_TO_REMOVE", "RETRAINED", "INCONCLUSIVE", "FAIL")

WHAT_THIS_PROVES = (
    "The holder of the key named in the envelope signed this record; it has not changed since.",
    "It states which model file came out of the recorded job, and from which inputs, by digest.",
    "It states what was measured, with which version of the code and under which policy.",
)
WHAT_THIS_DOES_NOT_PROVE = (
    "That no copy of the samples, or of older weights, exists outside this service.",
    "That the model is anonymous in the sense of data protection law.",
    "That a stronger or a different test than those listed here would find nothing.",
    "That the signer told the truth: a signature over a false claim verifies too.",
    "That an operator who tuned a method against this very audit would have been caught.",
    "That this version is the one in use: who serves which version is for the operator to attest.",
)
_ONE_DIRECTION = (
    "Remaining influence is measured along one direction: from models that never saw the samples "
    "to the model before. What lies elsewhere is the joint test's to find."
)
_NO_YARDSTICK = (
    "Nothing was compared with models trained without the samples: the checks made here can refute "
    "a candidate and cannot confirm one."
)
_BYTES_REMOVED = (
    "Once the samples' own bytes are removed, the stored figures can be checked against their "
    "digests, but not made again."
)
_DIRECTIONS = {
    "under-forgotten": "it still carries traces of them",
    "over-forgotten": "it behaves on them as no untouched model would",
    "elsewhere": "it differs in ways that are no trace of them",
}


def verdict_sentence(
    verdict: str,
    audit: Mapping[str, Any] | None,
    qualification: Mapping[str, Any] | None = None,
) -> str:
    """Return the verdict in one sentence for a reader without statistics.

    Args:
        verdict: One of ``VERDICTS``.
        audit: The audit's result (contract §4); None when nothing was measured.
        qualification: What a QUALIFIED verdict rests on.
    """
    if verdict == "QUALIFIED":
        return _qualified(qualification or {})
    if verdict == "RETRAINED":
        return _retrained(audit)
    audit = audit or {}
    number = audit.get("num_references", 0)
    if verdict == "PASS":
        return (
            f"The new model could not be told apart from {number} models trained without these "
            f"samples{_bound(audit)}."
        )
    if verdict == "NOTHING_TO_REMOVE":
        return (
            f"The model in use could already not be told apart from {number} models trained "
            "without these samples: no influence to remove was measured."
        )
    if verdict == "FAIL":
        return _failed(audit)
    return "The measurements do not settle whether the samples' influence is gone." + _first(audit)


def limits(audit: Mapping[str, Any] | None, notices: Sequence[str] = ()) -> list[str]:
    """Return how far this report's measurements reach, in sentences; notices come first."""
    return [*notices, *_limits_of(audit)]


def _limits_of(audit: Mapping[str, Any] | None) -> list[str]:
    told = [_ONE_DIRECTION, _BYTES_REMOVED]
    if audit is None:
        return ["Nothing was measured: the verdict rests on how the model was made.", *told]
    number = int(audit.get("num_references", 0))
    if number:
        told.insert(
            0,
            f"{number} models trained without the samples are the yardstick. The joint test "
            f"rejects a genuine retraining with probability 1 in {number + 1}.",
        )
    else:
        told.insert(0, _NO_YARDSTICK)
    counts = audit.get("counts", {})
    if counts.get("forget", 0) < 30:
        told.append(f"With only {counts.get('forget', 0)} samples, small effects stay unseen.")
    return told


def untouched_rejected(audit: Mapping[str, Any] | None) -> bool | None:
    """Say whether the audit rejected the unchanged original in every part; None: not tested."""
    if audit is None:
        return None
    controls = [
        control
        for part in audit.get("parts", ())
        for control in part.get("self_controls", ())
        if control["name"] == "untouched"
    ]
    return all(control["rejected"] for control in controls) if controls else None


def _retrained(audit: Mapping[str, Any] | None) -> str:
    sentence = (
        "The new model was trained from the start without these samples. That is exact by "
        "provenance: it rests on the recorded recipe, data and seed, not on a measurement."
    )
    if audit is None:
        return sentence
    if not audit.get("num_references"):
        return f"{sentence} The attached checks without references say {audit['verdict']}."
    return f"{sentence} The attached audit says {audit['verdict']}."


def _failed(audit: Mapping[str, Any]) -> str:
    if not audit.get("num_references"):
        return "The new model failed a check that needs no comparison model." + _first(audit)
    why = _DIRECTIONS.get(str(audit.get("direction")), "the reasons are listed below")
    return f"The model was told apart from models trained without these samples: {why}."


def _qualified(qualification: Mapping[str, Any]) -> str:
    method = qualification.get("method", {}).get("name", "the method")
    found = qualification.get("kinds", {})
    rates = " and ".join(
        f"{entry['passes']} of {entry['trials']} trial erasures of kind {kind}"
        f" ({entry['interval'][0]:.0%} to {entry['interval'][1]:.0%} with"
        f" {entry['confidence']:.0%} confidence)"
        for kind, entry in found.items()
    )
    return (
        f"Nothing spoke against the new model, and {method} passed {rates} on this model on"
        f" {str(qualification.get('date'))[:10]}. This very erasure was not compared with models"
        " trained without the samples."
    )


def _bound(audit: Mapping[str, Any]) -> str:
    influence = audit.get("influence")
    if not influence or influence.get("upper") is None:
        return ""
    share = round(100 * influence.get("confidence", 0.95))
    return (
        f", and at most {max(influence['upper'], 0):.2f} of their measured influence remains "
        f"({share} % confidence; 0 is none, 1 is all)"
    )


def _first(audit: Mapping[str, Any]) -> str:
    reasons: Sequence[str] = audit.get("reasons") or ()
    return f" {reasons[0]}" if reasons else ""

"""What an entry of the catalogue of problems is; those about later audits and about webhooks."""

from typing import NamedTuple


class Problem(NamedTuple):
    """One entry: the HTTP status (None: only as the reason of a resource), title and advice."""

    status: int | None
    title: str
    advice: str


REQUEST_AUDITS: dict[str, Problem] = {
    "audit_in_progress": Problem(
        409, "The same audit is in progress", "Follow the audit named in `audit_id`."
    ),
    "erased_set_grew": Problem(
        409,
        "More samples were accepted for erasure since",
        "Audit the newest request of the model instead; this one's report stays valid as it is.",
    ),
    "images_unreadable": Problem(
        409,
        "Images of the request are gone",
        "Restore the files; where they were removed for good, the report can be verified, and its"
        " figures cannot be made again.",
    ),
    "no_result": Problem(
        409,
        "The request ended without a version",
        "Read its reason; only a completed request can be audited.",
    ),
    "not_closed": Problem(
        409, "The request is not closed", "Wait until its status is `completed`; see `events`."
    ),
    "samples_purged": Problem(
        409,
        "The link from the request to its samples is gone",
        "Verify the report; its figures cannot be made again.",
    ),
    "version_purged": Problem(
        409,
        "Weights that the audit needs were removed",
        "Verify the report; its figures cannot be made again without the versions in `versions`.",
    ),
}

WEBHOOKS: dict[str, Problem] = {
    "disabled_by_caller": Problem(
        None, "The endpoint was disabled", "Enable it; what it missed can be replayed."
    ),
    "endpoint_disabled": Problem(
        409,
        "The endpoint is disabled",
        "Correct what `reason_code` names, enable it, then try again.",
    ),
    "endpoint_failing": Problem(
        None,
        "The endpoint took nothing for most of a day",
        "Repair the receiver, enable the endpoint, replay what it missed.",
    ),
    "endpoint_gone": Problem(
        None, "The endpoint answered 410", "Enable it if the receiver is back, or delete it."
    ),
    "opendsr_invalid": Problem(
        400,
        "The body is no OpenDSR request",
        "Correct the places that `errors` points at; see docs/opendsr.md.",
    ),
    "opendsr_no_model": Problem(
        400,
        "No model is named",
        "Name `model_id` in the extension, or ask the operator for EXPUNGE_OPENDSR_MODEL_ID.",
    ),
    "opendsr_not_ready": Problem(
        503,
        "OpenDSR is not configured here",
        "Ask the operator to set EXPUNGE_PUBLIC_URL, EXPUNGE_OPENDSR_KEY_FILE and"
        " EXPUNGE_OPENDSR_CERTIFICATE_FILE.",
    ),
    "opendsr_repeated": Problem(
        400, "That request is known already", "Read its status; each request has an id of its own."
    ),
    "opendsr_unsupported": Problem(
        400,
        "This processor does not do that",
        "See GET /v1/opendsr/discovery: erasure, by `controller_customer_id` in `raw` format.",
    ),
    "pepper_missing": Problem(
        503, "The installation has no pepper", "Ask the operator to run `expunge doctor`."
    ),
    "too_many_endpoints": Problem(
        409, "Too many webhook endpoints", "Delete those that nobody listens at."
    ),
    "unknown_event_type": Problem(
        422, "There is no such event type", "Use the types that the detail names."
    ),
    "url_refused": Problem(
        422,
        "The URL may not be called",
        "Give an https URL of a public host, without credentials; see docs/webhooks.md.",
    ),
}

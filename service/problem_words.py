"""What an entry of the catalogue of problems is, and those about audits of closed requests."""

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

"""Problems of the contract: calls that happen once, conditions, deadlines, holds, approval."""

from service.problem_words import Problem

CONTRACT: dict[str, Problem] = {
    "idempotency_key_in_use": Problem(
        409,
        "The first call with this key is not answered yet",
        "Send it again after a moment; it is created once, whatever happens.",
    ),
    "idempotency_key_reused": Problem(
        422,
        "The key named another call",
        "Use a key of its own for every call; the same key only to send the same call again.",
    ),
    "subject_request_exists": Problem(
        409,
        "Another request has this subject_request_id",
        "Read the request at `location`; a subject request names one deletion request until that is"
        " cancelled, rejected or failed.",
    ),
    "no_models": Problem(
        422, "The data set has no model", "Register its models first, then ask them to forget."
    ),
    "erased_samples": Problem(
        409,
        "Samples were erased and can't come back",
        "Leave out the rows that `errors` points at, and all others with the same files; `count`"
        " tells how many there are, and `by_id` and `by_file`, where given, what was equal.",
    ),
    "samples_exist": Problem(
        409, "The data set has samples already", "Name the new samples alone."
    ),
    "unknown_revision": Problem(
        422, "There is no such revision", "Use one of GET /v1/datasets/{id}/revisions."
    ),
    "already_ended": Problem(409, "The deployment has ended", "Nothing is left to do."),
    "deployed_in_future": Problem(
        422, "The time lies ahead", "Attest a deployment once the version serves."
    ),
    "version_holds_erased_data": Problem(
        409,
        "The version holds erased data",
        "Deploy `current_version`, or wait for the next; a version that holds what was erased"
        " `since` then must not serve again.",
    ),
    "version_not_promoted": Problem(
        409,
        "The version never was current",
        "Only versions that were promoted may serve; see GET /v1/models/{id}/versions.",
    ),
    "precondition_failed": Problem(
        412, "The resource has changed", "Read it again and decide anew; send its present ETag."
    ),
    "already_extended": Problem(
        409, "The deadline was put off already", "The law allows one extension."
    ),
    "deadline_passed": Problem(
        409, "The deadline has passed", "An extension has to be told before the first deadline."
    ),
    "already_on_hold": Problem(409, "The request is on hold already", "Nothing is left to do."),
    "not_on_hold": Problem(409, "The request is not on hold", "Only a hold can be released."),
    "not_awaiting_approval": Problem(
        409,
        "No candidate waits for approval",
        "Wait until the phase is `awaiting_approval`; see `events`.",
    ),
    "other_candidate": Problem(
        409, "Another version waits for approval", "Look at `candidate` and decide about that one."
    ),
    "no_approver": Problem(
        409,
        "Nobody could approve the candidate",
        "Have a key with the role `approver` made and given to somebody else; then ask again.",
    ),
    "approver_is_requester": Problem(
        409,
        "A requester cannot decide about the candidate",
        "Use another key with the scope `requests:approve`.",
    ),
    "not_approved": Problem(
        None,
        "The candidate was not approved",
        "Request again, with another ladder or after the reason is put right.",
    ),
}

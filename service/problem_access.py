"""Problems of keys, rates and quotas."""

from service.problem_words import Problem

ACCESS: dict[str, Problem] = {
    "already_expired": Problem(
        422, "The key would have expired already", "Give a time to come, or leave it out."
    ),
    "key_revoked": Problem(
        409, "The key has ended", "A revoked or expired key stays so; make another one."
    ),
    "quota_exceeded": Problem(
        409,
        "The tenant has as many as it may",
        "Wait until some are closed, or ask the operator for a higher EXPUNGE_QUOTA_… named in"
        " `quota`.",
    ),
    "rate_limited": Problem(
        429,
        "Too many calls",
        "Wait as long as `Retry-After` says; the header `RateLimit` tells what is left.",
    ),
    "unknown_role": Problem(
        422, "There is no such role", "Use `auditor`, `approver`, `operator` or `admin`."
    ),
    "database_unavailable": Problem(
        503,
        "The database does not answer",
        "Send the request again after `Retry-After` seconds, with the same `Idempotency-Key`.",
    ),
}

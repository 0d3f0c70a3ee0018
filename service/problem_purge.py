"""Problems about the audit log's soundness and about what was purged for good."""

from service.problem_words import Problem

PURGE: dict[str, Problem] = {
    "version_not_current": Problem(
        409,
        "The version holds what was erased since",
        "Use the version named in `current`. For an audit, which must not lead to its use, download"
        " it with `for_audit=true`.",
    ),
    "pepper_changed": Problem(
        409,
        "Erased samples cannot be recognised",
        "Let the operator restore the pepper under which their ids were hashed.",
    ),
    "log_damaged": Problem(
        409,
        "The audit log is damaged",
        "`damages` names the first entries; let the operator run `expunge log verify`.",
    ),
}

"""Problems about the audit log's soundness and about what was purged for good."""

from service.problem_words import Problem

PURGE: dict[str, Problem] = {
    "log_damaged": Problem(
        409,
        "The audit log is damaged",
        "`damages` names the first entries; let the operator run `expunge log verify`.",
    ),
}

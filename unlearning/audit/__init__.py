"""Compare a candidate with retrained references, and decide.

`audit(AuditTask(...))` measures every model once and returns an `AuditResult` for each forget set:
an exact joint test, the remaining influence with its bounds, self-controls, utility, a verdict.
"""

from unlearning.audit.policy import Policy
from unlearning.audit.result import AuditResult, Verdict
from unlearning.audit.run import audit
from unlearning.audit.task import AuditedModel, AuditTask

__all__ = ["AuditResult", "AuditTask", "AuditedModel", "Policy", "Verdict", "audit"]

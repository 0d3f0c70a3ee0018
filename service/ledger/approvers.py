"""Who can approve what a request makes: another key of the tenant, or nobody."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.database import limits, now
from service.errors import Conflict
from service.ledger.orders import Caller, RequestOrder
from service.policies import load_policy
from service.tables import ApiKey

SCOPE = "requests:approve"


def needs_approval(session: Session, order: RequestOrder) -> bool:
    """Say whether the caller, or the operator for the order's policy, asks for approval.

    The operator names a policy in all its versions, or one version as `name/version`.

    Raises:
        Unprocessable: `unknown_policy`.
    """
    policy = load_policy(order.policy)
    names = {policy.name, f"{policy.name}/{policy.version}"}
    return order.approval or not names.isdisjoint(limits(session).approval_policies)


def refuse_without_approver(session: Session, caller: Caller) -> None:
    """Refuse a request whose candidate would wait for a word that nobody can give.

    Raises:
        Conflict: `no_approver`: no key in force but the caller's own may approve.
    """
    alive = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now(session))
    query = select(ApiKey.prefix, ApiKey.scopes).where(
        ApiKey.tenant_id == caller.tenant_id, ApiKey.revoked_at.is_(None), alive
    )
    own = caller.actor.removeprefix("key:")
    if not any(prefix != own and SCOPE in scopes for prefix, scopes in session.execute(query)):
        detail = (
            f"The candidate would wait for approval, and no other key has the scope {SCOPE}: who"
            " makes a request cannot approve what it leads to."
        )
        raise Conflict("no_approver", detail)

"""The verifier on the content of a signed report: its form, and that it agrees with itself."""

import json

import jsonschema
import pytest

from service import verify
from service.ledger.report_context import ReportContext
from service.renderings import schema as schema_bytes
from service.reports import build_statement, sign_statement
from service.signing import Signer
from tests.service.verifier.running import keys_of


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("report.schema_version", "2"),
        ("report.generated_at", "yesterday"),
        ("request.samples.count", "130"),
        ("request.samples.count", True),
        ("request.samples.commitment.root", "3f9a"),
        ("lineage.result.sha256", None),
        ("verdict", "PASSED"),
        ("what_this_does_not_prove", "nothing"),
        ("audit_log", None),
    ],
)
def test_a_signed_report_of_another_form_is_refused(
    context: ReportContext, signer: Signer, path: str, value: object
) -> None:
    statement = build_statement(context)
    *parents, last = path.split(".")
    place = statement["predicate"]
    for name in parents:
        place = place[name]
    place[last] = value
    with pytest.raises(verify.VerificationError, match=last) as caught:
        verify.verify_envelope(sign_statement(statement, signer).envelope, keys_of(signer))
    assert caught.value.args[0] == verify.CHECK_FAILED


@pytest.mark.parametrize("what", ["subject", "policy", "audit"])
def test_a_report_that_contradicts_itself_is_refused(
    context: ReportContext, signer: Signer, what: str
) -> None:
    statement = json.loads(json.dumps(build_statement(context)))
    if what == "subject":
        statement["subject"][0]["digest"]["sha256"] = "0" * 64
    elif what == "policy":
        statement["predicate"]["policy"]["document"]["influence"]["limit"] = 0.9
    else:
        statement["predicate"]["audit"]["verdict"] = "FAIL"
    outcome = verify.verify(sign_statement(statement, signer).envelope, keys_of(signer))
    (false,) = [claim for claim, holds in outcome.claims.items() if holds is False]
    assert "contradict" in false


def test_the_verifiers_essentials_are_the_schemas(context: ReportContext) -> None:
    schema = jsonschema.Draft202012Validator(json.loads(schema_bytes()))
    paths = [path for paths in verify._ESSENTIALS.values() for path in paths.split()]
    for path in paths:
        statement = build_statement(context)
        *parents, last = path.split(".")
        place = statement["predicate"]
        for name in parents:
            place = place[name]
        del place[last]
        assert not schema.is_valid(statement), path

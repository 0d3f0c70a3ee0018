"""The first part: for a data-protection officer, without jargon."""

from typing import Any

from service.pages import charts, formats
from service.pages.blocks import (
    Block,
    Text,
    box,
    bullets,
    code,
    columns,
    facts,
    heading,
    paragraph,
    soft,
    spans,
    strong,
)
from service.pages.view import View

_COMMAND = "python verify.py report.dsse.json --jwks jwks.json --key SHA256:…"


def blocks(view: View) -> list[Block]:
    """Return what was asked, what was done, the verdict, and what it does not prove."""
    return [
        {
            "kind": "verdict",
            "tone": view.tone,
            "icon": charts.icon(view.tone),
            "title": view.verdict_title,
            "text": view.predicate["verdict_in_words"],
        },
        _facts(view),
        *_influence(view),
        *_notices(view),
        columns(
            [heading("What was done"), *_done(view), heading("What remains"), *_remains(view)],
            [
                heading("What this does not prove"),
                bullets(view.predicate["what_this_does_not_prove"]),
            ],
        ),
        box(
            "The record is signed. Anyone with the signed file, the public keys and Python can "
            "check it, without this service’s software. Learn the key’s number from the signer by "
            "another way than this report:",
            _COMMAND,
            ["Signed with key ", code(view.keyid)],
            "Check it yourself",
        ),
    ]


def _facts(view: View) -> Block:
    request = view.request
    regulation = request.get("regulation")
    name = request.get("subject_request_id") or request["id"][:8]
    asked = "Audit" if view.is_audit else "Request"
    items: list[tuple[str, str, Text]] = [
        (asked, name, formats.words(regulation.upper()) if regulation else ""),
        ("Samples to forget", formats.number(request["samples"]["count"]), ""),
        ("Asked", formats.day(request["submitted_time"]), _received(request)),
    ]
    if request.get("due_at"):
        items.append(("Deadline", formats.day(request["due_at"]), ""))
    items.append(("Done", formats.day(request["completed_at"]), _when(request)))
    return facts(items)


def _received(request: Any) -> str:  # noqa: ANN401 - JSON
    received = formats.day(request["received_at"])
    same = received == formats.day(request["submitted_time"])
    return "received the same day" if same else f"received {received}"


def _when(request: Any) -> Text:  # noqa: ANN401 - JSON
    days = request["days_used"]
    after = f"after {days} day{'' if days == 1 else 's'}" if days else "on the day of receipt"
    if request["within_deadline"] is False:
        return [f"{after}, ", strong("after the deadline")]
    return f"{after}, in time" if request["within_deadline"] else after


def _influence(view: View) -> list[Block]:
    influence = view.predicate["influence"]
    if not influence:
        why = "no part of the audit could compute it" if view.audit else "nothing was measured"
        told = f"No remaining influence is given: {why}."
        return [paragraph(told)]
    value, what = _placed(influence)
    svg, alt = charts.influence_scale(influence, view.limit)
    shaded = (
        " The shaded range is what the policy allows for the upper bound."
        if view.limit is not None
        else ""
    )
    return [
        {
            "kind": "one",
            "value": value,
            "text": spans(what),
            "svg": svg,
            "alt": alt,
        },
        paragraph(
            "0 is where models lie that were trained without the samples, 1 is where the model "
            f"was before.{shaded} Below 0 lies what is further "
            "from it than those models are on average; small values on either side are chance.",
            small=True,
        ),
    ]


def _placed(influence: Any) -> tuple[str, Text]:  # noqa: ANN401 - JSON
    """Return the one number and its sentence; no number where the interval holds both ends."""
    lower, upper = influence.get("lower"), influence.get("upper")
    if lower is not None and upper is not None and lower <= 0 and upper >= 1:
        ends = f"{formats.share(lower)} to {formats.share(upper)}"
        told = f"The interval ({ends}) holds both 0 and 1: this audit cannot place the model."
        return "Not resolved", told
    what: list[Any] = ["of the samples’ influence remains"]
    if upper is not None:
        sure = round(100 * influence.get("confidence", 0.95))
        at_most = strong(formats.share(max(upper, 0.0)))
        what += [f"; with {sure} % confidence at most ", at_most]
    return formats.share(influence["value"]), what


def _notices(view: View) -> list[Block]:
    """Return what a reader must know besides the verdict, copies that were left for example."""
    notices = view.predicate.get("notices") or []
    return [heading("To be noted"), bullets(notices)] if notices else []


def _done(view: View) -> list[Block]:
    tries, method = view.predicate["tries"], view.predicate.get("method") or {}
    if view.is_audit:
        return [paragraph("A model that somebody else made was measured. Nothing was changed.")]
    told: list[Any] = []
    if view.verdict == "NOTHING_TO_REMOVE":
        told.append("The model in use was measured and left as it was.")
    elif method.get("class") == "exact_retrain":
        told.append("The model was trained again from the start, without the samples.")
    elif method:
        name = strong(formats.words(method.get("name")))
        told += ["The model was changed by the method ", name, ", meant to remove their influence."]
    names = list(dict.fromkeys(formats.words(entry["method"]) for entry in tries))
    if len(names) > 1:
        told.append(f" Tried in this order: {', '.join(names)}.")
    result = view.lineage["result"]
    if result.get("promoted"):
        version = f" (version {result['number']})" if result.get("number") else ""
        told.append(f" The new model{version} was made the current one in this service.")
    else:
        told.append(" No new version was put in place.")
    return [paragraph(told)]


def _remains(view: View) -> list[Block]:
    copies = view.predicate["residual_copies"]
    with_data = [copy for copy in copies if copy["contains"]]
    rest = len(copies) - len(with_data)
    if not with_data:
        made = [paragraph("No file that was made with the samples is left in this service.")]
    else:
        made = [
            paragraph("These files were made with the samples and still exist:"),
            bullets([_copy(copy) for copy in with_data]),
            paragraph(
                "Each is deleted by the date given unless a legal hold keeps it.",
                small=True,
            ),
        ]
    if rest:
        kept = "file made without the samples is" if rest == 1 else "files made without them are"
        made.append(
            paragraph(soft(f"Besides, {rest} {kept} kept for now; see part 2."), small=True)
        )
    return made


def _copy(copy: Any) -> Text:  # noqa: ANN401 - JSON
    if copy["what"] == "deployment":
        told = ", where it serves as your organisation attested, until a newer version is deployed."
        return [strong(formats.capital(str(copy["name"]))), told]
    refused = ", a candidate that was not taken" if copy["what"] == "candidate" else ""
    until = copy["until"]
    end = f"until {formats.day(until)}" if until else "until your operator removes it"
    if copy.get("held"):
        end = "kept by a legal hold on the data set; it goes when that has ended"
    return [strong(formats.capital(str(copy["name"]))), f"{refused}, {end}."]

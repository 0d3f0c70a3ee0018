"""The second part: how the verdict came about, for an auditor."""

from collections.abc import Mapping
from typing import Any

from service.pages import charts, formats
from service.pages.blocks import (
    Block,
    Span,
    Text,
    bullets,
    cell,
    code,
    columns,
    details,
    drawing,
    figures,
    heading,
    keep,
    note,
    pairs,
    paragraph,
    strong,
    table,
)
from service.pages.comparison import compared
from service.pages.measured import others, part_of_audit
from service.pages.view import View, mark, yes

# What has a place of its own, or stands in the report already.
_KNOWN_AUDIT = frozenset(
    ("scope", "verdict", "direction", "influence", "reasons", "policy", "look", "num_references")
) | {"counts", "parts", "utility", "fidelity", "collateral", "forgotten_classes", "curves"}
_KNOWN_REPORT = frozenset(
    ("report", "request", "lineage", "method", "tries", "scope", "verdict", "verdict_in_words")
) | {
    "direction",
    "reasons",
    "influence",
    "untouched_rejected",
    "policy",
    "audit_level",
    "qualification",
    "audit",
    "residual_copies",
    "audit_log",
    "figures",
    "environment",
    "what_this_proves",
    "what_this_does_not_prove",
    "notices",
    "limits",
    "of_request",
    "pool",
}
Json = Mapping[str, Any]


def blocks(view: View) -> list[Block]:
    """Return tries, tests, measurements, digests and limits."""
    made = [heading("How the verdict came about", 2), _verdict(view)]
    if view.predicate["reasons"]:
        made += [heading("Reasons"), bullets(view.predicate["reasons"])]
    made += [*compared(view), *_qualification(view), *_timeline(view), *_tries(view)]
    for part in view.audit.get("parts", ()):
        made += part_of_audit(part)
    proves = [heading("What this proves"), bullets(view.predicate["what_this_proves"])]
    reach = [heading("How far it reaches"), bullets(view.predicate["limits"])]
    made += [*_utility(view), *_more(view), columns(proves, reach)]
    made += [heading("Policy"), _policy(view), heading("Digests and record"), _digests(view)]
    return [*made, heading("Files that exist"), *_copies(view)]


def _verdict(view: View) -> Block:
    policy = view.predicate["policy"]
    text: list[Any] = ["Verdict ", mark(view.verdict), " under policy "]
    text += [strong(f"{policy['name']}/{policy['version']}")]
    if view.audit:
        counted = strong(view.audit.get("num_references", 0))
        text += [", measured against ", counted, " models trained without the samples"]
    level = formats.words(view.predicate["audit_level"])
    return paragraph([*text, f". Audit level: {level}."])


def _qualification(view: View) -> list[Block]:
    """Return the trials that a QUALIFIED verdict rests on, whatever members they have."""
    cited = view.predicate.get("qualification")
    if not cited:
        return []
    shown = {name: value for name, value in cited.items() if name != "does_not_prove"}
    return [heading("Trials that the verdict rests on"), pairs(formats.facts(shown))]


def _timeline(view: View) -> list[Block]:
    request = view.request
    moments = [
        ("Asked", request["submitted_time"]),
        ("Received", request["received_at"]),
        ("Done", request["completed_at"]),
        ("Due", request.get("due_at")),
    ]
    if formats.day(request["submitted_time"]) == formats.day(request["received_at"]):
        moments = moments[1:]
    drawn = charts.timeline(moments)
    made = [heading("Timeline")]
    made += [drawing(*drawn, "timeline")] if drawn else []
    listed = [(name, formats.moment(time)) for name, time in moments if time]
    made.append(pairs(listed))
    if request.get("due_rule"):
        rule = formats.words(request["due_rule"])
        made.append(paragraph(f"Deadline by the rule: {rule}.", small=True))
    return made


def _tries(view: View) -> list[Block]:
    tries = view.predicate["tries"]
    if not tries:
        return []
    head = ("Method", "Look", "Verdict", "Influence [95 %]", "Time", "× one retraining")
    rows = [
        [
            cell(strong(formats.words(attempt["method"]))),
            figures(attempt.get("look", "–")),
            cell(mark(attempt["verdict"]) if attempt.get("verdict") else "not audited"),
            cell(keep(formats.influence(attempt.get("influence")))),
            figures(formats.seconds(attempt.get("seconds"))),
            figures(formats.number(attempt.get("retrain_ratio"))),
            figures(formats.number(attempt.get("retrain_ratio_with_references"))),
        ]
        for attempt in tries
    ]
    return [
        heading("Everything that was tried"),
        table("Everything that was tried", [*head, "with references"], rows),
        paragraph(
            "The last column counts the models that the audit needed as well: each of them was "
            "itself a retraining.",
            small=True,
        ),
    ]


def _utility(view: View) -> list[Block]:
    utility, fidelity = view.audit.get("utility") or {}, view.audit.get("fidelity") or {}
    named = (("holdout_retained", "Retained classes"), ("worst_class", "Worst class"))
    rows = [_useful(title, utility[key]) for key, title in named if utility.get(key)]
    made: list[Block] = []
    if rows:
        head = ("Accuracy on hold-out samples", "New", "Before", "Never saw the data", "Limit", "")
        made += [heading("Did it stay useful?"), table("Utility", head, rows)]
    if fidelity.get("retain") and fidelity.get("holdout"):
        retain, holdout = (fidelity[name].get("difference") for name in ("retain", "holdout"))
        told = (
            "Does the recorded recipe make models like the original? On retained samples they "
            f"differ by {formats.number(retain)}, on hold-out by {formats.number(holdout)}; "
            f"{formats.number(fidelity.get('margin'))} is allowed: "
        )
        made.append(paragraph([told, yes(fidelity.get("ok"), "yes", "no"), "."]))
    return made


def _useful(title: str, row: Json) -> list[Block]:
    name = title if row.get("class") is None else f"{title} ({row['class']})"
    kept = cell(yes(row["ok"], "kept", "too low")) if "ok" in row else cell()
    return [
        cell(strong(name)),
        *(figures(formats.number(row.get(key))) for key in ("candidate", "original")),
        figures(formats.spread(row.get("references"))),
        figures(formats.number(row.get("limit"))),
        kept,
    ]


def _more(view: View) -> list[Block]:
    """Show drift, copies left and whatever else an audit or a report recorded."""
    made = others(view.audit, _KNOWN_AUDIT, "Also recorded by the audit")
    made += others(view.predicate, _KNOWN_REPORT, "Also recorded")
    if view.audit.get("utility"):
        known = frozenset({"ok", "holdout_retained", "worst_class"})
        made += others(view.audit["utility"], known, "Also recorded of utility")
    return made


def _copies(view: View) -> list[Block]:
    """Return the files made with the samples, and folded away those made without them."""
    copies = view.predicate["residual_copies"]
    if not copies:
        return [paragraph("None is recorded.")]
    with_data = [copy for copy in copies if copy["contains"]]
    rest = [copy for copy in copies if not copy["contains"]]
    told = "No file that was made with the samples is recorded."
    made = [_files("Files made with the samples", with_data) if with_data else paragraph(told)]
    title = f"{len(rest)} kept that {'was' if len(rest) == 1 else 'were'} made without the samples"
    return [*made, details(title, _files(title, rest))] if rest else made


def _kind(what: str) -> Span | str:
    return note(what) if what in ("candidate", "deployment") else ""


def _until(copy: Json) -> str:
    if copy["what"] == "deployment":
        return "a newer version is deployed"
    if copy.get("held"):
        return "a legal hold keeps it"
    return formats.day(copy["until"]) if copy["until"] else "removed by the operator"


def _files(label: str, copies: list[Json]) -> Block:
    rows = [
        [
            cell([strong(copy["name"]), _kind(copy["what"])]),
            cell("yes" if copy["contains"] else "no"),
            cell(_until(copy)),
            cell(code(copy["where"])),
        ]
        for copy in copies
    ]
    head = ("What", "Made with the samples", "Until", "Where")
    return table(label, head, rows, weights=(1.3, 0.7, 0.8, 3))


def _policy(view: View) -> Block:
    policy = view.predicate["policy"]
    items: list[tuple[str, Text]] = [
        ("Policy", f"{policy['name']}/{policy['version']}"),
        ("Digest", code(policy["digest"])),
    ]
    if "document" not in policy:
        items.append(("Content", "Not in this report: the installed file has another digest."))
    document = policy.get("document") or {}
    shown = {k: v for k, v in document.items() if k not in {"name", "version"}}
    return pairs([*items, *formats.facts(shown)])


def _digests(view: View) -> Block:
    lineage, request = view.lineage, view.request
    data, base = lineage["dataset"], lineage["base"]
    commitment, log = request["samples"]["commitment"], view.predicate["audit_log"]
    version = f" (version {base['number']})" if base.get("number") else ""
    retained = (
        f"{formats.number(data['retain'])} of {formats.number(data['train'])} training samples; "
        f"{formats.number(data['erased'])} erased in all. "
    )
    told = "who has the ids and the salt can check membership; this report names none."
    return pairs(
        [
            ("New weights", code(view.statement["subject"][0]["digest"]["sha256"])),
            ("Weights before", [code(base["sha256"]), version]),
            (
                "Samples, commitment",
                [code(commitment["root"]), note(f"{commitment['algorithm']}: {told}")],
            ),
            ("Data set as registered", [f"{data['name']}, ", code(data["fingerprint_registered"])]),
            ("Retain set", [retained, code(data["retain_digest"])]),
            ("Audit log", [f"entry {formats.number(log['seq'])}, ", code(log["hash"])]),
        ]
    )

"""The reply to the person who asked, in plain words, from the signed statement alone.

It never says more than was measured: PASS and NOTHING_TO_REMOVE speak of what could not be told
apart, RETRAINED of how the model was made, QUALIFIED of trials, and the others of what is open.
"""

from collections.abc import Mapping
from datetime import datetime
from textwrap import fill
from typing import Any

from service.pages import Page, formats, render_page
from service.pages.view import View

Json = Mapping[str, Any]
_WIDTH = 78
_OPEN = (
    "Your data stay excluded from everything that is trained from now on. Your request is not "
    "fulfilled; you may complain to a supervisory authority."
)
_ALL = (
    "It does not show that no copy exists outside the service, that the model is anonymous in the "
    "sense of data protection law, or that no other test could find a trace. It rests on the word "
    "of whoever ran and signed it."
)
_OUTCOMES = {
    "RETRAINED": (
        "The model was trained again from the start, without your data. This follows from the "
        "record of how it was made. It is not the result of a measurement."
    ),
    "INCONCLUSIVE": (
        "The measurements do not settle whether the influence of your data on the model is gone. "
        "We cannot tell you that it is."
    ),
    "FAIL": (
        "The measurements found that the model still differs from models that were never trained "
        "on your data. We cannot tell you that its influence is gone."
    ),
}
_UNFINISHED = (
    "We could not remove the influence of your data from the model. The version that was in use "
    "when you asked was not replaced: it was made with your data. The recorded reason:"
)


def reply(statement: Json) -> list[str]:
    """Return the reply's paragraphs for a closed request.

    Args:
        statement: The verified statement of a deletion request's report.
    """
    view = View(statement)
    record = (
        f"The signed record of this has the number {view.predicate['report']['id']} and is dated "
        f"{view.day}. You may ask us for it, and anyone can check it."
    )
    return [
        f"Your reference: {view.reference}",
        _asked(view.request),
        _outcome(view),
        *_place(view),
        _remains(view.predicate["residual_copies"]),
        *(f"Please note: {told}" for told in view.predicate.get("notices", ())),
        f"What this does not tell you. {_ALL}",
        record,
    ]


def reply_unfinished(facts: Json) -> list[str]:
    """Return the reply's paragraphs for a request that failed.

    Args:
        facts: `reference`, `submitted_time`, `received_at`, `completed_at`, `due_at`,
            `within_deadline` and `samples` as in a statement's request, and `reason`.
    """
    return [
        f"Your reference: {facts['reference']}",
        _asked(facts),
        f"{_UNFINISHED} {facts['reason'] or 'no reason was recorded.'}",
        _OPEN,
    ]


def as_text(paragraphs: list[str]) -> str:
    """Return the reply as plain text for a letter or a mail."""
    return "\n\n".join(fill(_one_line(text), _WIDTH) for text in paragraphs) + "\n"


def as_page(paragraphs: list[str]) -> Page:
    """Return the reply as a page to print."""
    return render_page("reply.html", paragraphs=[_one_line(text) for text in paragraphs])


def _asked(request: Json) -> str:
    count = request["samples"]["count"]
    items = "1 item" if count == 1 else f"{formats.number(count)} items"
    told = (
        f"You asked on {_date(request['submitted_time'])} that a model forget data about you. We "
        f"received this on {_date(request['received_at'])}. It concerns {items} of the data that "
        f"the model was trained on. We closed it on {_date(request['completed_at'])}"
    )
    if not request.get("due_at"):
        return f"{told}."
    if request["within_deadline"]:
        return f"{told}, before the deadline of {_date(request['due_at'])}."
    return f"{told}. The deadline was {_date(request['due_at'])}: we are late."


def _outcome(view: View) -> str:
    number = view.audit.get("num_references", 0)
    if view.verdict == "PASS":
        return (
            "The model was changed, and the result was measured: it could not be told apart from "
            f"{number} models that were trained without your data.{_bound(view)}"
        )
    if view.verdict == "NOTHING_TO_REMOVE":
        return (
            f"The model in use was measured. It could already not be told apart from {number} "
            "models that were trained without your data: no influence of your data was found, so "
            "the model was left as it was."
        )
    if view.verdict == "QUALIFIED":
        return (
            "The model was changed by a method that had been tried on this model before."
            f"{_trials(view)} Your own request rests on those trials. The result was not compared "
            "with models that were trained without your data."
        )
    return _OUTCOMES.get(view.verdict, _OUTCOMES["INCONCLUSIVE"]) + _measured_besides(view)


def _trials(view: View) -> str:
    cited = view.predicate.get("qualification") or {}
    kinds = list((cited.get("kinds") or {}).values())
    trials, passes = (sum(int(kind.get(n) or 0) for kind in kinds) for n in ("trials", "passes"))
    if not trials:
        return ""
    return f" In {trials} trials with other data it stood the comparison {passes} times."


def _measured_besides(view: View) -> str:
    """Say what an audit attached to a retraining found where it doesn't agree with it."""
    found = view.audit.get("verdict")
    if view.verdict != "RETRAINED" or found in (None, "PASS", "NOTHING_TO_REMOVE"):
        return ""
    if found == "FAIL":
        return " Measurements made besides did find a difference from other models trained so."
    return " Measurements made besides did not settle whether a trace can be found."


def _bound(view: View) -> str:
    influence = view.predicate["influence"] or {}
    if influence.get("upper") is None:
        return ""
    upper = formats.share(max(influence["upper"], 0.0))
    sure = round(100 * influence.get("confidence", 0.95))
    return (
        f" On a scale where 0 is a model that never saw your data and 1 is the model before, it "
        f"lies at {upper} at most, with {sure} % confidence."
    )


def _place(view: View) -> list[str]:
    result = view.lineage["result"]
    if result.get("promoted"):
        return ["The new model replaced the one before in our service."]
    return [] if view.verdict == "NOTHING_TO_REMOVE" else ["No new model was put in place."]


def _remains(copies: list[Json]) -> str:
    kept = [copy for copy in copies if copy["contains"] and copy["what"] != "deployment"]
    serving = any(copy["what"] == "deployment" for copy in copies)
    in_use = " A model that was made with your data was still in use." if serving else ""
    if not kept:
        return "No file that was made with your data is left in the service." + in_use
    dates = sorted(copy["until"] for copy in kept if copy["until"])
    files = "1 file that was" if len(kept) == 1 else f"{len(kept)} files that were"
    told = f"{files} made with your data still exist" + ("s." if len(kept) == 1 else ".")
    if dates:
        told += f" Those with a date go by {_date(dates[-1])}."
    held = sum(copy.get("held", False) for copy in kept)
    if held:
        told += " Those that a legal hold keeps go when that has ended."
    if len(dates) + held < len(kept):
        told += " Older versions of the model stay until they are removed by hand."
    return told + in_use


def _date(text: str) -> str:
    return f"{datetime.fromisoformat(text):%d %B %Y}".lstrip("0")


def _one_line(text: str) -> str:
    """Keep what others wrote from making lines of its own."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

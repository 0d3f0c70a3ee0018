"""The pool, in the engineer's part: what was trained, and how far the samples were memorised."""

from collections.abc import Mapping
from typing import Any

from service.pages import formats
from service.pages.blocks import Block, cell, figures, heading, pairs, paragraph, table
from service.pages.view import View

_ABOUT = (
    "Models that each missed a tenth of the training samples at most were trained for this "
    "request. What they say of a sample that they never saw is how the model might see it once "
    "it has forgotten. They decide nothing in this report: they were trained with most of the "
    "samples, none of them was kept, and what taught a method never audits it."
)
_READ = {
    "memorised": "Memorised: how much surer of the label models are that saw the sample (0: not)",
    "recognised": "Recognised before the run: membership score of the old model (stranger: 0.5)",
}


def pool_blocks(view: View) -> list[Block]:
    """Return what the statement says of the run's pool; nothing where none was wanted."""
    pool = view.predicate.get("pool")
    if not pool:
        return []
    told: list[Block] = [heading("Pool of models"), paragraph(_ABOUT)]
    if pool["made"] is None:
        reason = pool["reason"] or "no reason was recorded."
        return [*told, paragraph(f"No pool could be made, so the run went on without: {reason}")]
    told.append(pairs(_made(pool)))
    if pool["triage"]:
        told.append(_triage(pool["triage"]))
    return told


def _made(pool: Mapping[str, Any]) -> list[tuple[str, str]]:
    made = pool["made"]
    supplied = "yes" if pool["supplied_targets"] else "no, they were not used for it"
    return [
        ("Models", f"{formats.number(made['models'])}, seed {made['seed']}"),
        ("Trained on", f"all but a tenth of {formats.number(made['trained_on'])} samples at most"),
        ("Left out together", f"{formats.number(made['groups'])} groups (a person's, equal files)"),
        ("Time", formats.seconds(made["seconds"])),
        ("Targets of the new version's method", supplied),
    ]


def _triage(triage: Mapping[str, Any]) -> Block:
    rows = [
        [
            cell(words),
            figures(formats.number(triage["n"])),
            figures(formats.number(triage[name]["mean"])),
            figures(formats.interval(triage[name]["interval"])),
        ]
        for name, words in _READ.items()
    ]
    return table("The samples before the run", ("Mean", "n", "Value", "95 % interval"), rows)

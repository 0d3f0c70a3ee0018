"""Write docs/results.md from the JSON of the tables of methods, so that page and figures agree.

python -m benchmarks.results_page
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.method_words import markdown, markdown_away, summarise

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
SECTIONS = {
    "methods.json": "Digits",
    "methods-fashion.json": "Fashion-MNIST, 10,000 images",
    "methods-cifar10.json": "CIFAR-10, 10,000 images",
    "methods-cifar10-resnet18.json": "CIFAR-10, ResNet-18",
    "second-rung-fashion.json": "Fashion-MNIST, the second rung on further classes",
    "ablation.json": "What each part of MUDA is worth, digits",
    "confirmation.json": "Digits on other seeds: shorter forms, and what forgetting is worth",
}
_HEAD = """# Methods side by side

Written by `python -m benchmarks.results_page` from `benchmarks/results/`; a test compares them.
PASS counts audits by `policy/standard`, 19 references each, at the first look; a draw has its own
split, original and references, on seeds of its own. "tuned" rows come from one budget for all
(`benchmarks/tuning.py`: 12 trials on one digit class, cost at most half a retraining; tuned DELETE
and boundary are the untouched network); the others are defaults, chosen on other seeds
([search.md](search.md)). The rows "two epochs less" and "three epochs less" were added when the
table had been seen; the section "Digits on other seeds" audits what was added later on draws that
nothing was chosen on. Peers' epochs are numbers, tuned on a recipe of 25; ours are shares of it.
λ: remaining influence, 0 like a retraining, 1 untouched; bound: its one-sided 95 % limit; gap: mean
distance to the references over accuracies, da, probe, nmi, f1 and attack; relearn: steps as a share
of the references', in the n audits whose references all relearnt within the 100 steps tried, ≥
where a candidate had not (a masked head needs as many as a retraining on these data sets: it tells
little here); "of one retraining": CPU time of one thread. Mean ± standard deviation over draws and
seeds. The second table of a request shows the figures that most methods do not optimise, less the
references' mean: 0 is like a retraining. A pool's trainings ("pool targets") are not counted into
the cost of the method. A row with fewer verdicts than n had candidates that the method refused or
could not make.
"""


def page() -> str:
    """Return the page's text for the results that exist."""
    parts = [_HEAD]
    for name, title in SECTIONS.items():
        path = RESULTS / name
        if path.exists():
            parts += [f"\n## {title}\n", *_tables(json.loads(path.read_text()))]
    return "".join(parts)


def _tables(report: dict[str, object]) -> Iterator[str]:
    rows = report["rows"]
    assert isinstance(rows, list)  # noqa: S101 - as the tables' script writes it
    summary = summarise(rows)
    yield f"\n{report['date']}, torch {report['torch']}, {report['processor']}.\n"
    for request in dict.fromkeys(row["request"] for row in summary):
        draws = max(row["draws"] for row in summary if row["request"] == request)
        yield f"\n### {request} ({draws} {'draw' if draws == 1 else 'draws'})\n\n"
        yield markdown(summary, request)
        yield f"\nAway from the references' mean, {request}:\n\n"
        yield markdown_away(summary, request)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)

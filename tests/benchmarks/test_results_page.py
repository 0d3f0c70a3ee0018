"""The page of results says what the stored figures say."""

import json

from benchmarks import results_page


def test_the_page_in_the_tree_is_what_the_figures_give() -> None:
    assert results_page.PAGE.read_text() == results_page.page()


def test_every_table_of_methods_has_a_section() -> None:
    for path in results_page.RESULTS.glob("*.json"):
        report = json.loads(path.read_text())
        if isinstance(report, dict) and "summary" in report:
            assert path.name in results_page.SECTIONS
            assert f"## {results_page.SECTIONS[path.name]}" in results_page.page()

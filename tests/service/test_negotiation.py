"""Accept headers choose among what there is."""

import pytest

from service.errors import ServiceError
from service.negotiation import choose

OFFERED = ("application/json", "application/vnd.in-toto+json", "text/html")
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        (BROWSER, "text/html"),
        ("application/vnd.in-toto+json", "application/vnd.in-toto+json"),
        ("text/*;q=0.5, application/json;q=0.4", "text/html"),
        ("application/*, application/json;q=0", "application/vnd.in-toto+json"),
    ],
)
def test_the_best_liked_form_is_chosen(accept: str | None, chosen: str) -> None:
    assert choose(accept, OFFERED) == chosen


@pytest.mark.parametrize("accept", ["application/pdf", "text/html;q=0", "text/html;q=x"])
def test_forms_that_there_are_not_are_refused(accept: str) -> None:
    with pytest.raises(ServiceError) as caught:
        choose(accept, OFFERED)
    assert (caught.value.status_code, caught.value.code) == (406, "not_acceptable")

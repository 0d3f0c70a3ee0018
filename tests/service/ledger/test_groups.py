"""Samples of one person and equal files belong together, and so do those that they link."""

from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import ledger
from service.database import Database
from service.keys import ensure_tenant
from service.ledger import Caller, DatasetDraft, SampleRow
from service.ledger.groups import sample_groups
from service.ledger.samples import training_set
from tests.service.ledger.answers import digest


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example has its own set
)
@given(
    people=st.lists(st.integers(0, 6), min_size=12, max_size=12),
    files=st.lists(st.integers(0, 9), min_size=12, max_size=12),
)
def test_groups_are_what_walking_from_sample_to_sample_finds(
    sqlite_database: Database, people: list[int], files: list[int]
) -> None:
    drawn = [
        SampleRow(f"s{i}", 0, "train", f"{i}.png", digest(f"file {file}"), f"p{person}")
        for i, (person, file) in enumerate(zip(people, files, strict=True))
    ]
    drawn = [row._replace(subject_id=None) if row.subject_id == "p0" else row for row in drawn]
    with sqlite_database.write() as session:
        caller = Caller(ensure_tenant(session).id, "key:test")
        draft = DatasetDraft(
            name=str(uuid4()),
            manifest_uri="m.csv",
            format="csv",
            root="/data",
            class_names=["a"],
            rows=drawn,
        )
        dataset = ledger.register_dataset(session, caller, draft)
        assert sample_groups(session, dataset, training_set(dataset)) == _walked(drawn)


def _walked(samples: list[SampleRow]) -> dict[int, int]:
    training = {i: row for i, row in enumerate(samples) if row.split == "train"}
    found: dict[int, int] = {}
    for start in training:
        reached, waiting = {start}, [start]
        while waiting:
            here = training[waiting.pop()]
            for other, row in training.items():
                same_person = row.subject_id is not None and row.subject_id == here.subject_id
                if other not in reached and (same_person or row.sha256 == here.sha256):
                    reached.add(other)
                    waiting.append(other)
        found[start] = min(reached)
    return found

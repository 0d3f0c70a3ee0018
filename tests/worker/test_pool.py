"""A pool's job: models that miss whole people, targets for MUDA, and nothing else left behind."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
from torch import nn

from service import ledger
from service.ledger import Claim, DatasetDraft, RequestOrder
from service.storage import digest_file
from service.tables import JobKind, JobStatus, ModelVersion, Pool
from tests.worker.installation import (
    CLASSES,
    TRAIN,
    Installation,
    write_images,
    write_weights,
)
from unlearning import pool as library
from unlearning.data import Images
from unlearning.progress import Progress
from unlearning.training import train_from_recipe
from worker.execution import execute, unlearn
from worker.execution.context import Execution
from worker.execution.pool import read_predictions
from worker.packaging import with_paths, write_samples
from worker.runtime import Runtime
from worker.supervisor import run_job

OF_A_PERSON = 3
"""Samples of each person, next to each other; 48 samples leave room for groups of 4."""
ASKED = ("id-0", "id-7")


def ignore(progress: Progress) -> None:
    assert progress.step <= progress.total


@pytest.fixture
def model_id(installation: Installation, runtime: Runtime, weights: Path) -> UUID:
    """A ready model of a data set of people, in which id-10 is a copy of id-40."""
    folder = installation.settings.data_roots[0] / "people"
    rows = write_images(folder)
    rows[40] = rows[40]._replace(sha256=rows[10].sha256, label=rows[10].label)
    (folder / "40.png").write_bytes((folder / "10.png").read_bytes())
    people = [
        row._replace(subject_id=f"person-{place // OF_A_PERSON}") if 16 < place < 35 else row
        for place, row in enumerate(rows)
    ]
    draft = DatasetDraft(
        name="people",
        manifest_uri="people",
        format="image_folder",
        root=str(folder),
        class_names=[str(label) for label in range(CLASSES)],
        rows=people,
    )
    with installation.database.write() as session:
        dataset = ledger.register_dataset(session, installation.caller, draft)
    found = installation.model(weights, dataset_id=dataset.id)
    assert run_job(runtime, installation.job_id(JobKind.CHECK)) == "completed"
    return found


def ask(installation: Installation, model_id: UUID, *sample_ids: str) -> UUID:
    order = RequestOrder(model_id=model_id, sample_ids=sample_ids or ASKED, pool=True)
    with installation.database.write() as session:
        return ledger.open_request(session, installation.caller, order).id


def spec_of(installation: Installation, claim: Claim, folder: Path) -> dict[str, Any]:
    """Return what the child of a claim is given, as the supervisor writes it."""
    folder.mkdir()
    with installation.database.read() as session:
        package = ledger.build_package(session, claim)
        write_samples(package.samples, folder / "samples.arrow")
    spec: dict[str, Any] = with_paths(package.spec, installation.storage, folder)
    return spec | {
        "workdir": str(folder),
        "samples": str(folder / "samples.arrow"),
        "data_root": package.data_root,
        "cache_dir": None,
        "threads": 1,
        "device": "cpu",
    }


def claim(installation: Installation, kind: JobKind) -> Claim:
    with installation.database.write() as session:
        found = ledger.claim(session, installation.job_id(kind), "test", 600)
    assert found is not None
    return found


def test_muda_is_given_predictions_of_models_that_never_saw_the_samples(
    installation: Installation, runtime: Runtime, model_id: UUID
) -> None:
    request_id = ask(installation, model_id)
    assert run_job(runtime, installation.job_id(JobKind.POOL)) == "completed"
    assert run_job(runtime, installation.job_id(JobKind.UNLEARN)) == "completed"
    with installation.database.read() as session:
        [pool] = session.query(Pool).all()
        candidate = session.query(ModelVersion).order_by(ModelVersion.number.desc()).first()
    assert candidate is not None
    assert candidate.method is not None
    assert candidate.method["targets"] == "pool"
    assert pool.facts is not None
    assert pool.facts["models"] >= 10
    assert pool.facts["trained_on"] == TRAIN
    assert pool.triage is not None
    told = pool.triage[str(request_id)]
    assert told["n"] == len(ASKED)
    low, high = told["memorised"]["interval"]
    assert low <= told["memorised"]["mean"] <= high
    assert 0 <= told["recognised"]["mean"] <= 1


def test_no_network_of_a_pool_is_kept(
    installation: Installation, runtime: Runtime, model_id: UUID
) -> None:
    before = installation.stored()
    ask(installation, model_id)
    assert run_job(runtime, installation.job_id(JobKind.POOL)) == "completed"
    [fresh] = installation.stored() - before
    with installation.database.read() as session:
        [pool] = session.query(Pool).all()
    assert pool.predictions_sha256 == fresh
    predictions = read_predictions(
        installation.settings.home / "storage" / "sha256" / fresh[:2] / fresh
    )
    assert predictions.shape == (len(ASKED), CLASSES)
    torch.testing.assert_close(predictions.sum(1), torch.ones(len(ASKED)))


def test_a_persons_samples_and_copies_are_left_out_together_through_the_whole_path(
    installation: Installation,
    model_id: UUID,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[set[bytes]] = []

    def spy(build: Any, images: Images, *rest: Any, **named: Any) -> nn.Module:  # noqa: ANN401
        (whole,) = images.batches([torch.arange(len(images))])
        seen.append({image.numpy().tobytes() for image in whole})
        return train_from_recipe(build, images, *rest, **named)

    monkeypatch.setattr(library, "train_from_recipe", spy)
    ask(installation, model_id, "id-18", "id-10")
    spec = spec_of(installation, claim(installation, JobKind.POOL), tmp_path / "job")
    execute(spec, ignore)
    execution = Execution(spec, ignore)
    rows = torch.arange(TRAIN)
    (pixels,) = execution.images.subset(rows).batches([rows])
    raw = [image.numpy().tobytes() for image in pixels]
    assert len(seen) >= 10
    for trained in seen:
        missing = {place for place in range(TRAIN) if raw[place] not in trained}
        assert 0 < len(missing) <= TRAIN // 10
        for person in range(6, 11):
            own = set(range(person * OF_A_PERSON, (person + 1) * OF_A_PERSON))
            assert own <= missing or not own & missing
        assert (10 in missing) == (40 in missing)
    left_out = [{p for p in range(TRAIN) if raw[p] not in trained} for trained in seen]
    assert sorted(place for missing in left_out for place in missing) == list(range(TRAIN))


def test_what_the_child_of_a_pool_reads_names_nobody(
    installation: Installation, model_id: UUID, tmp_path: Path
) -> None:
    ask(installation, model_id)
    spec = spec_of(installation, claim(installation, JobKind.POOL), tmp_path / "job")
    written = (tmp_path / "job" / "samples.arrow").read_bytes()
    assert b"person" not in written
    assert b"id-" not in written
    assert "person" not in str(spec)


def test_a_person_with_too_many_samples_leaves_the_run_without_a_pool(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    folder = installation.settings.data_roots[0] / "one"
    rows = [row._replace(subject_id="all") for row in write_images(folder)]
    draft = DatasetDraft(
        name="one",
        manifest_uri="one",
        format="image_folder",
        root=str(folder),
        class_names=[str(label) for label in range(CLASSES)],
        rows=rows,
    )
    with installation.database.write() as session:
        dataset = ledger.register_dataset(session, installation.caller, draft)
    model_id = installation.model(weights, dataset_id=dataset.id)
    assert run_job(runtime, installation.job_id(JobKind.CHECK)) == "completed"
    ask(installation, model_id)
    assert run_job(runtime, installation.job_id(JobKind.POOL)) == "failed"
    assert installation.job(installation.job_id(JobKind.UNLEARN)).status == JobStatus.QUEUED
    with installation.database.read() as session:
        [pool] = session.query(Pool).all()
    assert pool.state == "failed"
    assert "cannot be left out at once" in str(pool.reason)


def test_other_targets_make_another_candidate(
    installation: Installation, model_id: UUID, tmp_path: Path
) -> None:
    """The predictions reach the method: with others of the same shape it makes another network."""
    ask(installation, model_id)
    pool_claim = claim(installation, JobKind.POOL)
    spec = spec_of(installation, pool_claim, tmp_path / "pool")
    result = execute(spec, ignore)
    base = write_weights(tmp_path / "base.safetensors")
    order = {"kind": "unlearn", "method": "muda", "hyperparameters": {}, "base": str(base)}
    given = spec | order | {"pool": str(tmp_path / "pool" / "pool.safetensors")}
    assert digest_file(Path(given["pool"])) == result["artifacts"]["pool"]["sha256"]
    targets = unlearn._problem(Execution(given, ignore)).forget_predictions
    assert targets is not None
    torch.testing.assert_close(targets, read_predictions(Path(given["pool"])))
    told = [
        execute(values, ignore)["artifacts"]["candidate"]["sha256"]
        for values in (given, given, spec | order)
    ]
    assert told[0] == told[1] != told[2]

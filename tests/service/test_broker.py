"""Wake-ups reach the queue, by Redis and by folder, and hold a job's id alone."""

import json
import uuid
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from service.broker import QUEUE, TASK_NAME, broker_ready, celery_app, wake_up
from service.config import Settings


@pytest.fixture(params=["filesystem", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Return settings with a broker of each kind."""
    if request.param == "filesystem":
        return Settings(home=tmp_path)
    return Settings(home=tmp_path, broker_url=request.getfixturevalue("redis_url"))


def test_a_wake_up_names_the_job_and_nothing_else(settings: Settings) -> None:
    app, job_id = celery_app(settings), uuid.uuid4()
    wake_up(app)(job_id)
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get(QUEUE, no_ack=True)
        assert message is not None
        arguments, keywords, _ = json.loads(message.body)
        assert (arguments, keywords) == ([], {"job_id": str(job_id)})
        assert message.headers["task"] == TASK_NAME
    app.close()


def test_a_broker_that_is_there_is_ready(settings: Settings) -> None:
    app = celery_app(settings)
    assert broker_ready(app)
    app.close()


def test_a_broker_that_is_not_there_is_not_ready_and_sending_fails(tmp_path: Path) -> None:
    app = celery_app(Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    assert not broker_ready(app)
    with pytest.raises(OperationalError, match="refused"):
        wake_up(app)(uuid.uuid4())
    app.close()

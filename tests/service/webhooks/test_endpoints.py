"""Endpoints: secrets rotate, failing ones are disabled, what was missed is sent again."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from standardwebhooks import Webhook, WebhookVerificationError

from service.database import now
from service.errors import IllegalMove
from service.ledger.deliveries import BACKOFF_S
from service.ledger.webhooks import (
    delete_endpoint,
    disable_endpoint,
    enable_endpoint,
    replay_delivery,
    rotate_secret,
)
from service.sealing import load_sealer
from service.tables import WebhookDelivery, WebhookEndpoint
from service.webhooks import PURPOSE
from tests.service.couriers import deliver_due
from tests.service.webhooks.conftest import Town


def test_both_secrets_sign_until_the_overlap_is_over(town: Town) -> None:
    key, old = town.endpoint("request.received")
    with town.database.write() as session:
        sealer = load_sealer(town.settings, PURPOSE)
        _, new = rotate_secret(session, town.world.caller, key, sealer, 3600)
    town.world.request("s0")
    deliver_due(town.courier)
    town.set("webhook_endpoints", previous_until="2020-01-01 00:00:00+00:00")
    town.world.request("s1")
    deliver_due(town.courier)
    during, after = town.receiver.calls
    for secret in (old, new):
        Webhook(secret).verify(during.body, during.headers)
    Webhook(new).verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(after.body, after.headers)


def test_a_rotation_without_overlap_ends_the_old_secret_at_once(town: Town) -> None:
    key, old = town.endpoint("request.received")
    town.world.request("s0")
    with town.database.write() as session:
        rotate_secret(session, town.world.caller, key, load_sealer(town.settings, PURPOSE), 0)
    deliver_due(town.courier)
    (call,) = town.receiver.calls
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(call.body, call.headers)


def test_an_endpoint_that_takes_nothing_for_most_of_a_day_is_disabled(town: Town) -> None:
    key, _ = town.endpoint()
    town.receiver.statuses = [500]
    town.world.request("s0")
    deliver_due(town.courier)
    assert town.row(key).failing_since is not None
    town.set("webhook_endpoints", failing_since="2020-01-01 00:00:00+00:00")
    town.set("webhook_deliveries", retries=len(BACKOFF_S))
    town.wait()
    deliver_due(town.courier)
    assert (town.row(key).state, town.row(key).reason_code) == ("disabled", "endpoint_failing")
    town.world.request("s1")
    town.wait()
    assert deliver_due(town.courier) == 0
    assert all(delivery.given_up_at is not None for delivery, _ in town.told(key))
    assert "webhook-endpoint.disabled" in town.actions()

    town.receiver.statuses = [200]
    with town.database.write() as session:
        enable_endpoint(session, town.world.caller, key)
    town.world.request("s2")
    assert deliver_due(town.courier) > 0
    assert town.row(key).failing_since is None


def test_one_given_up_message_does_not_disable_an_endpoint_that_works(town: Town) -> None:
    key, _ = town.endpoint("request.received")
    town.receiver.statuses = [500]
    town.world.request("s0")
    town.set("webhook_deliveries", retries=len(BACKOFF_S))
    deliver_due(town.courier)
    ((delivery, _),) = town.told(key)
    assert delivery.given_up_at is not None
    assert town.row(key).state == "enabled"


def test_an_endpoint_that_says_it_is_gone_is_disabled_at_once(town: Town) -> None:
    key, _ = town.endpoint("request.received")
    town.receiver.statuses = [410]
    town.world.request("s0")
    deliver_due(town.courier)
    assert (town.row(key).state, town.row(key).reason_code) == ("disabled", "endpoint_gone")


def test_a_message_is_replayed_under_its_own_id(town: Town) -> None:
    key, secret = town.endpoint("request.received")
    town.world.request("s0")
    deliver_due(town.courier)
    ((delivery, _),) = town.told(key)
    with town.database.write() as session:
        replay_delivery(session, town.world.caller, key, delivery.id)
    assert deliver_due(town.courier) == 1
    first, second = town.receiver.calls
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    Webhook(secret).verify(second.body, second.headers)
    assert len(town.told(key)[0][1]) == 2


def test_a_disabled_endpoint_can_be_given_what_it_missed(town: Town) -> None:
    key, _ = town.endpoint("request.received")
    town.world.request("s0")
    with town.database.write() as session:
        disable_endpoint(session, town.world.caller, key)
    assert deliver_due(town.courier) == 0
    with pytest.raises(IllegalMove), town.database.write() as session:
        disable_endpoint(session, town.world.caller, key)
    ((delivery, _),) = town.told(key)
    with town.database.write() as session:
        enable_endpoint(session, town.world.caller, key)
        replay_delivery(session, town.world.caller, key, delivery.id)
    assert deliver_due(town.courier) == 1


def test_a_deleted_endpoint_is_told_nothing_and_its_secret_is_gone(town: Town) -> None:
    key, _ = town.endpoint()
    town.world.request("s0")
    with town.database.write() as session:
        delete_endpoint(session, town.world.caller, key)
    town.world.request("s1")
    assert deliver_due(town.courier) == 0
    with town.database.read() as session:
        row = session.get_one(WebhookEndpoint, key)
        assert (row.secret, row.previous_secret) == (None, None)


def test_another_pepper_is_told_as_the_reason(sqlite_town: Town) -> None:
    town = sqlite_town
    key, _ = town.endpoint("request.received")
    town.world.request("s0")
    town.settings.pepper_file.write_bytes(bytes(32))
    deliver_due(town.courier)
    ((_, (attempt,)),) = town.told(key)
    assert (attempt.error, attempt.status_code) == ("secret_unreadable", None)
    assert town.receiver.calls == []


def test_messages_that_ended_long_ago_are_removed_with_their_attempts(town: Town) -> None:
    key, _ = town.endpoint("request.received")
    town.world.request("s0")
    deliver_due(town.courier)
    town.world.request("s1")
    (_, (waiting, _)) = town.told(key)
    town.courier._purge()
    assert len(town.told(key)) == 2
    with town.database.write() as session:
        long_ago = now(session) - timedelta(days=31)
        ended = WebhookDelivery.delivered_at.is_not(None)
        session.execute(update(WebhookDelivery).where(ended).values(delivered_at=long_ago))
    town.courier._purge()
    assert [delivery.id for delivery, _ in town.told(key)] == [waiting.id]

"""What follows from a refusal, by whether the brokers have let us in before."""

import pytest
from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError

from ops.kafka_connection import KafkaConnection, KafkaRefusal, WriteRights, find_refusal

CONNECTION = KafkaConnection("127.0.0.1:1", "SASL_SSL", username="yousync-producer")
REFUSED = TopicAuthorizationFailedError("youtube.videos.raw")
TOLD = "KAFKA_SASL_USERNAME: yousync-producer may not do that with topic youtube.videos.raw"


def test_a_topic_that_was_never_written_to_lacks_a_right() -> None:
    rights = WriteRights(CONNECTION)
    rights.grant({"yousync.producer.state"})

    with pytest.raises(KafkaRefusal, match=TOLD) as refused:
        rights.taken_back(REFUSED, {"yousync.producer.state", "youtube.videos.raw"})
    assert refused.value.__cause__ is REFUSED


def test_a_right_that_is_taken_back_is_told_and_may_be_given_again() -> None:
    rights = WriteRights(CONNECTION)
    rights.grant({"youtube.videos.raw"})

    assert (rights.taken_back(REFUSED, {"youtube.videos.raw"}) or "").startswith(TOLD)


def test_another_fault_is_no_refusal() -> None:
    assert WriteRights(CONNECTION).taken_back(KafkaTimeoutError(), {"youtube.videos.raw"}) is None


async def test_in_the_clear_and_without_a_user_nobody_is_asked() -> None:
    assert await find_refusal(KafkaConnection("not an address")) is None

"""The topics as design and YouTube's policy want them."""

from contract.topics import (
    CHANGELOG,
    DAY_MS,
    DEAD_LETTER,
    HOUR_MS,
    PRODUCER_STATE,
    RAW,
    VIDEOS,
    topic_specs,
)


def test_data_topics_share_their_partitions_and_the_others_have_their_own() -> None:
    partitions = {spec.name: spec.partitions for spec in topic_specs(6)}

    assert partitions == {RAW: 6, VIDEOS: 6, CHANGELOG: 6, DEAD_LETTER: 1, PRODUCER_STATE: 1}


def test_api_data_is_kept_less_than_thirty_days_and_states_are_compacted() -> None:
    config = {spec.name: spec.config for spec in topic_specs(4)}

    for topic in (RAW, DEAD_LETTER):
        assert config[topic]["cleanup.policy"] == "delete"
        assert int(config[topic]["retention.ms"]) + int(config[topic]["segment.ms"]) <= 30 * DAY_MS
    for topic in (VIDEOS, PRODUCER_STATE, CHANGELOG):
        assert config[topic]["cleanup.policy"] == "compact"
        assert "retention.ms" not in config[topic]


def test_the_leader_has_time_to_repair_before_its_state_is_cleaned() -> None:
    config = next(spec.config for spec in topic_specs(4) if spec.name == PRODUCER_STATE)

    assert int(config["min.compaction.lag.ms"]) >= HOUR_MS
    # A late record's own time may lie far back: only the broker's clock says how old it is in the log.
    assert config["message.timestamp.type"] == "LogAppendTime"


def test_a_dead_letter_holds_the_largest_raw_record_and_what_is_said_of_it() -> None:
    config = {spec.name: spec.config for spec in topic_specs(4)}

    assert int(config[DEAD_LETTER]["max.message.bytes"]) >= 2 * int(config[RAW]["max.message.bytes"])


def test_the_changelog_has_the_name_that_faust_gives_it() -> None:
    assert CHANGELOG == "yousync-projector-known_videos-changelog"

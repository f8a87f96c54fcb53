"""What the planner knows right after a start: all of it is in the state, but for the passes under way."""

from producer.channel_ranking import ChannelRanking
from producer.coverage import Coverage
from producer.following import QueryMatcher, followed_queries
from producer.planner import Known, QueryPlan
from producer.state import ProducerState
from producer.video_agenda import VideoAgenda


def recall(state: ProducerState) -> Known:
    """What is known; a query counts as polled when its last pass was complete."""
    followed = followed_queries(state.queries)
    return Known(
        queries={query: plan_for(query, state.coverage.get(query)) for query in followed},
        agenda=VideoAgenda(state.videos),
        ranking=ChannelRanking(state.channels),
        matcher=QueryMatcher(followed),
    )


def plan_for(query: str, coverage: Coverage | None) -> QueryPlan:
    """The plan of a query that nothing has been done for since the start."""
    return QueryPlan(query, coverage, polled_ms=(coverage.completed_ms or 0) if coverage else 0)

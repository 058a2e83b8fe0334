"""§6, "On time": what counts as late, to the microsecond."""

from datetime import UTC, datetime, timedelta

from tests.support.tables import execute

DELIVER_AT = datetime(2026, 11, 23, 10, 2, tzinfo=UTC)
QUERY = DELIVER_AT - timedelta(minutes=1)
MINUTE, SECOND, MICROSECOND = timedelta(minutes=1), timedelta(seconds=1), timedelta(microseconds=1)
DAY = timedelta(days=1)
EARLY = QUERY - 5 * MINUTE

# When the event was published, when the scheduler last found its notification, when it is applied, and its new due_at.
CASES = [
    (EARLY, None, QUERY - 5 * SECOND, None),  # in time
    (EARLY, None, QUERY - 5 * SECOND + MICROSECOND, DELIVER_AT + MINUTE),
    (EARLY, None, QUERY + DAY, DELIVER_AT + MINUTE + DAY),
    (EARLY, None, QUERY + DAY + MICROSECOND, None),  # too late to be of use
    (QUERY - MICROSECOND, None, QUERY, DELIVER_AT + MINUTE),
    (QUERY, None, QUERY + SECOND, None),  # published too late
    (EARLY, EARLY - MICROSECOND, QUERY, DELIVER_AT + MINUTE),
    (EARLY, EARLY, QUERY, None),  # the person has been told
    # The next query has to be at least 5 seconds away.
    (EARLY, None, QUERY + MINUTE - 5 * SECOND, DELIVER_AT + MINUTE),
    (EARLY, None, QUERY + MINUTE - 5 * SECOND + MICROSECOND, DELIVER_AT + 2 * MINUTE),
]


def test_a_notification_is_rescued_within_exact_bounds(database_url: str) -> None:
    """All else is due at its own time."""
    statement = "SELECT rescue_time(%s, %s, %s, %s)"
    for published_at, last_query, clock, due_at in CASES:
        assert execute(database_url, statement, (DELIVER_AT, published_at, last_query, clock)) == [(due_at,)]

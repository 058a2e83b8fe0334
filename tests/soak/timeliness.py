"""Counts the reminders of a soak that the scheduler would have found on time, late or never, in real time."""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from tests.support.messages import Record, native, raw
from tests.support.scheduler import MINUTE, query

USER = "user-on-time"
_STEP_SECONDS = 0.2
_LATE_ONES_AT_MOST = timedelta(minutes=3)


@dataclass
class Timeliness:
    """The reminders by item, with the time of the query for each, and the queries that found them."""

    queries: dict[str, datetime] = field(default_factory=dict)
    found: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    run_until: datetime | None = None

    def reminder(self, number: int, rng: random.Random) -> tuple[dict[str, Any], Record]:
        """Return a reminder that is published now, for which the scheduler queries in at most two minutes."""
        now = datetime.now(UTC)
        due = now.replace(second=0, microsecond=0) + rng.choice([2, 3]) * MINUTE
        event = native(
            id=f"event-{number}",
            eventType="reminder:created",
            userId=USER,
            itemId=f"reminder-{number}",
            occurredAt=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            eventData={"date": due.strftime("%Y-%m-%dT%H:%M:%SZ")},
        )
        self.queries[event["itemId"]] = due - MINUTE
        return event, raw(event, sent=now.isoformat(timespec="milliseconds"))

    def watch(self, url: str, is_drained: Callable[[], bool]) -> None:
        """Query at each full minute, until the run is over and what is late has had its query, too."""
        with psycopg.connect(url, autocommit=True) as connection:
            minute = datetime.now(UTC).replace(second=0, microsecond=0) + MINUTE
            while not (is_drained() and self._is_over()):
                if datetime.now(UTC) < minute:
                    time.sleep(_STEP_SECONDS)
                    continue
                for each in query(connection, minute):
                    if each.user_id == USER:
                        self.found[each.item_id].append(minute)
                minute += MINUTE

    def _is_over(self) -> bool:
        if self.run_until is None:
            return False
        return not (self.due.keys() - self.found.keys()) or datetime.now(UTC) > self.run_until + _LATE_ONES_AT_MOST

    @property
    def due(self) -> dict[str, datetime]:
        """The reminders for which the query fell within the run."""
        return {item: at for item, at in [*self.queries.items()] if self.run_until and at <= self.run_until}

    @property
    def lateness(self) -> dict[str, float]:
        """By how many seconds each of them was found late; 0 on time."""
        return {item: (self.found[item][0] - at).total_seconds() for item, at in self.due.items() if item in self.found}

    def summary(self) -> list[tuple[str, int]]:
        """The number of reminders by outcome."""
        late = [seconds for seconds in self.lateness.values() if seconds]
        return [
            ("reminders whose minute fell within the run", len(self.due)),
            ("of these, found on time", len(self.lateness) - len(late)),
            ("found late", len(late)),
            ("seconds late, at most", round(max(late, default=0))),
            ("never found", len(self.due) - len(self.lateness)),
        ]

    def problems(self) -> list[str]:
        """Reminders that were never found, or more than once."""
        never = [f"reminder {item} was never found" for item in self.due.keys() - self.found.keys()]
        return never + [f"reminder {item} was found {len(at)} times" for item, at in self.found.items() if len(at) > 1]

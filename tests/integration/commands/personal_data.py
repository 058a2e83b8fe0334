"""Events with personal data wherever it can occur."""

from tests.support.event_items import Key
from tests.support.histories import record
from tests.support.messages import CREATED, Json, cloud_event, legacy, raw, wrapped

SECRET = "hunter2-secret"


EMAIL = f"{SECRET}@example.com"


DATA = {"date": "2027-01-01T08:00:00Z", "message": f"see {SECRET}", "url": f"https://x/{SECRET}", "amount": 3}


def personal(user: str) -> list[Json]:
    """Events of a user with personal data wherever it can occur."""
    mine = {"userEmail": EMAIL, "data": DATA}
    mine_in_legacy = {"userId": user, "userEmail": EMAIL, "eventData": DATA}
    nested = {"to": [{"email": EMAIL}], "html": f"<a href='https://x/{SECRET}'>", "message": {"text": SECRET}}
    return [
        record("reminder:created", user, f"{user}-1", 1, **mine),
        record("reminder:updated", user, f"{user}-1", 2, **mine),
        record("reminder:created", user, f"{user}-2", 3, **mine),
        record("reminder:deleted", user, f"{user}-2", 4, **mine),
        record("notification:create", user, f"{user}-3", 5, userEmail=EMAIL, data=DATA | {"big": [DATA] * 2600}),
        record("todo:mailed", user, f"{user}-4", 6, userEmail=EMAIL, data=nested),
        wrapped(legacy(**mine_in_legacy, itemId=f"{user}-5"), CREATED, MessageId=f"sns-{user}"),
        raw(cloud_event(id=user, subject=f"{user}-6", data=mine_in_legacy)),
    ]


def of_user(items: dict[Key, Json], user: str) -> dict[Key, Json]:
    return {key: item for key, item in items.items() if user in str(item.get("userId", item["eventData"]))}

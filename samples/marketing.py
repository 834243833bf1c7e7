"""The small streams of the sample Klaviyo account: campaigns, flows, lists and metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from samples import words
from samples.klaviyo import links, short_id
from samples.timeline import Clock, Record, Timeline, Version

Builder = Callable[[Random, int, datetime], Record]
Patch = Callable[[Random, Record], Record]


@dataclass(frozen=True, slots=True)
class _Feed:
    """How a stream's records are made and changed, and how many of each per unit of scale."""

    build: Builder
    patch: Patch
    records: int
    changes: int


def build_marketing(seed: int, scale: int, clock: Clock) -> dict[str, list[Timeline]]:
    """Simulate the four small streams, which change a few times a week.

    Campaigns change twice on the second day, so that two syncs of one day have something to write.
    """
    feeds = {
        "campaigns": _Feed(_campaign, _next_status, 12, 8),
        "flows": _Feed(_flow, _switch_flow, 8, 5),
        "lists": _Feed(_list, _rename, 8, 5),
        "metrics": _Feed(_metric, _rename, 12, 4),
    }
    streams = {}
    for stream, feed in feeds.items():
        rng = Random(f"{seed}/{stream}")
        span = clock.end - clock.begin
        moments = [clock.begin + rng.random() * span for _ in range(feed.changes * scale)]
        if stream == "campaigns":
            moments += [clock.at(1, 1), clock.at(1, 7)]
        streams[stream] = _timelines(rng, clock, feed, feed.records * scale, sorted(moments))
    return streams


def _timelines(
    rng: Random, clock: Clock, feed: _Feed, records: int, moments: Sequence[datetime]
) -> list[Timeline]:
    timelines: list[list[Version]] = []
    for number in range(records):
        created = clock.begin - timedelta(minutes=rng.randint(60, 400_000))
        timelines.append([Version(created, feed.build(rng, number, created))])
    for moment in moments:
        timeline = rng.choice(timelines)
        changed = _touch(timeline[-1].record, feed.patch(rng, timeline[-1].record), moment)
        timeline.append(Version(moment, changed))
    return list(timelines)


def _touch(record: Record, patch: Record, moment: datetime) -> Record:
    cursor_field = "updated_at" if "updated_at" in record else "updated"
    attributes = record["attributes"] | patch | {cursor_field: moment}
    return record | {cursor_field: moment, "attributes": attributes}


def _resource(kind: str, record_id: str, cursor_field: str, attributes: Record) -> Record:
    return {
        "id": record_id,
        "type": kind,
        "links": links(f"{kind}s/{record_id}"),
        cursor_field: attributes[cursor_field],
        "attributes": attributes,
    }


def _related(resource: str, name: str, data: object) -> Record:
    return {name: {"data": data, "links": links(resource, name)}}


def _campaign(rng: Random, number: int, moment: datetime) -> Record:
    campaign_id = short_id("C", number)
    name = words.CAMPAIGN_NAMES[number % len(words.CAMPAIGN_NAMES)]
    send_time = moment + timedelta(days=rng.randint(1, 9))
    attributes = {
        "name": f"{name} {number}",
        "status": rng.choice(("Draft", "Scheduled", "Sent")),
        "channel": rng.choice(("email", "email", "sms")),
        "message": short_id("M", number),
        "archived": rng.random() < 0.1,
        "audiences": {"included": [short_id("L", number % 6)], "excluded": []},
        "send_time": send_time,
        "created_at": moment,
        "updated_at": moment,
        "scheduled_at": send_time - timedelta(days=1) if rng.random() < 0.6 else None,
        "send_options": {"use_smart_sending": True, "ignore_unsubscribes": None},
        "send_strategy": {
            "method": "static",
            "options_static": {"datetime": send_time, "is_local": False},
            "options_sto": {"date": send_time.date()} if number % 4 == 0 else None,
        },
        "tracking_options": {
            "is_add_utm": True,
            "utm_params": [{"name": "utm_source", "value": "Klaviyo & Co"}],
            "is_tracking_opens": True,
            "is_tracking_clicks": True,
        },
    }
    record = _resource("campaign", campaign_id, "updated_at", attributes)
    resource = f"campaigns/{campaign_id}"
    message = [{"id": short_id("M", number), "type": "campaign-message"}]
    relations = _related(resource, "tags", []) | _related(resource, "campaign-messages", message)
    return record | {"relationships": relations}


def _flow(rng: Random, number: int, moment: datetime) -> Record:
    flow_id = short_id("F", number)
    attributes = {
        "name": f"{words.FLOW_NAMES[number % len(words.FLOW_NAMES)]} v{number}",
        "status": rng.choice(("draft", "manual", "live")),
        "created": moment,
        "updated": moment,
        "archived": rng.random() < 0.1,
        "trigger_type": rng.choice(words.FLOW_TRIGGERS),
    }
    resource = f"flows/{flow_id}"
    actions = [
        {"id": str(71_000 + 10 * number + n), "type": "flow-action"}
        for n in range(rng.randint(1, 3))
    ]
    relations = _related(resource, "tags", []) | _related(resource, "flow-actions", actions)
    return _resource("flow", flow_id, "updated", attributes) | {"relationships": relations}


def _list(rng: Random, number: int, moment: datetime) -> Record:
    list_id = short_id("L", number)
    attributes = {
        "name": f"{words.LIST_NAMES[number % len(words.LIST_NAMES)]} {number}",
        "created": moment,
        "updated": moment,
        "opt_in_process": rng.choice(("single_opt_in", "double_opt_in")),
    }
    resource = f"lists/{list_id}"
    tags = [{"id": short_id("T", number), "type": "tag"}]
    trigger = {"id": short_id("F", number % 8), "type": "flow"} if number % 2 else None
    relations = _related(resource, "tags", tags) | _related(resource, "flow-triggers", trigger)
    relations["profiles"] = {"links": links(resource, "profiles")}
    return _resource("list", list_id, "updated", attributes) | {"relationships": relations}


def _metric(rng: Random, number: int, moment: datetime) -> Record:
    metric_id = short_id("K", number)
    integration = {"object": "integration", "name": rng.choice(("Shopify", "API", 'Own "shop"'))}
    attributes = {
        "name": f"{words.METRIC_NAMES[number % len(words.METRIC_NAMES)]} {number}",
        "created": moment,
        "updated": moment,
        "integration": integration if number % 5 else None,
    }
    relations = _related(f"metrics/{metric_id}", "flow-triggers", None)
    return _resource("metric", metric_id, "updated", attributes) | {"relationships": relations}


def _next_status(rng: Random, campaign: Record) -> Record:
    following = {
        "Draft": "Scheduled",
        "Scheduled": "Sent",
        "Sent": "Cancelled",
        "Cancelled": "Draft",
    }
    return {"status": following[campaign["attributes"]["status"]], "archived": rng.random() < 0.2}


def _switch_flow(rng: Random, flow: Record) -> Record:
    return {"status": rng.choice(("draft", "manual", "live")), "archived": rng.random() < 0.2}


def _rename(rng: Random, record: Record) -> Record:
    return {"name": f"{record['attributes']['name']} ({rng.choice(words.SUBJECTS)})"}

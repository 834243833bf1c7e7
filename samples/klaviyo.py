"""A sample Klaviyo account: profiles and their events."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from samples import words
from samples.timeline import Clock, Record, Timeline, Version

API = "https://a.klaviyo.com/api"


def build_profiles(seed: int, scale: int, clock: Clock) -> list[Timeline]:
    """Simulate people who subscribe, move and buy, up to the end of the clock's days."""
    rng = Random(f"{seed}/profiles")
    moments = [
        clock.begin - timedelta(minutes=rng.randint(60, 300_000)) for _ in range(140 * scale)
    ]
    moments += [
        clock.at(day, minute=rng.randint(0, 1439))
        for day in range(clock.days)
        for _ in range(4 * scale)
    ]
    profiles = [_profile(rng, n, moment) for n, moment in enumerate(moments)]
    changes: dict[int, list[datetime]] = {}
    for day in range(clock.days):
        for _ in range(14 * scale):
            changes.setdefault(rng.randrange(140 * scale), []).append(
                clock.at(day, minute=rng.randint(1, 1439))
            )
    return [_timeline(rng, profile, changes.get(n, [])) for n, profile in enumerate(profiles)]


def build_events(
    seed: int,
    scale: int,
    clock: Clock,
    profiles: Sequence[Timeline],
    metrics: Sequence[Timeline],
) -> list[Timeline]:
    """Simulate what the profiles did; an event never changes."""
    rng = Random(f"{seed}/events")
    moments = [
        clock.begin - timedelta(seconds=rng.randint(600, 2_500_000)) for _ in range(720 * scale)
    ]
    span = int((clock.end - clock.begin).total_seconds())
    moments += [
        clock.begin + timedelta(seconds=rng.randint(1, span))
        for _ in range(130 * scale * clock.days)
    ]
    events: list[Timeline] = []
    for number, moment in enumerate(sorted(moments)):
        profile, metric = rng.choice(profiles)[0].record, rng.choice(metrics)[0].record
        events.append([Version(moment, _event(rng, number, moment, profile, metric))])
    return events


def links(path: str, relation: str | None = None) -> Record:
    """Return the `links` of a resource or, with a relation's name, of that relation."""
    if relation is None:
        return {"self": f"{API}/{path}/"}
    return {
        "self": f"{API}/{path}/relationships/{relation}/",
        "related": f"{API}/{path}/{relation}/",
    }


def short_id(kind: str, number: int) -> str:
    """Return a Klaviyo-like id of a kind's letter and five base-36 digits."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    value, text = number * 7919 + 104_729, ""
    for _ in range(5):
        value, digit = divmod(value, 36)
        text = digits[digit] + text
    return kind + text


def _profile(rng: Random, number: int, created: datetime) -> Record:
    profile_id = f"01{UUID(int=rng.getrandbits(128)).hex[:24].upper()}"
    place = rng.choice(words.PLACES)
    subscribed = created + timedelta(seconds=30) if rng.random() < 0.7 else None
    attributes = {
        "email": f"customer.{number}@example.com",
        "phone_number": f"+4179555{number % 10_000:04}" if rng.random() < 0.4 else None,
        "first_name": rng.choice(words.FIRST_NAMES),
        "last_name": rng.choice(words.LAST_NAMES),
        "organization": rng.choice((None, None, "Pond & Co", 'L\'Étang "SA"')),
        "locale": rng.choice(("de-CH", "vi-VN", "en-GB", None)),
        "created": created,
        "updated": created,
        "last_event_date": created + timedelta(seconds=12),
        "properties": {"source": 'sign-up "form"', "points": number % 90, "likes": ["tea", "été"]},
        "location": {
            "ip": f"192.0.2.{number % 255}",
            "city": place.city,
            "region": place.region,
            "country": place.country,
            "zip": place.zip_code,
            "address1": f"{rng.choice(words.STREETS)} {rng.randint(1, 180)}",
            "timezone": place.timezone,
            "latitude": place.latitude,
        },
        "subscriptions": _subscriptions(subscribed),
        "predictive_analytics": _analytics(rng) if rng.random() < 0.8 else None,
    }
    return {
        "id": profile_id,
        "type": "profile",
        "links": links(f"profiles/{profile_id}"),
        "updated": created,
        "segments": {"data": [short_id("S", number % 5)]} if number % 3 else None,
        "attributes": attributes,
        "relationships": {
            name: {"links": links(f"profiles/{profile_id}", name)} for name in ("lists", "segments")
        },
    }


def _subscriptions(at: datetime | None) -> Record:
    consent = "SUBSCRIBED" if at else "NEVER_SUBSCRIBED"
    return {
        "email": {
            "marketing": {
                "consent": consent,
                "timestamp": at,
                "last_updated": at,
                "consent_timestamp": at,
                "double_optin": bool(at),
                "can_receive_email_marketing": True,
                "suppressions": [] if at else [{"reason": "USER_SUPPRESSED", "timestamp": None}],
                "list_suppressions": [],
            }
        },
        "sms": {"marketing": {"consent": "NEVER_SUBSCRIBED", "can_receive_sms_marketing": False}},
    }


def _analytics(rng: Random) -> Record:
    orders = rng.randint(0, 9)
    average = round(rng.uniform(12, 160), 2)
    return {
        "historic_number_of_orders": orders,
        "average_order_value": average if orders else None,
        "historic_clv": round(orders * average, 2),
        "predicted_clv": round(rng.uniform(0, 300), 4),
        "total_clv": round(orders * average + rng.uniform(0, 300), 4),
        "churn_probability": round(rng.random(), 6),
        "predicted_number_of_orders": round(rng.uniform(0, 4), 3),
        "average_days_between_orders": round(rng.uniform(9, 120), 1) if orders > 1 else None,
        "expected_date_of_next_order": "2026-05-04",
    }


def _timeline(rng: Random, profile: Record, moments: Sequence[datetime]) -> Timeline:
    versions = [Version(profile["updated"], profile)]
    for moment in sorted(set(moments)):
        before = versions[-1].record
        attributes = before["attributes"] | {"updated": moment, "last_event_date": moment}
        if rng.random() < 0.8:
            attributes["predictive_analytics"] = _analytics(rng)
        else:
            attributes["last_name"] = rng.choice(words.LAST_NAMES)
        versions.append(Version(moment, before | {"updated": moment, "attributes": attributes}))
    return versions


def _event(rng: Random, number: int, moment: datetime, profile: Record, metric: Record) -> Record:
    event_id = short_id("E", number) + format(rng.getrandbits(20), "05X")
    product = rng.choice(words.PRODUCTS)
    properties = {
        "$value": product.price_cents / 100,
        "Subject": rng.choice(words.SUBJECTS),
        "Items": [product.title, None],
        "Nested": {"variant": product.variant, "first": number % 2 == 0},
    }
    resource = f"events/{event_id}"
    return {
        "id": event_id,
        "type": "event",
        "links": links(resource),
        "datetime": moment,
        "attributes": {
            "uuid": str(UUID(int=rng.getrandbits(128), version=1)),
            "datetime": moment,
            "timestamp": int(moment.timestamp()),
            "event_properties": properties,
        },
        "relationships": {
            "metric": {
                "data": {"id": metric["id"], "type": "metric"},
                "links": links(resource, "metric"),
            },
            "profile": {
                "data": {"id": profile["id"], "type": "profile"},
                "links": links(resource, "profile"),
            },
            "attributions": {"data": [], "links": links(resource, "attributions")},
        },
    }

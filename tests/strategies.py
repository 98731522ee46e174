"""Hypothesis: customers as clients write them, valid and normalised, from small pools of values.

Small pools, so that what is generated meets what is there: the same id, the same tag, the same device.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.domain import reference

Bodies = st.SearchStrategy[dict[str, Any]]

_TEXTS = ("", "a", "b", "A", "ß", "SS", "é😀")
_MOMENTS = ("2024-03-01T10:20:30.000+0000", "1999-12-31T23:59:59.999+0000")
_DAYS = ("2024-02-29", "1980-01-01")
_BY_NAME: dict[str, tuple[Any, ...]] = {
    "pictureUrl": ("https://x.it/a.png", "/b"),
    "dob": _DAYS,
    "startDate": _MOMENTS,
    "endDate": _MOMENTS,
    "createdTime": _MOMENTS,
    "registeredAt": _MOMENTS,
    "updatedAt": _MOMENTS,
    "date": _MOMENTS,
    "locale": ("it_IT", "zh_Hans_CN"),
    "timezone": ("Europe/Rome", "UTC"),
    "email": ("a@x.it", "A@X.IT", "josé@exämple.it"),
    "lat": (0, 0.0, -90.5, 180),
    "lon": (0, 1, 12.25),
    "startYear": (1999, 1999.0, 2000),
    "endYear": (2004,),
    "isCurrent": (True, False),
    "subscribed": (True, False),
    "status": (True, False),
    "limitation": (True, False),
    "objection": (True, False),
    "id": ("a", "b", "c"),
    "identifier": ("d1", "d2"),
    "appId": ("p", "q"),
    "notificationService": ("APN", "GCM"),
    "kind": ("SERVICE", "OTHER"),
    "schoolType": ("COLLEGE", "OTHER"),
}
_BY_LIST: dict[str, dict[str, tuple[Any, ...]]] = {
    "otherContacts": {"type": ("MOBILE", "FAX")},
    "mobileDevices": {"type": ("IOS", "FIREOS")},
    "jobs": {"startDate": _DAYS, "endDate": _DAYS},
    "subscriptions": {"id": ("a", "b", "c")},
}
_REQUIRED = {"educations", "likes", "jobs", "subscriptions"}


def _object(shape: reference.Shape, pools: dict[str, tuple[Any, ...]], *required: str) -> Bodies:
    must: dict[str, st.SearchStrategy[Any]] = {}
    may: dict[str, st.SearchStrategy[Any]] = {}
    for name, inner in shape.items():
        values: st.SearchStrategy[Any]
        if isinstance(inner, dict):
            values = _object(inner, _BY_NAME)
        elif isinstance(inner, list):
            own = {**_BY_NAME, **_BY_LIST.get(name, {})}
            needs = ("id",) if name in _REQUIRED else ()
            values = st.lists(_object(inner[0], own, *needs), max_size=3)
        else:
            values = st.sampled_from(pools.get(name, _TEXTS))
        if name in required:
            must[name] = values
        else:
            may[name] = st.none() | values
    return st.fixed_dictionaries(must, optional=may)


def _some_of(objects: Bodies, limit: int = 4) -> Bodies:
    """Fewer members at once: a body that names everything hides what the merge does."""

    def thinned(document: dict[str, Any], keep: list[int]) -> dict[str, Any]:
        names = sorted(document)
        kept = {names[number % len(names)] for number in keep} if names else set()
        return {name: value for name, value in document.items() if name in kept}

    few = st.lists(st.integers(0, 40), max_size=limit)
    return st.builds(thinned, objects, few)


_tag_lists = st.lists(st.sampled_from(_TEXTS), max_size=4)
_extended: Bodies = st.fixed_dictionaries(
    {},
    optional={
        "text": st.none() | st.sampled_from(_TEXTS),
        "number": st.none() | st.sampled_from((0, 1, 1.0, -2.5)),
        "flag": st.none() | st.booleans(),
        "words": st.none() | _tag_lists,
        "numbers": st.none() | st.lists(st.sampled_from((0, 1, 1.0, 2)), max_size=4),
    },
)
EXTENDED_DEFINITIONS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "flag": {"type": "boolean"},
    "words": {"type": "array", "items": {"type": "string"}},
    "numbers": {"type": "array", "items": {"type": "number"}},
}
"""The definitions that make the generated `extended` members valid."""

writes: Bodies = st.fixed_dictionaries(
    {},
    optional={
        "externalId": st.none() | st.sampled_from(_TEXTS),
        "base": st.none() | _some_of(_object(reference.BASE, _BY_NAME)),
        "consents": st.none() | _object(reference.CONSENTS, _BY_NAME),
        "extended": st.none() | _extended,
        "extra": st.none() | st.sampled_from(_TEXTS),
        "tags": st.none()
        | st.fixed_dictionaries(
            {}, optional={"auto": st.none() | _tag_lists, "manual": st.none() | _tag_lists}
        ),
        "enabled": st.none() | st.booleans(),
    },
)
"""Bodies of POST, PATCH and PUT without `nodeId`: any members, explicit nulls, empty lists and objects."""

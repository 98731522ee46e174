"""What the routes of this service need beside what every service has."""

from __future__ import annotations

from aiohttp import web

from headwater.http.gate import Gate
from headwater.postgres.pool import Pool
from headwater.settings import StreamSettings
from headwater.validation import Schemas
from stream_api.follow import Follower

READERS = web.AppKey("readers", Gate)
"""The places of those who wait or follow: they are no work, and may stay for hours."""

FEED_POOL = web.AppKey("feed_pool", Pool)
"""Connections that read pages of feeds, and nothing else."""

FOLLOWER = web.AppKey("follower", Follower)
STREAM = web.AppKey("stream", StreamSettings)
SCHEMAS = web.AppKey("schemas", Schemas)

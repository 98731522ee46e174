"""What every aiohttp application of the hub holds, by key."""

from __future__ import annotations

import asyncio

from aiohttp import web

from headwater.auth import Authenticator
from headwater.configuration import ConfigCache
from headwater.http.gate import Gate
from headwater.http.throttle import Throttle
from headwater.postgres.pool import Pool
from headwater.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
POOL = web.AppKey("pool", Pool)
CONFIGS = web.AppKey("configs", ConfigCache)
DRAINING = web.AppKey("draining", asyncio.Event)
"""Set when the process ends: it still answers, and asks for no more work."""

AUTH = web.AppKey("auth", Authenticator)
GATE = web.AppKey("gate", Gate)
THROTTLE = web.AppKey("throttle", Throttle)

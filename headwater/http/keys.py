"""What every aiohttp application of the hub holds, by key."""

from __future__ import annotations

from aiohttp import web

from headwater.auth import Authenticator
from headwater.configuration import ConfigCache
from headwater.postgres.pool import Pool
from headwater.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
POOL = web.AppKey("pool", Pool)
CONFIGS = web.AppKey("configs", ConfigCache)
AUTH = web.AppKey("auth", Authenticator)

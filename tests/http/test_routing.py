"""The index of routes finds what aiohttp finds."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from deploy.single import SERVICES
from headwater.http.app import build_app
from headwater.http.routing import RouteIndex

ROUTES = [route for service in SERVICES for route in service.routes]
VALUES = ("batch", "7b3f9a52-0000-4000-8000-000000000000", "replay", "a:b;c", "{id}", "a%2Fb", "")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def _path(route: web.RouteDef, value: str) -> str:
    return "/".join(value if "{" in part else part for part in route.path.split("/"))


@pytest.mark.parametrize("value", VALUES)
async def test_the_index_finds_what_aiohttp_finds_or_nothing(value: str) -> None:
    app = build_app(ROUTES, state={})
    index = RouteIndex(app)
    unusual = "%" in value
    for path in {_path(route, value) for route in ROUTES}:
        for method in METHODS:
            for target in (path, path + "?a=/b", path + "/"):
                request = make_mocked_request(method, target, app=app)
                meant = await app.router.resolve(request)
                found = index.find(request)
                if found is None:
                    assert meant.http_exception is not None or unusual, (method, target)
                else:
                    assert (found.handler, dict(found)) == (meant.handler, dict(meant))
                    assert found.current_app is app

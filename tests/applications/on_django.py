# requires: django channels
"""Django with channels: views of both kinds, forms, sessions in cookies, a consumer of WebSockets."""

from __future__ import annotations

from typing import Any

import django
import httpx
from django.conf import settings
from websockets.sync.client import connect

settings.configure(
    SECRET_KEY="not secret",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402 - Django wants its settings first
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


def visits(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


async def form(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"form": dict(request.POST), "size": request.FILES["content"].size})


async def stream(_: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> Any:
        for number in range(5):
            yield f"{number}\n"

    return StreamingHttpResponse(parts(), content_type="text/plain")


class Group(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.channel_layer.group_add("all", self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any) -> None:
        await self.send_json({"echo": content})


urlpatterns = [path("visits", visits), path("form", form), path("stream", stream)]
app = ProtocolTypeRouter(
    {"http": get_asgi_application(), "websocket": URLRouter([path("ws", Group.as_asgi())])}
)


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        answers = [
            client.get("/visits"),
            client.get("/visits"),
            client.post("/form", data={"a": "b"}, files={"content": b"x" * 100_000}),
            client.get("/stream"),
            client.get("/missing"),
        ]
    with connect(url.replace("http", "ws") + "/ws") as websocket:
        websocket.send('{"a": 1}')
        echo = websocket.recv()
    return [[answer.status_code, answer.text] for answer in answers], echo

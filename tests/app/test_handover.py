"""Files that travel over HTTP: each once, to whoever has its address, within bounds."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from tensorview.app import handover as files
from tensorview.app.handover import ROUTE, File, Handover
from tensorview.app.policy import Policy
from tensorview.app.server import Serving, make_server

MOST = 40 * 2**20  # more than any other body may have


class Desk:
    """A server that only hands files over."""

    def __init__(self, serving: Serving) -> None:
        self.serving, self.handover = serving, Handover()
        self.taken: list[bytes] = []
        serving.guard.passes = self.handover.passes
        serving.add_route("*", ROUTE, self.handover.answer)
        serving.start()

    def offer(self, content: bytes, name: str = "a.png") -> str:
        offered = self.serving.call_soon(self.handover.offer, File(name, "image/png", content)).result(5)
        assert offered["name"] == name
        return offered["url"]

    def expect(self, most: int = MOST) -> str:
        async def take(content: bytes) -> None:
            self.taken.append(content)

        return self.serving.call_soon(self.handover.expect, most, take).result(5)["url"]

    def fetch(self, url: str, method: str = "GET", **options: Any) -> tuple[int, Any, bytes]:
        """Status, headers and body of a request without cookie or token."""

        async def main() -> tuple[int, Any, bytes]:
            async with aiohttp.ClientSession() as session:
                where = f"http://127.0.0.1:{self.serving.port}/{url}"
                async with session.request(method, where, **options) as response:
                    return response.status, response.headers, await response.read()

        return asyncio.run(main())


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Serving(make_server("test"), Policy(), port=0) as serving:
        yield Desk(serving)


def test_a_file_is_given_once_to_be_saved_under_its_name(desk: Desk) -> None:
    content = secrets.token_bytes(3 * 2**20 + 5)
    url = desk.offer(content, 'Schöne Ansicht "1".png')
    status, headers, body = desk.fetch(url)
    assert status == 200
    assert body == content
    assert headers["Content-Length"] == str(len(content))
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''Sch%C3%B6ne%20Ansicht%20%221%22.png"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert desk.fetch(url)[0] == 403, "its address opens nothing any more"
    bearer = {"Authorization": f"Bearer {desk.serving.guard.token}"}
    assert desk.fetch(url, headers=bearer)[::2] == (404, files.GONE.encode())


@pytest.mark.parametrize("headers", [{"Host": "evil.test"}, {"Origin": "http://evil.test"}])
def test_another_site_gets_no_file_and_it_waits_on(desk: Desk, headers: dict[str, str]) -> None:
    url = desk.offer(b"mine")
    assert desk.fetch(url, headers=headers)[0] == 403
    assert desk.fetch(url, "POST")[0] == 404
    assert desk.fetch(url)[2] == b"mine"


def test_addresses_cannot_be_guessed(desk: Desk) -> None:
    urls = {desk.offer(b"") for _ in range(5)}
    assert len(urls) == 5
    assert min(len(url) for url in urls) >= len("file/") + 43
    assert desk.fetch("file/" + secrets.token_urlsafe(32))[0] == 403


def test_a_file_that_nobody_fetches_is_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "KEPT_SECONDS", 0.05)
    url = desk.offer(b"x")
    for _ in range(200):
        if not desk.handover.passes:
            break
        time.sleep(0.02)
    assert desk.fetch(url)[0] == 403


def test_the_oldest_give_way_when_too_many_or_too_large_ones_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [desk.offer(bytes([i])) for i in range(files.MOST_WAITING + 2)]
    assert [desk.fetch(url)[0] for url in urls[:3]] == [403, 403, 200]
    assert desk.fetch(urls[-1])[2] == bytes([files.MOST_WAITING + 1])
    monkeypatch.setattr(files, "MOST_WAITING_BYTES", 100)
    desk.offer(bytes(60))
    last = desk.offer(bytes(200))
    assert len(desk.handover.passes) == 1, "what is larger than all may be waits alone"
    assert len(desk.fetch(last)[2]) == 200


def test_a_file_is_taken_once_and_may_be_larger_than_any_other_body(desk: Desk) -> None:
    content = secrets.token_bytes(MOST)
    url = desk.expect()
    assert desk.fetch(url, "POST", data=BytesIO(content))[0] == 204
    assert desk.taken == [content]
    assert desk.fetch(url, "POST", data=b"again")[0] == 403
    assert len(desk.taken) == 1


@pytest.mark.parametrize("says_its_length", [True, False])
def test_a_file_above_the_limit_is_not_taken(desk: Desk, says_its_length: bool) -> None:
    async def parts() -> Any:
        for _ in range(6):
            yield bytes(2**20)

    data = BytesIO(bytes(6 * 2**20)) if says_its_length else parts()
    status, _, body = desk.fetch(desk.expect(5 * 2**20), "POST", data=data)
    assert (status, body) == (413, b"More than 5 MB.")
    assert desk.taken == []

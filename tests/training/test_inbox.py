"""What waits for the worker."""

from __future__ import annotations

from tensorview.training.inbox import Inbox


def test_a_newer_probe_takes_the_place_of_one_that_waits() -> None:
    inbox = Inbox()
    assert inbox.empty()
    for index in range(100):
        inbox.put(({"say": "probe", "index": index}, b""))
    inbox.put(({"say": "pause"}, b""))
    for index in range(100, 200):
        inbox.put(({"say": "probe", "index": index}, b""))
    inbox.put(None)
    assert [inbox.get() for _ in range(3)] == [({"say": "pause"}, b""), ({"say": "probe", "index": 199}, b""), None]
    assert inbox.empty()


def test_commands_keep_their_order() -> None:
    inbox = Inbox()
    commands = [({"say": name}, name.encode()) for name in ("probe", "reset", "step", "step", "pause")]
    for command in commands:
        inbox.put(command)
    assert [inbox.get() for _ in commands] == commands

"""Validators, and the policy made of them."""

import math

import pytest

from tensorview.app.policy import Policy, PolicyError, checked
from tensorview.app.validators import (
    boolean,
    choice,
    data,
    fields,
    integer,
    line,
    list_of,
    number,
    optional,
    text,
)

POINT = fields(x=number(), y=number(), z=optional(number()))


@pytest.mark.parametrize(
    ("validator", "given", "expected"),
    [
        (boolean, True, True),
        (number(0, 10), 10, 10.0),
        (number(), -1.5e300, -1.5e300),
        (integer(-3, 3), 2.0, 2),
        (integer(-3, 3), -3, -3),
        (text(3), "abc", "abc"),
        (line(6), "a\nb\x1b[31mred", "a b [3"),
        (choice("sequential", "signed"), "signed", "signed"),
        (choice(0, 1), 1, 1),
        (data(4), b"\x00\xff", b"\x00\xff"),
        (optional(text(3)), None, None),
        (list_of(integer(0, 9), 3), (1, 2.0), [1, 2]),
        (POINT, {"x": 1, "y": 2}, {"x": 1.0, "y": 2.0, "z": None}),
    ],
)
def test_what_is_valid_is_returned_clean(validator, given, expected):
    cleaned = validator(given)
    assert cleaned == expected
    assert type(cleaned) is type(expected)


@pytest.mark.parametrize(
    ("validator", "given"),
    [
        (boolean, 1),
        (boolean, None),
        (number(), math.nan),
        (number(), math.inf),
        (number(), True),
        (number(), "1"),
        (number(0, 10), 10.001),
        (integer(0, 9), 1.5),
        (integer(0, 9), math.nan),
        (integer(0, 9), math.inf),
        (integer(0, 9), False),
        (integer(0, 9), 10),
        (text(3), "abcd"),
        (text(3), b"abc"),
        (line(3), 3),
        (choice(0, 1), True),
        (choice("a"), "A"),
        (choice("a"), ["a"]),
        (data(4), b"12345"),
        (data(4), "1234"),
        (optional(text(3)), 0),
        (list_of(integer(0, 9), 3), [1, 2, 3, 4]),
        (list_of(integer(0, 9), 3, shortest=1), []),
        (list_of(integer(0, 9), 3), [1, "2"]),
        (list_of(integer(0, 9), 3), "12"),
        (POINT, {"x": 1}),
        (POINT, {"x": 1, "y": 2, "w": 3}),
        (POINT, [1, 2]),
    ],
)
def test_what_is_not_valid_raises(validator, given):
    with pytest.raises(ValueError, match=r"not|longer|none|mapping"):
        validator(given)


def test_only_declared_state_is_set():
    policy = Policy(state={"speed": number(0, 10)})
    assert policy.value("speed", 3) == 3.0
    for key, value in [("speed", 11), ("trame__title", "x"), ("__class__", 1), (["speed"], 1), (None, 1)]:
        with pytest.raises(PolicyError):
            policy.value(key, value)


def test_a_trigger_is_declared_by_its_name_or_by_its_function():
    class App:
        def clear(self):
            pass

    app, other = App(), App()
    policy = Policy(triggers={"named": (text(3),)})
    policy.trigger(app.clear)
    assert policy.arguments("named", print, ["abc"], {}) == ["abc"]
    assert policy.arguments("trigger__7", app.clear, [], {}) == []
    for name, function in [
        ("trigger__8", other.clear),
        ("trigger__7", None),
        ("named", None),
        ("open", open),
    ]:
        with pytest.raises(PolicyError, match="not declared"):
            policy.arguments(name, function, ["abc"], {})


@pytest.mark.parametrize("args", [[], ["abcd"], ["abc", 1, 2], "abc", None, [None]])
def test_arguments_are_as_many_and_as_declared(args):
    with pytest.raises(PolicyError):
        checked((text(3), optional(boolean)), args, {})


def test_an_optional_last_argument_may_be_left_out_and_names_are_refused():
    assert checked((text(3), optional(boolean)), ["a"], {}) == ["a", None]
    assert checked((text(3), optional(boolean)), ["a", False], {}) == ["a", False]
    with pytest.raises(PolicyError, match="named"):
        checked((text(3),), ["a"], {"b": 1})


def test_the_reason_says_which_argument_and_which_key_and_never_the_value():
    with pytest.raises(PolicyError, match="argument 2 is y is not a number") as caught:
        checked((text(), POINT), ["a", {"x": 1, "y": "secret"}], {})
    assert "secret" not in str(caught.value)


def test_methods_that_stop_or_render_are_not_among_the_page_s():
    methods = Policy().methods
    assert "trame.state.get" in methods
    for name in ("application.exit", "application.exit.later", "trame.force.push", "viewport.image.push"):
        assert name not in methods

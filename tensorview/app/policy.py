"""What a browser may do to a server: which state it sets, which triggers and methods it calls.

Nothing is allowed that is not declared here. `endpoint.py` asks for every message.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from .validators import Validator, boolean, choice, line, text

# What trame's own client calls to show a page, and trame-vtk's local view to fetch an array.
# `trame.state.update` and `trame.trigger` are looked into: see `Policy.value` and `Policy.arguments`. Left
# out on purpose: application.exit, application.exit.later, trame.force.push, and every mouse, camera, picture
# and file method of vtkWeb. A page with a remote view declares those that it needs with `Policy.method`.
PAGE_METHODS: Mapping[str, tuple[Validator, ...]] = {
    "trame.state.get": (),
    "trame.lifecycle.update": (choice("client_connected", "client_exited", "client_unmounted"),),
    "trame.error.client": (line(2000),),
    "viewport.geometry.array.get": (text(200), boolean),
}


class PolicyError(ValueError):
    """A message asks for something that is not declared, or with a value that is not valid."""


class Policy:
    """The declared state, triggers and methods of one page.

    Args:
        state: name of a state key -> the validator of the values that a browser may give it.
        triggers: name of a trigger, or the very function that an event of a widget calls (`click=self.clear`)
            -> the validators of its arguments, in order.

    >>> policy = Policy(state={"speed": number(0, 10)}, triggers={"pad": (data(4096),)})
    >>> policy.trigger(app.clear)
    """

    def __init__(
        self,
        state: Mapping[str, Validator] | None = None,
        triggers: Mapping[Hashable, Sequence[Validator]] | None = None,
    ) -> None:
        self.state: dict[str, Validator] = dict(state or {})
        self.triggers: dict[Hashable, tuple[Validator, ...]] = {}
        self.methods: dict[str, tuple[Validator, ...]] = dict(PAGE_METHODS)
        for name, validators in (triggers or {}).items():
            self.trigger(name, *validators)

    def trigger(self, name: Hashable, *validators: Validator) -> None:
        """Allow a trigger, by its name or by its function, with these arguments and no others."""
        self.triggers[name] = validators

    def method(self, name: str, *validators: Validator) -> None:
        """Allow a remote method of trame or vtkWeb, as a remote view needs."""
        self.methods[name] = validators

    def value(self, key: Any, value: Any) -> Any:
        """The value to store under a state key. Raises `PolicyError`."""
        if not isinstance(key, str) or key not in self.state:
            raise PolicyError("state that is not declared")
        try:
            return self.state[key](value)
        except ValueError as error:
            raise PolicyError(f"a value that is {error}") from None

    def arguments(self, name: str, function: Callable[..., Any] | None, args: Any, kwargs: Any) -> list[Any]:
        """The arguments to call a trigger with; `function` is what trame would call. Raises `PolicyError`."""
        validators = self.triggers.get(name)
        if validators is None and function is not None:
            validators = self.triggers.get(function)
        if validators is None or function is None:
            raise PolicyError("a trigger that is not declared")
        return checked(validators, args, kwargs)


def checked(validators: Sequence[Validator], args: Any, kwargs: Any) -> list[Any]:
    """The arguments as the validators return them; one left out is `None`. Raises `PolicyError`."""
    if kwargs:
        raise PolicyError("named arguments")
    if not isinstance(args, (list, tuple)) or len(args) > len(validators):
        raise PolicyError(f"other than {len(validators)} arguments")
    padded = [*args, *[None] * (len(validators) - len(args))]
    cleaned: list[Any] = []
    try:
        for validator, value in zip(validators, padded, strict=True):
            cleaned.append(validator(value))
    except ValueError as error:
        raise PolicyError(f"argument {len(cleaned) + 1} is {error}") from None
    return cleaned

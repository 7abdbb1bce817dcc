"""Values that are made when somebody first asks for them.

A status of ten thousand clients is read in a few hundredths of a second; a Python object for each of its values takes
several times as long, and several times the memory. `fleet status` never looks at them, `fleet clients` not at the
routes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from types import MemberDescriptorType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Late(Generic[T]):
    """A value that is made once, when it is asked for; what it is made of can be sent to another process before."""

    __slots__ = ("_recipe", "_value")

    _recipe: tuple[Callable[..., T], tuple[Any, ...]] | None

    def __init__(self, make: Callable[..., T], *arguments: object) -> None:
        """Nothing is made yet.

        Args:
            make: makes the value, and does not fail; a function of a module, so that another process has it too.
            arguments: what it makes it of; forgotten when it is made.
        """
        self._recipe = (make, arguments)
        self._value: T | None = None

    @property
    def made(self) -> bool:
        """Whether somebody has asked for the value."""
        return self._recipe is None

    def value(self) -> T:
        """The value, made now if it was not."""
        recipe = self._recipe
        if recipe is not None:
            make, arguments = recipe
            with _no_collection():
                self._value = make(*arguments)
            self._recipe = None
        return self._value  # type: ignore[return-value] # None only where None was made


@contextmanager
def _no_collection() -> Iterator[None]:
    """All that is made inside is kept, so that a garbage collector who looks at it again and again finds nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def late(*names: str) -> Callable[[type[T]], type[T]]:
    """Above a frozen dataclass with slots: these fields may be given as Late, and are read as its value."""

    def with_late_fields(kind: type[T]) -> type[T]:
        for name in names:
            setattr(kind, name, _LateField(vars(kind)[name]))
        kind.__getstate__ = _state  # type: ignore[method-assign,assignment] # dataclass's own would make them
        return kind

    return with_late_fields


def unmade(owner: object, name: str) -> Any:
    """What a late field was given: for another one, so that nothing is made on the way."""
    field = vars(type(owner)).get(name)
    return field.given(owner) if isinstance(field, _LateField) else getattr(owner, name)


def _state(instance: Any) -> list[Any]:
    """What another process gets, which makes what is wanted there."""
    return [unmade(instance, field.name) for field in fields(instance)]


class _LateField:
    """In the place of the slot of a field."""

    def __init__(self, slot: MemberDescriptorType) -> None:
        self._slot = slot

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        value = self._slot.__get__(instance, owner)
        return value.value() if isinstance(value, Late) else value

    def __set__(self, instance: object, value: object) -> None:
        self._slot.__set__(instance, value)

    def given(self, instance: object) -> Any:
        return self._slot.__get__(instance, type(instance))

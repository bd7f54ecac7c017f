"""`Registry`: the names by which users ask for rules, readouts and methods."""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from tf_learnprop.argument_checks import ArgumentError


class Configured(Protocol):
    """What a registry makes, such as a Keras layer."""

    def get_config(self) -> dict[str, Any]:
        """Its settings by name."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """An object with these settings."""


Item = TypeVar("Item", bound=Configured)
Class = TypeVar("Class", bound=type)


class Registry(Generic[Item]):
    """Classes by name, each with the settings that the name stands for.

    Args:
        kind: What is registered, for messages: "rule", "readout" or "method".
        base: The base of all classes that are registered.
        forms: What the argument of this name may be, for messages: "a name or a `Readout`".
        paths: What it may name besides, for messages.
    """

    def __init__(self, kind: str, base: type[Item], forms: str, paths: str = ""):
        self._kind, self._base, self._forms, self._paths = kind, base, forms, paths
        self._entries: dict[str, tuple[type[Item], dict[str, Any]]] = {}

    def register(self, name: str, /, **settings: Any) -> Callable[[Class], Class]:
        """A decorator that registers a class.

        Args:
            name: Python identifier that no other class has.
            **settings: Arguments of the class that the name stands for.

        Raises:
            ValueError: If the name is no identifier, or another class has it.
        """
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"The name of a {self._kind} must be an identifier. Received: {name!r}")

        def add(cls: Class) -> Class:
            owner, _ = self._entries.get(name, (cls, {}))
            # A cell of a notebook that runs again makes the same class anew.
            if (owner.__module__, owner.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(
                    f"Each {self._kind} must have a name of its own. Received: {name!r}, which is "
                    f"{owner.__name__}, for {cls.__name__}"
                )
            self._entries[name] = cls, settings
            return cls

        return add

    def make(self, name: str, /, **options: Any) -> Item:
        """A new object of the class with this name, which must be registered."""
        cls, settings = self._entries[name]
        return cls(**settings, **options)

    def get(self, identifier: str | Item, **options: Any) -> Item:
        """A new object: that of a name, or a copy of another that is not built.

        Args:
            identifier: A name, or an object whose configuration is copied.
            **options: Further arguments of the class.

        Raises:
            ValueError: If the name is unknown.
            TypeError: If it is neither a name nor an object of the base.
        """
        if isinstance(identifier, self._base):
            return type(identifier).from_config({**identifier.get_config(), **options})
        if not isinstance(identifier, str):
            raise TypeError(f"`{self._kind}` must be {self._forms}. Received: {self._kind}={identifier!r}")
        if identifier not in self._entries:
            names = ", ".join(map(repr, self._entries))
            raise ArgumentError(self._kind, f"be one of {names}{self._paths}", identifier)
        return self.make(identifier, **options)

    def names(self) -> list[str]:
        """All names, in the order in which they were registered."""
        return list(self._entries)

    def name_of(self, item: Item) -> str:
        """The name that stands for the class and the settings of an object; else the name of its class."""
        config = item.get_config()
        for name, (cls, settings) in self._entries.items():
            if cls is type(item) and settings.items() <= config.items():
                return name
        return type(item).__name__

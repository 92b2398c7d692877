"""A knob: one value that the user may set. Its meaning, type and range stand in a schema, its default in conf/.

Schemas are dataclasses whose fields are made by ``knob``. The help page takes its text from them and ``Knob.check``
its ranges, before a sweep's first job as well as in every constructor, so the three can never disagree. No torch
is imported here: help must be quick.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from calclab.errors import UserError
from calclab.text import quoted, shortened

LONG = 10_000  # bits of a whole number from about which on Python gives no decimals


def knob(
    meaning: str,
    example: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    choices: tuple[str | bool, ...] = (),
    names: tuple[str, ...] = (),
    own: bool = False,
    aside: bool = False,
    unit: str = "",
    rare: bool = False,
) -> Any:
    """A dataclass field with a meaning, a range, and an example to show when a value is refused.

    ``names``: what a text may be, or each text in a list of them, where the knob takes other things too.
    ``own``: beside the choices the dotted path of something of the user's is taken, or a mapping with ``_target_``.
    ``rare``: the page of a topic names it, and leaves what it means to the page of the knob.
    ``aside``: what is built does not take the value; another reads it from the configuration and hands it over later.
    """
    return field(
        init=not aside,
        repr=not aside,
        compare=not aside,
        metadata={
            "meaning": meaning,
            "example": example,
            "above": above,
            "at_least": at_least,
            "below": below,
            "at_most": at_most,
            "choices": choices,
            "names": names,
            "own": own,
            "aside": aside,
            "unit": unit,
            "rare": rare,
        },
    )


@dataclass(frozen=True)
class Knob:
    """One field of a schema, ready to be shown or checked."""

    name: str
    type: Any
    meaning: str
    example: Any
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: tuple[str | bool, ...] = ()
    names: tuple[str, ...] = ()
    own: bool = False
    aside: bool = False
    unit: str = ""
    rare: bool = False

    @property
    def optional(self) -> bool:
        return type(None) in typing.get_args(self.type)

    @property
    def base(self) -> Any:
        """The type without ``None``."""
        if typing.get_origin(self.type) in (typing.Union, types.UnionType):
            return next(t for t in typing.get_args(self.type) if t is not type(None))
        return self.type

    @property
    def kind(self) -> str:
        """The type and range in words: "number > 0", "whole number from 0 to 100", "one of gd, adam"."""
        if self.choices and typing.get_origin(self.base) is list:
            return f"list of some of {', '.join(map(written, self.choices))}"
        if self.choices:
            own = ", the dotted path of your own" if self.own else ""
            return "one of " + ", ".join(map(written, self.choices)) + own + (", or null" if self.optional else "")
        words = {float: "number", int: "whole number", bool: "true or false", str: "text", Any: "any value"}
        word = words.get(self.base) or ("list" if typing.get_origin(self.base) is list else "mapping")
        if word == "list" and (entries := typing.get_args(self.base)[0]) in words and entries is not Any:
            word += f" of {words[entries]}s"
        if self.at_least is not None and self.at_most is not None:
            word += f" from {self.at_least:g} to {self.at_most:g}"
        else:
            bounds = ((">", self.above), (">=", self.at_least), ("<", self.below), ("<=", self.at_most))
            word += " and".join(f" {sign} {bound:g}" for sign, bound in bounds if bound is not None)
        return word + (", or null" if self.optional else "")

    @property
    def typed_example(self) -> str:
        """The example as a shell takes it."""
        return quoted(str(self.example).strip("'"))

    @property
    def article(self) -> str:
        """What stands before the kind in a sentence."""
        several = typing.get_origin(self.base) is list
        return "" if self.base is bool or (self.choices and not several) else "a "

    def allows(self, value: Any) -> bool:
        """Whether ``value`` has the type and lies in the range."""
        if value is None and (self.optional or self.base is Any):
            return True
        return (self.own and is_own(value)) or (self._has_type(value) and self._in_range(value))

    def meant(self, value: Any, names: Sequence[str] = ()) -> str:
        """What a ``value`` that is not allowed was probably meant to be, as it is typed, of ``names`` where the knob
        has none of its own; empty where that is not clear."""
        from calclab.schema.meant import candidates

        found = candidates(value, self.base, self.choices or self.names or names, self.example)
        return next((typed(entry) for entry in found if self.allows(entry)), "")

    def check(self, value: Any, key: str = "") -> None:
        """Raise UserError unless ``value`` is allowed; ``key`` is what the user types."""
        if not self.allows(value):
            key, meant = key or self.name, self.meant(value)
            large = " below 2**63" if isinstance(value, int) and not fits(value) else ""
            raise UserError(
                f"{key}={written(value)}: {key} is {self.article}{self.kind}{large} ({self.meaning}). "
                + (f"Type {key}={quoted(meant)}" if meant else f"Type for example {key}={self.typed_example}")
            )

    def _has_type(self, value: Any) -> bool:
        if typing.get_origin(self.base) is list:
            (entry,) = typing.get_args(self.base)
            return isinstance(value, list | tuple) and all(is_entry(one, entry) for one in value)
        if typing.get_origin(self.base) is dict:
            return isinstance(value, dict)
        return is_a(value, self.base)

    def _in_range(self, value: Any) -> bool:
        if typing.get_origin(self.base) is list and self.choices:
            return all(entry in self.choices for entry in value)
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
            and (not self.choices or any(type(value) is type(one) and value == one for one in self.choices))
        )


def is_own(value: Any) -> bool:
    """Whether a value names something of the user's: my_module.focal, or a mapping with ``_target_`` and its knobs."""
    path = value.get("_target_") if isinstance(value, dict) else value
    return isinstance(path, str) and "." in path and all(part.isidentifier() for part in path.split("."))


def is_a(value: Any, base: Any) -> bool:
    """Whether a scalar is of the type; whole numbers are those that a tensor can hold."""
    if isinstance(value, bool) or base is bool:
        return base in (bool, Any) and isinstance(value, bool)
    if base is float:
        return fits(value) if isinstance(value, int) else isinstance(value, float) and math.isfinite(value)
    if base is int:
        return isinstance(value, int) and fits(value)
    return base is Any or (isinstance(value, base) and "\0" not in value)


def is_entry(value: Any, base: Any) -> bool:
    """Whether an entry of a list is of the type; a name may be a number, such as that of a column or a layer."""
    return base is Any or is_a(value, base) or (base is str and (is_a(value, int) or is_a(value, float)))


def fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def written(value: Any) -> str:
    """A value as it is typed, or the beginning of it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int) and value.bit_length() > LONG:
        return shortened(hex(value))
    return shortened(str(value))


def typed(value: Any) -> str:
    """A value as a command line has it, but for the shell's quotes."""
    if isinstance(value, list):
        return f"[{','.join(map(typed, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}: {typed(entry)}' for key, entry in value.items())}}}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def knobs(schema: type) -> dict[str, Knob]:
    """The knobs of a schema by name, in the order of its fields; fields that are no knobs are left out."""
    hints = typing.get_type_hints(schema)
    return {
        entry.name: Knob(entry.name, hints[entry.name], **entry.metadata)
        for entry in dataclasses.fields(schema)
        if "meaning" in entry.metadata
    }


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Base of every schema: a value out of range is refused on construction, whoever constructs."""

    def __post_init__(self) -> None:
        own: type = type(self)
        for name, entry in _own_knobs(own).items():
            for value in _numbers(getattr(self, name)):
                entry.check(value)


@functools.cache
def _own_knobs(cls: type) -> dict[str, Knob]:
    """The knobs that ``cls`` takes from its schema when it is built; its other fields are not read."""
    schema = next(base for base in cls.__mro__ if base.__module__.startswith("calclab.schema"))
    return {name: entry for name, entry in knobs(schema).items() if not entry.aside}


def _numbers(value: Any) -> list[Any]:
    """The value; of a tensor, one number for each run of a batch, all of them."""
    return value.flatten().tolist() if hasattr(value, "flatten") else [value]

"""What a line chooses, as far as its words tell without composing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from calclab.app.words import IMPLIED, OWN
from calclab.schema import Knob, aliases, catalogue

HYDRA = ("hydra/launcher", "hydra/sweeper")


def parts(value: str) -> list[str]:
    """A value cut at its commas outside brackets and quotes; whole where a bracket or a quote is not closed."""
    found, depth, quote, begin = [], 0, "", 0
    for place, letter in enumerate(value):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "," and depth == 0:
            found.append(value[begin:place])
            begin = place + 1
        else:
            depth += (letter in "([{") - (letter in ")]}")
    return [value] if depth or quote else [*found, value[begin:]]


@dataclass
class Choices:
    """What the words of a line choose, as far as it can be told without composing."""

    words: Sequence[str]
    sweep: bool = False
    given: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sweep = bool({"-m", "--multirun"} & set(self.words))
        for word in self.words:
            key, equals, value = word.partition("=")
            if equals and key in (*catalogue.GROUPS, *HYDRA):
                self.given[key] = parts(value)[0]
            elif key in IMPLIED:
                group, _, option = IMPLIED[key].partition("=")
                self.given.setdefault(group, option)

    @property
    def topic(self) -> str:
        given = self.given.get("topic", "descent")
        return given if given in catalogue.options("topic") else "descent"

    @property
    def open(self) -> bool:
        """Whether a study chooses too, so that nobody knows here what there is."""
        return "experiment" in self.given

    def value(self, key: str) -> str:
        """What is typed for a name; empty where nothing is."""
        pairs = [word.partition("=")[::2] for word in self.words]
        return next((value for name, value in pairs if key in (name, aliases.KNOBS.get(name))), "")

    def touches(self, group: str) -> bool:
        """Whether the line speaks of a group, by whatever name."""
        keys = [word.partition("=")[0] for word in self.words]
        return any(f"{aliases.KNOBS.get(key, key)}.".startswith(f"{group}.") for key in keys)

    def option(self, group: str) -> str:
        return self.given.get(group) or catalogue.default_of(self.topic).get(group, "")

    def knob(self, key: str) -> Knob | None:
        """A knob that the line has."""
        group, dot, name = key.partition(".")
        if not dot:
            return catalogue.root_knobs(self.topic).get(key) or (catalogue.anywhere(key) if self.open else None)
        return catalogue.knobs(group, self.option(group)).get(name) if group in catalogue.PARTS else None

    def unseen(self, key: str) -> bool:
        """Whether a name may be right for all that is known here: one of Hydra's, of the user's own classes, of a
        mapping, or of a study."""
        group, _, name = key.partition(".")
        if key.startswith("hydra") or name.startswith("_target_"):
            return True
        if group in OWN and self.option(group) == "custom":
            return True
        mapping = group in catalogue.homes() or group in catalogue.root_knobs(self.topic)  # sharpness.every
        return bool(name) and (mapping or (group in catalogue.PARTS and (self.open or name in self.values(group))))

    def values(self, group: str) -> Sequence[str]:
        return list(catalogue.values(group, self.option(group)))

"""The knobs of the questions as typed keywords, for editors and type checkers: made of ``conf/`` and the schemas.

python tests/library/typed_knobs.py        # writes calclab/library/knobs.py anew
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

from calclab.schema import Knob, catalogue
from calclab.schema.knob import typed

ROOT = ("seed", "figures")  # knobs of every run that a question takes too
FILE = Path(__file__).parents[2] / "calclab" / "library" / "knobs.py"
HEAD = '''"""The knobs of each question as typed keywords: what an editor completes and a type checker holds.

Written by ``tests/library/typed_knobs.py`` from ``conf/`` and ``calclab/schema``; a test holds that it says the same.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict
'''


def text() -> str:
    """The content of the file."""
    common = catalogue.knobs("common", "common")
    defaults = catalogue.values("", "config")
    parts = [HEAD, section("Every", "TypedDict", {name: common[name] for name in ROOT}, defaults)]
    for topic in catalogue.options("topic"):
        own, values = catalogue.knobs("topic", topic), catalogue.values("topic", topic)
        parts.append(section(topic.capitalize(), "Every", own, values))
    return "\n\n".join(parts)


def section(name: str, base: str, knobs: dict[str, Any], defaults: dict[str, Any]) -> str:
    """One class: a key and its meaning for each knob."""
    entries = "".join(entry(knob, typed(defaults[knob.name])) for knob in knobs.values())
    return f"class {name}({base}, total=False):\n" + (entries or '    """It has none of its own."""\n')


def entry(knob: Knob, default: str) -> str:
    """A key with its type, and what it means."""
    kind = f"Literal[{', '.join(map(repr, knob.choices))}]" if knob.choices else written(knob.base)
    meaning = f"{knob.meaning[0].upper()}{knob.meaning[1:]}; {knob.kind}. "
    meaning += f"Default: {default.replace('${optimizer.lr}', 'that of the optimizer')}"
    return f"    {knob.name}: {kind}{' | None' if knob.optional else ''}\n{quoted(meaning)}\n"


def quoted(meaning: str) -> str:
    return textwrap.indent("\n".join(textwrap.wrap(f'"""{meaning}"""', 115, break_long_words=False)), "    ")


def written(kind: Any) -> str:
    """A type as it stands in a file."""
    return getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind).replace("typing.", "")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", FILE], check=True)

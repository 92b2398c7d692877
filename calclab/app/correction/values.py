"""The values of knobs: in another notation, without brackets or quotes, several of them; and formulas."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from calclab.app.correction import subjects
from calclab.app.correction.choices import Choices, parts
from calclab.app.words import FORMULA_KEYS
from calclab.errors import UserError
from calclab.schema import Knob, catalogue
from calclab.schema.meant import NUMBER
from calclab.text import shortened

MODULES = ("nn", "torch.nn", "torch", "F", "functional")  # loss=nn.MSELoss names what the lab has
LONGEST = 2000  # characters of a formula that is looked at
LONG = 100  # characters of several numbers that are looked at
CALL = re.compile(r"(range|linspace|logspace|choice|interval|shuffle|sort|tag)\(")  # several values, by a function


def worth(key: str, value: str, knob: Knob, choices: Choices, reasons: list[str]) -> list[str]:
    """A knob's word with a value that the knob allows."""
    if "${" in value or key.partition(".")[2] == "_target_":
        return [f"{key}={value}"]
    if key in FORMULA_KEYS:  # which are `written`
        return [f"{key}={value}"]
    if key in ("data.path", "network.weights"):
        near = subjects.near_file(value) if value and not os.path.exists(os.path.expanduser(value)) else ""
        if near:
            reasons.append(f"{key}={shortened(value)}: there is no such file.")
        return [f"{key}={near or value}"]
    if key == "outputs":
        return [f"{key}={value}"]
    if key == "data.target" and (column := subjects.column(value, choices.value("data.path"))):
        reasons.append(f"{key}={shortened(value)}: the table has no such column.")
        return [f"{key}={column}"]
    if (
        choices.sweep
        and re.fullmatch(r"interval\([^()]*\)", value)
        and choices.given.get("hydra/sweeper", "lab") == "lab"
    ):
        reasons.append(f"{key}={shortened(value)} is searched, not listed, which Optuna does.")
        return ["hydra/sweeper=optuna", f"{key}={value}"]
    if (loose := spread(value, knob)) != value:
        reasons.append(f"{key}={shortened(value)}: several values are typed a,b,c, range(a,b,step) or linspace(a,b,n).")
        return [*(["-m"] if re.search("[,(]", loose) and not choices.sweep else []), f"{key}={loose}"]
    if value.startswith("glob("):  # of names of a group, and a knob's value is none
        return [f"{key}={value}"]
    if CALL.match(value):
        if not choices.sweep:
            reasons.append(f"{key}={shortened(value)} stands for several values, which -m asks for.")
            return ["-m", f"{key}={value}"]
        return [f"{key}={value}"]
    if len(parts(value)) > 1:
        return several(key, value, knob, choices, reasons)
    read, problem = parsed(key, value)
    meant, why = "", f"{key} is {knob.article}{knob.kind}"
    if (names := options_of(key, knob)) and not named_all(read, names):
        meant, why = knob.meant(read, names), f"there is no such {key.rstrip('s')}"
    elif problem or not knob.allows(read):
        meant = knob.meant(value if problem else read)
    elif knob.own and value.rpartition(".")[0] in MODULES:
        meant = knob.meant(value)
    if not meant and (problem or isinstance(read, str)) and (meant := brackets(value, knob)):
        why = "a list stands in square brackets"
    if not meant and problem and value:
        meant, why = str(knob.example).strip("'"), "this cannot be read"
    if not meant or meant == value:
        return [f"{key}={value}"]
    reasons.append(f"{key}={shortened(value)}: {why}.")
    return [f"{key}={meant}"]


def options_of(key: str, knob: Knob) -> Sequence[str]:
    """The names that a value, or each entry of it, is one of, where the knob takes other things too."""
    return catalogue.options("optimizer") if key == "optimizers" else knob.names


def spread(value: str, knob: Knob) -> str:
    """Several numbers for a knob that takes one, as a sweep has them: [a,b], {a,b}, a..b, a:b:step."""
    if knob.base not in (float, int) or len(value) > LONG:
        return value
    if call := re.fullmatch(r"(?:\w+\.)?(logspace|linspace|loguniform|uniform|geomspace|arange)\(([^()]*)\)", value):
        return spaced(call[1], [part.strip() for part in call[2].split(",")], value)
    if found := re.fullmatch(r"[\[({]+\s*([^\[\](){}:]+?)\s*[\])}]+", value):
        return ",".join(dict.fromkeys(part.strip() for part in found[1].split(",")))
    if found := re.fullmatch(rf"({NUMBER})\s*(?:\.\.+|-|to)\s*({NUMBER})", value):
        return f"linspace({found[1]},{found[2]},5)" if knob.base is float else f"range({found[1]},{found[2]})"
    if found := re.fullmatch(rf"({NUMBER}):({NUMBER}):({NUMBER})", value):
        return f"range({','.join(found.groups())})"
    return value


def spaced(function: str, arguments: list[str], value: str) -> str:
    """NumPy's, and a search's, as the lab's own functions of a sweep: logspace takes values and no exponents."""
    if len(arguments) not in (2, 3) or not all(re.fullmatch(NUMBER, one) for one in arguments):
        return value
    if function == "arange":
        return f"range({','.join(arguments)})"
    low, high = map(float, arguments[:2])
    number = arguments[2] if len(arguments) == 3 else "5"
    if function == "logspace" and min(low, high) <= 0 and max(abs(low), abs(high)) < 300:
        return f"logspace({10**low:g},{10**high:g},{number})"
    name = "logspace" if function in ("logspace", "loguniform", "geomspace") else "linspace"
    return f"{name}({arguments[0]},{arguments[1]},{number})"


def several(key: str, value: str, knob: Knob, choices: Choices, reasons: list[str]) -> list[str]:
    """Several values: a number with a decimal comma, a list without its brackets, or a sweep."""
    entries = parts(value)
    given = f"{key}={shortened(value)}"
    if choices.sweep and any(entry[:1] in ("[", "{", "'", '"') for entry in entries):
        return [f"{key}={value}"]
    numeric = knob.base in (float, int)
    comma = re.fullmatch(r"[+-]?(0,\d+|\d+,0\d*)" if knob.base is float else r"[1-9]\d{0,2}(,\d{3})+", value)
    if numeric and comma and (meant := knob.meant(value)) and not choices.sweep:
        reasons.append(f"{given}: a number has a point and no comma (several values: -m {given}).")
        return [f"{key}={meant}"]
    if catalogue.listed(key) or (not choices.sweep and str(knob.example).strip("'").startswith("[") and not numeric):
        also = "" if catalogue.listed(key) else f" (a sweep: -m {given})"
        reasons.append(f"{given}: a list stands in brackets{also}.")
        return [f"{key}=[{','.join(entry.strip(' []()') for entry in entries)}]"]
    fixed = []
    for entry in entries:
        read, problem = parsed(key, entry)
        meant = knob.meant(entry if problem else read) if problem or not knob.allows(read) else ""
        fixed.append(meant or entry)
    right = f"{key}={','.join(fixed)}"
    if fixed != entries:
        reasons.append(f"{given}: {key} is {knob.article}{knob.kind}.")
    if not choices.sweep:
        reasons.append(f"{given} stands for several values, which -m asks for.")
        return ["-m", right]
    return [right]


def parsed(key: str, value: str) -> tuple[object, bool]:
    """The value as Hydra reads it, and whether it cannot."""
    from calclab.app.words import parsed as read
    from calclab.app.words import prepare

    try:
        override = read(prepare([f"{key}={value}"])[0])
        return (value, True) if override.is_sweep_override() else (override.value(), False)
    except UserError:
        return value, True


def named_all(read: object, names: Sequence[str]) -> bool:
    """Whether all texts in a value, one or a list, are among ``names``; a + joins two."""
    entries = read if isinstance(read, list) else [read]
    return all(entry.partition("+")[0] in names for entry in entries if isinstance(entry, str))


def brackets(value: str, knob: Knob) -> str:
    """A list in round brackets or with blanks, or one that is not closed; empty for all else."""
    text = value.strip("'\" ")
    if not str(knob.example).strip("'").startswith(("[", "{")):
        return ""
    if re.fullmatch(r"\(.*\)", text):
        return f"[{text[1:-1]}]"
    missing = text.count("[") - text.count("]")
    if missing > 0:
        return text.rstrip(", ") + "]" * missing
    if missing < 0:
        return "[" * -missing + text
    if named := re.findall(r"\w+ *= *([-+\d.eE]+)", text):
        return named[0] if len(named) == 1 else f"[{','.join(named)}]"
    if re.fullmatch(r"[-+\d.eE]+([ ;]+[-+\d.eE]+)+", text):
        return f"[{','.join(re.split(r'[ ;]+', text))}]"
    return ""


def written(words: Sequence[str], reasons: list[str]) -> list[str]:
    """The words with formulas in the lab's own notation; what was wrong is added to ``reasons``."""
    out: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        out += formula(key, value, reasons) if equals and key in FORMULA_KEYS else [word]
    return out


def formula(key: str, value: str, reasons: list[str]) -> list[str]:
    """A formula's word, written as the lab reads it."""
    from calclab.subject.formula.parse import meant, refusal
    from calclab.subject.formula.text import split

    if len(value) > LONGEST:
        return [f"{key}={value}"]
    texts = split(value)
    found = [meant(text) for text in texts]
    if not any(found):
        return [f"{key}={value}"]
    first = next(text for text, new in zip(texts, found, strict=True) if new)
    why = refusal(first).partition(" Known: ")[0]
    reasons.append(why if why.endswith((".", "?")) else f"{why}.")
    fixed = [new or text for new, text in zip(found, texts, strict=True)]
    listed = len(texts) > 1 or value.strip().startswith("[")
    return [f"{key}=[{', '.join(fixed)}]" if listed else f"{key}={fixed[0]}"]

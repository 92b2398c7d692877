"""Formulas as MathML, which browsers typeset by themselves, in the colours and at the size of the text around it.

latex2mathml does it. A page may be made of a folder that somebody else has sent, so of what comes out only elements and
attributes of presentation are kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from calclab.text import printable

if TYPE_CHECKING:
    from markupsafe import Markup

LONGEST = 8000  # characters of LaTeX; what is longer is nothing to look at
NAMED = re.compile(r"\\(?:operatorname|mathrm)\{((?:[A-Za-z0-9]|\\_)+)\}")  # a word, which is one symbol
ELEMENTS = frozenset(
    ("math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msup", "msub", "msubsup", "munder", "mover", "munderover",
     "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom", "menclose")
)  # fmt: skip
ATTRIBUTES = frozenset(
    ("display", "stretchy", "fence", "form", "separator", "width", "linethickness", "columnalign", "mathvariant")
)


def mathml(latex: str) -> Markup:
    r"""LaTeX typeset; as code where it cannot be.

    >>> mathml(r"\frac{x}{2}")
    Markup('<math display="block"><mrow><mfrac><mrow><mi>x</mi></mrow><mrow><mn>2</mn></mrow></mfrac></mrow></math>')
    >>> mathml(r"\frac{")
    Markup('<code>\\frac{</code>')
    """
    from markupsafe import Markup

    try:
        if len(latex) > LONGEST or printable(latex) != latex:
            raise ValueError("nothing to typeset")
        from latex2mathml.converter import convert

        made = ElementTree.fromstring(convert(NAMED.sub(word, latex), display="block"))
        clean(made)
        text = ElementTree.tostring(made, encoding="unicode")
    except Exception:  # of the library, whatever it meets
        return Markup("<code>{}</code>").format(printable(latex))
    return Markup(text)


def word(found: re.Match[str]) -> str:
    """A name of several letters in one piece: as text, and not letter by letter."""
    name = found[1].replace(r"\_", "_")
    return rf"\text{{{name}}}"


def clean(element: ElementTree.Element) -> None:
    """Take away, in place, what is not of presentation; names lose their name space, which HTML does not want."""
    element.tag = element.tag.rpartition("}")[2]
    if element.tag not in ELEMENTS:
        raise ValueError(f"<{element.tag}>")
    for name in set(element.attrib) - ATTRIBUTES:
        del element.attrib[name]
    for inner in element:
        clean(inner)

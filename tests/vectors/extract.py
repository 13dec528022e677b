#!/usr/bin/env python3
"""Cut the sections with test vectors out of RFC texts, a file per section.

usage: extract.py DIRECTORY-OF-RFC-TEXTS

Nothing is edited but page breaks, which are removed. rfc9335/A.txt is not made by this: it is the appendix of
draft-ietf-avtcore-cryptex-08, which became RFC 9335, from https://github.com/juberti/cryptex.
"""
import pathlib
import re
import sys

SECTIONS = {
    "rfc3711": ["B.1", "B.2", "B.3"],
    "rfc5669": ["A.1", "A.2", "A.3"],
    "rfc6188": ["7.1", "7.2", "7.3", "7.4"],
    "rfc6904": ["A.1", "A.2"],
    "rfc7714": ["16.1.1", "16.1.2", "16.1.3", "16.1.4", "16.2.1", "16.2.2", "16.2.3", "16.2.4",
                "17.1", "17.2", "17.3", "17.4"],
    "rfc8269": ["A.1", "A.1.1", "A.1.2", "A.2", "A.2.1", "A.2.2", "A.3.1", "A.3.2"],
}
HEADING = re.compile(r"^(?:[A-Z]|\d+)(?:\.\d+)*\.  |^(?:Authors' Addresses|Author's Address|Appendix )")


def without_pages(text):
    text = re.sub(r"\n+[^\n]*\[Page \d+\]\n\f?\n?RFC [^\n]*\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text.replace("\f", ""))


def section(lines, number):
    start = max(i for i, line in enumerate(lines) if line.startswith(number + ".  "))
    length = next(i for i, line in enumerate(lines[start + 1:]) if HEADING.match(line))
    return "\n".join(lines[start:start + 1 + length]).rstrip() + "\n"


here = pathlib.Path(__file__).parent
for rfc, numbers in SECTIONS.items():
    lines = without_pages((pathlib.Path(sys.argv[1]) / f"{rfc}.txt").read_text()).split("\n")
    (here / rfc).mkdir(exist_ok=True)
    for number in numbers:
        (here / rfc / f"{number}.txt").write_text(section(lines, number))

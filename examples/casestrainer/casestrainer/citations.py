"""What a citation is to us: found by eyecite, read by the rules below, returned as a small dict.

eyecite finds where citations are and of what kind, and tells which full citation a short one means.
The name of the case, the court and the year are read here, since a sentence in front of a name
("... the Court. United States v. Leon") or several years in a row easily mislead a general reader.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypedDict

from eyecite import get_citations, resolve_citations
from eyecite.helpers import get_court_by_paren
from eyecite.models import (
    CitationBase,
    FullCaseCitation,
    FullCitation,
    FullLawCitation,
    IdCitation,
    SupraCitation,
    UnknownCitation,
)

# eyecite's own, which is built when eyecite is imported. One of ours would be built again for each
# new version of this file.
from eyecite.tokenizers import default_tokenizer as TOKENIZER

# It warns where the spans of its years overlap; we read years ourselves.
logging.getLogger("eyecite").setLevel(logging.ERROR)

# How a citation is written in lists. {name}, {citation}, {court} and {year} can be used.
LABEL = "{name}, {citation}"


class Citation(TypedDict):
    """A citation as jobs return it."""

    kind: str  # full, short, id, supra or statute
    name: str  # "Terry v. Ohio"; empty for a statute
    citation: str  # as it stands in the text: "392 U.S. 1", "Id."
    parallel: list[str]  # the same case in other reporters: "88 S. Ct. 1868"
    year: int | None
    court: str  # "scotus", "ca2"; empty if it is not said
    pinpoint: str  # the page that is meant: "21-22"
    refers_to: str  # the full citation, also for a full one itself; empty if it was not found
    label: str


@dataclass
class Found:
    """A citation of one paragraph, before it is known what the short ones mean."""

    source: CitationBase
    name: str = ""
    year: int | None = None
    court: str = ""
    parallel: list[str] = field(default_factory=list)


# The name of a case in front of its citation. A word with a full stop is part of a name only if it
# is a known abbreviation or initials; otherwise a sentence ends there.
WORD = r"\b(?:(?:Bros|Co|Corp|Dep't|Inc|Ltd|Mfg|No)\.|(?:[A-Z]\.)+|[a-z]?[A-Z][\w'’-]*(?![\w.]))"
PARTY = rf"{WORD}(?:,? (?:(?:of|the|and|for|&|ex rel\.) )*{WORD})*"
CASE_NAME = re.compile(rf"(?:({PARTY}) v\. )({PARTY}), $|(In re {PARTY}), $")
# These begin sentences and strings of citations, not names.
SIGNALS = re.compile(r"^(?:(?:As|But|Cf\.|Compare|In|See|Since|Under),? )+(?!re )")

# Pages and parallel citations (", 21-22, 88 S. Ct. 1868"), then court and year ("(2d Cir. 1947)").
PAGES = r"(?:, \d[\d-]*(?: n\.\d+| [A-Z][\w. ]{0,15}? \d+)?)*"
COURT_AND_YEAR = re.compile(PAGES + r" \(([^()]*?) ?(\d{4})\)")
# Nothing but pages lies between a citation and a parallel one: ", 21-22, ".
ONLY_PAGES = re.compile(r"[\d\s,-]*")


def find(paragraph: str) -> list[Found]:
    """The citations of a paragraph, in order. Parallel ones are joined to the first of them."""
    found: list[Found] = []
    case_end: int | None = None  # where the case citation before this one ends
    for source in sorted(get_citations(paragraph, tokenizer=TOKENIZER), key=CitationBase.span):
        start, end = source.span()
        if isinstance(source, UnknownCitation):  # a lone section mark
            continue
        if not isinstance(source, FullCaseCitation):
            found.append(Found(source))
            case_end = None
            continue
        if case_end is not None and ONLY_PAGES.fullmatch(paragraph, case_end, start):
            found[-1].parallel.append(source.matched_text())
        else:
            found.append(_read_case(source, paragraph))
        case_end = end
    return found


def _read_case(source: FullCaseCitation, paragraph: str) -> Found:
    found = Found(source)
    start, end = source.span()
    if match := CASE_NAME.search(paragraph[:start]):
        plaintiff, defendant, in_re = match.groups()
        found.name = in_re or f"{SIGNALS.sub('', plaintiff)} v. {defendant}"
        # eyecite looks for these in "Mendenhall, supra".
        source.metadata.plaintiff, _, source.metadata.defendant = found.name.partition(" v. ")
    if match := COURT_AND_YEAR.match(paragraph, end):
        court, year = match.groups()
        found.year = int(year)
        found.court = get_court_by_paren(court) or source.metadata.court or ""
    return found


def resolve(found: Iterable[Found]) -> list[Citation]:
    """All citations of a document, each with the case it means."""
    found = list(found)
    by_source = {id(one.source): one for one in found}
    meant: dict[int, Found] = {}
    for sources in resolve_citations([one.source for one in found]).values():
        # In the order of the text, so the first is the full one.
        meant.update((id(source), by_source[id(sources[0])]) for source in sources)
    return [_describe(one, meant.get(id(one.source))) for one in found]


def _describe(one: Found, full: Found | None) -> Citation:
    text = one.source.matched_text().strip(" ,")
    refers_to = full.source.matched_text() if full else ""
    full = full or one
    name, year, court = full.name, full.year, full.court
    label = LABEL.format(name=name, citation=refers_to or text, year=year, court=court)
    return Citation(
        kind=_kind(one.source),
        name=name,
        citation=text,
        parallel=one.parallel,
        year=year,
        court=court,
        pinpoint=(one.source.metadata.pin_cite or "").removeprefix("at "),
        refers_to=refers_to,
        label=label if name else refers_to or text,
    )


def _kind(source: CitationBase) -> str:
    match source:
        case FullLawCitation():
            return "statute"
        case FullCitation():
            return "full"
        case IdCitation():
            return "id"
        case SupraCitation():
            return "supra"
        case _:
            return "short"

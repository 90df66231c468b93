"""The court documents that jobs work on: plain text files in the folder `documents`."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "documents"


def names() -> list[str]:
    """All documents there are, such as `brief`."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def paragraphs(name: str) -> list[str]:
    """The paragraphs of a document, each on one line."""
    # A job's arguments come from outside: never make a path of them.
    if name not in names():
        raise LookupError(f"no document {name!r}, only {', '.join(names())}")
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    # A citation may be broken over two lines, but not over two paragraphs.
    return [" ".join(block.split()) for block in text.split("\n\n") if block.strip()]

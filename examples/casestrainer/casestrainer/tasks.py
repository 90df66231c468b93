"""The jobs."""

from rq import get_current_job

from casestrainer import citations, documents


def extract(document: str) -> list[citations.Citation]:
    """Find all citations of a document and report progress while doing so."""
    found: list[citations.Found] = []
    paragraphs = documents.paragraphs(document)
    report(0, len(paragraphs), 0)
    for done, paragraph in enumerate(paragraphs, start=1):
        found += citations.find(paragraph)
        report(done, len(paragraphs), len(found))
    return citations.resolve(found)


def cite(passage: str) -> list[str]:
    """Find the citations of a few words of text and return how they would be listed."""
    return [citation["label"] for citation in citations.resolve(citations.find(passage))]


def warm_up() -> None:
    """Have eyecite build what it builds on first use, for a worker that can do that once for all jobs."""
    extract("opinion")


def report(done: int, total: int, found: int) -> None:
    """Note in the job's meta how far it is: paragraphs done, paragraphs in all, citations found."""
    job = get_current_job()
    # None when the function is called without a worker, as in a test.
    if job is not None:
        job.meta.update(done=done, total=total, found=found)
        job.save_meta()

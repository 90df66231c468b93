"""Where an import went wrong, for people: the traceback, and the user's file and line."""

import os
import traceback

_OURS = os.path.dirname(os.path.abspath(__file__))


def describe(error, user):
    """A JSON-able account of an exception raised while user code was imported."""
    file, line = _place(error, user)
    return {
        "error": "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1],
        "traceback": format_user_traceback(error),
        "file": file,
        "line": line,
    }


def format_user_traceback(error):
    """The traceback without our own frames and those of the import system."""
    exception = traceback.TracebackException.from_exception(error)
    kept = [
        frame
        for frame in exception.stack
        if not frame.filename.startswith(_OURS) and not frame.filename.startswith("<frozen importlib")
    ]
    exception.stack = traceback.StackSummary.from_list(kept)
    return "".join(exception.format())


def _place(error, user):
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    for frame in reversed(frames):
        if user.owns(os.path.realpath(frame.filename)):
            return frame.filename, frame.lineno
    return None, None

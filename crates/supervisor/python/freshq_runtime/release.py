"""A release folder that a symlink leads to: what is begun runs where the symlink leads by then."""

import os
import sys


def move(settings, now):
    """Leave the release that the settings are for, and the symlink, for the release `now`; returns the
    settings for that."""
    release = settings["release"]
    if not release:
        return settings
    folders = (release["at"], release["link"])

    def moved(path):
        for folder in folders:
            if path == folder or path.startswith(os.path.join(folder, "")):
                return now + path[len(folder) :]
        return path

    here = moved(release["here"])
    os.chdir(here)
    sys.path[:] = map(moved, sys.path)
    if "PYTHONPATH" in os.environ:
        # For what jobs start.
        os.environ["PYTHONPATH"] = os.pathsep.join(map(moved, os.environ["PYTHONPATH"].split(os.pathsep)))
    return {
        **settings,
        "roots": [*map(moved, settings["roots"])],
        "path": [*map(moved, settings["path"])],
        "release": {**release, "here": here, "at": now},
    }


def names(settings):
    """What can be imported from a release, by name: any of it may have come with it."""
    if not settings["release"]:
        return []
    within = os.path.join(settings["release"]["at"], "")
    folders = [folder for folder in sys.path if os.path.join(folder, "").startswith(within) and os.path.isdir(folder)]
    return sorted({entry.partition(".")[0] for folder in folders for entry in os.listdir(folder)})

"""Modules of the user's that have the name of a library, and come first in an import."""

import os
import sys

from .loader import UserFinder


class Guard(UserFinder):
    """First on `sys.meta_path` while a base imports libraries: none of them gets code of the user's."""

    def __init__(self, user):
        super().__init__(user)
        self.refused = []  # what was asked for

    def _adopt(self, spec):
        if _is_users(spec, self._user):
            self.refused.append(spec.name)
            raise ImportError("it is code of yours, which generations import", name=spec.name)
        return spec


def among(names, user):
    """Those of `names` that are libraries here, where an import would find the user's by now."""
    finder = UserFinder(user)
    found = []
    for name in names:
        module = sys.modules.get(name)
        if module is None or _is_users(getattr(module, "__spec__", None), user):
            continue
        spec = finder.find_spec(name)
        if spec is not None and _is_users(spec, user):
            found.append(name)
    return found


def _is_users(spec, user):
    if spec is None:
        return False
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    return any(user.owns(user.real(place)) for place in places if place)

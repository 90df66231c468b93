"""A Django project: its settings and apps are user code, set up anew in each generation."""

import os
import sys

_VARIABLE = "DJANGO_SETTINGS_MODULE"
_inherited = None


def hide():
    """In the base: no library that it imports may find the settings, which would never be reloaded."""
    global _inherited
    _inherited = os.environ.pop(_VARIABLE, None)


def set_up(settings_module):
    """In a generation, before anything else of the user's. None: jobs see to it themselves, if at all."""
    name = settings_module or _inherited
    if name:
        os.environ[_VARIABLE] = name
    if settings_module:
        import django

        django.setup()


def close_connections():
    """To databases, opened while user code was imported: two processes must not share one."""
    conf, db = sys.modules.get("django.conf"), sys.modules.get("django.db")
    if conf and db and conf.settings.configured:
        db.connections.close_all()

"""The user's configuration module (as `rq worker --config`): its logging, and where jobs find Redis."""

import importlib
import logging.config

from redis import Redis

from .hooks import Unusable


def prepare(told):
    """Makes in the base what most generations would make: a connection to a URL by redis-py's own class.

    It is not connected, and each process that uses it connects by itself.
    """
    try:
        told["prepared"] = told["redis_url"] and Redis.from_url(told["redis_url"])
    except ValueError:
        told["prepared"] = None  # a generation will say what is wrong


def load(told, connection_class):
    """Sets up logging if the module says how; returns what jobs reach Redis with, made in RQ's way.

    It connects when it is used.
    """
    name, redis_url = told["config"], told["redis_url"]
    try:
        settings = _read(name) if name else told["redis_settings"]
        if name and settings.get("DICT_CONFIG"):
            logging.config.dictConfig(settings["DICT_CONFIG"])
        if redis_url is not None:
            prepared = told.get("prepared")
            return prepared if type(prepared) is connection_class else connection_class.from_url(redis_url)
        from rq.cli.helpers import get_redis_from_config

        return get_redis_from_config(settings, connection_class)
    except BaseException as error:  # noqa: BLE001  also SystemExit: user code must not end us
        place = f"--config {name}" if name else "what jobs reach Redis with"
        raise Unusable(f"{place}: {type(error).__name__}: {error}") from error


def _read(name):
    return {key: value for key, value in vars(importlib.import_module(name)).items() if key.upper() == key}

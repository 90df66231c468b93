"""More names for expressions: a Django project in the current folder."""

import os

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "site_of_test.settings"
sys.path.insert(0, os.getcwd())


def open_project():
    """Once its files are there: as `manage.py migrate`, and a user who may see everything."""
    from django.core.management import call_command

    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    from django.contrib.auth.models import User

    User.objects.create_superuser("admin")


def begin(func, *args, queue_name="default", **options):
    import django_rq  # reads the settings

    return django_rq.get_queue(queue_name).enqueue(func, *args, **options).id


def site(path):
    """What the site answers to a member of staff: an object, or the text of a page."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.get(username="admin"))
    response = client.get(path)
    if response.status_code != 200:
        raise RuntimeError(f"{response.status_code}: {response.content}")
    return response.json() if "json" in response["Content-Type"] else response.content.decode()

//! A small Django project, with its jobs enqueued by django-rq.

use serde_json::json;

use crate::context::{Context, Worker};

const SETTINGS: &str = r#"
import os
BASE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECRET_KEY = "test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site_of_test.urls"
USE_TZ = True
GREETING = "hello"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django_rq",
    "shop.apps.Shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(BASE, "db.sqlite3")}}
STATIC_URL = "static/"
RQ_QUEUES = {"default": {"URL": "REDIS"}, "high": {"URL": "REDIS"}}
"#;

const URLS: &str = r#"
from django.contrib import admin
from django.urls import include, path
urlpatterns = [path("admin/", admin.site.urls), path("rq/", include("django_rq.urls"))]
"#;

/// Looks into the database while it is set up, as apps do that should not.
const APPS: &str = r#"
from django.apps import AppConfig

class Shop(AppConfig):
    name = "shop"
    default_auto_field = "django.db.models.AutoField"

    def ready(self):
        from django.db import connection
        connection.ensure_connection()
"#;

const MODELS: &str = r#"
from django.db import models

class Item(models.Model):
    name = models.CharField(max_length=50)

    def label(self):
        return f"old {self.name}"
"#;

const TASKS: &str = r#"
import os, time
from django.conf import settings
from django.db import connection, transaction
from rq import get_current_job
from .models import Item

def add(name):
    return Item.objects.create(name=name).pk

def label(pk):
    return Item.objects.get(pk=pk).label()

def greeting():
    return settings.GREETING

def inherited():
    """Whether there is a connection, and descriptors of the database that are open."""
    fds = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    return [connection.connection is not None, [fd for fd in fds if fd.endswith("db.sqlite3")]]

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.002)

def place():
    return get_current_job().connection.connection_pool.connection_kwargs["db"]

def boom():
    raise ValueError("boom")
"#;

fn project() -> Context {
    let context = Context::with_neighbours("django_client.py");
    context.write("site_of_test/__init__.py", "");
    context.write("site_of_test/settings.py", &settings(&context));
    context.write("site_of_test/urls.py", URLS);
    context.write("shop/__init__.py", "");
    context.write("shop/apps.py", APPS);
    context.write("shop/models.py", MODELS);
    context.write("shop/tasks.py", TASKS);
    context.eval("open_project()");
    context
}

fn settings(context: &Context) -> String {
    SETTINGS.replace("REDIS", &context.redis.url())
}

/// A worker of the project, which finds Redis in its settings.
fn worker(context: &Context, args: &[&str]) -> Worker {
    let worker = unready_worker(context, args);
    worker.wait_for("  ready ");
    worker
}

fn unready_worker(context: &Context, args: &[&str]) -> Worker {
    let mut command = context.freshq();
    command.args(["worker", "--django", "site_of_test.settings"]).args(args);
    Worker::start(command)
}

#[test]
fn a_job_uses_the_models_of_its_project() {
    let context = project();
    let worker = worker(&context, &["high", "default"]);
    assert_eq!(context.eval("end(begin('shop.tasks.add', 'tea'))"), json!(["finished", 1]));
    let label = "end(begin('shop.tasks.label', 1, queue_name='high'))";
    assert_eq!(context.eval(label), json!(["finished", "old tea"]));
    let names = "__import__('shop.models').models.Item.objects.get(pk=1).name";
    assert_eq!(context.eval(names), "tea");
    worker.stop();
}

#[test]
fn redis_is_found_however_the_settings_name_it() {
    let context = project();
    let url = context.redis.url();
    let server = url.trim_end_matches("/0");
    let socket = context.redis.socket().display();
    for place in [
        format!("'HOST': '127.0.0.1', 'PORT': {}, 'DB': 3", context.redis.port()),
        format!("'UNIX_SOCKET_PATH': '{socket}', 'DB': 4"),
        format!("'URL': '{server}', 'DB': 5"),
    ] {
        let written = settings(&context) + &format!("RQ_QUEUES = {{'default': {{{place}}}}}\n");
        context.write("site_of_test/settings.py", &written);
        let db = place.rsplit(' ').next().unwrap();
        let elsewhere = format!("Redis.from_url('{server}/{db}')");
        let id =
            context.eval(&format!("Queue(connection={elsewhere}).enqueue('shop.tasks.place').id"));
        let (status, output) = unready_worker(&context, &["--burst"]).end();
        assert_eq!(status.code(), Some(0), "{output}");
        let value = format!("Job.fetch({id}, connection={elsewhere}).return_value()");
        assert_eq!(context.eval(&value), db.parse::<u32>().unwrap(), "{output}");
    }
}

#[test]
fn settings_that_cannot_be_honoured_are_refused() {
    let context = project();
    let check = |queues: &[&str], expected: &str| {
        let (status, output) = unready_worker(&context, queues).end();
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(output.contains(expected), "{output}");
    };
    check(&["default", "low"], "RQ_QUEUES has no queue 'low'");
    let elsewhere = "RQ_QUEUES['high'] = {'HOST': '127.0.0.1', 'PORT': 1}\n";
    context.write("site_of_test/settings.py", &(settings(&context) + elsewhere));
    check(&["default", "high"], "the queues of one worker have to be in the same Redis");
    let class = "RQ = {'WORKER_CLASS': 'shop.workers.Mine'}\n";
    context.write("site_of_test/settings.py", &(settings(&context) + class));
    check(&[], "--worker-class shop.workers.Mine: ValueError: Invalid");
    context.write("site_of_test/settings.py", "import nowhere\n");
    check(&[], "the Django settings site_of_test.settings cannot be read: ModuleNotFoundError");
}

#[test]
fn classes_and_handlers_of_the_settings_are_used() {
    let context = project();
    let more =
        "RQ_EXCEPTION_HANDLERS = ['shop.hooks.handler']\nRQ = {'JOB_CLASS': 'shop.hooks.Job'}\n";
    context.write("site_of_test/settings.py", &(settings(&context) + more));
    let hooks = "from rq.job import Job as RqJob\nfrom .models import Item\n\nclass Job(RqJob):\n    pass\n\n\
                 def handler(job, *exc_info):\n    Item.objects.create(name=f'{type(job).__module__} {exc_info[1]}')\n";
    context.write("shop/hooks.py", hooks);
    let worker = worker(&context, &[]);
    assert_eq!(
        context.eval("end(begin('shop.tasks.boom'))"),
        json!(["failed", "ValueError: boom"])
    );
    let names = "[item.name for item in __import__('shop.models').models.Item.objects.all()]";
    assert_eq!(context.eval(names), json!(["shop.hooks boom"]));
    worker.stop();
}

#[test]
fn the_worker_class_of_the_settings_is_used_unless_an_option_names_another() {
    let context = project();
    let workers = "from rq import Worker\nfrom .models import Item\n\nclass Mine(Worker):\n    \
                   def perform_job(self, job, *args):\n        Item.objects.create(name=self.name)\n        \
                   return super().perform_job(job, *args)\n";
    context.write("shop/workers.py", workers);
    let jobs = "import os\nfrom .models import Item\n\ndef names():\n    \
                return [item.name for item in Item.objects.all()]\n\ndef pid():\n    return os.getpid()\n";
    context.write("shop/jobs.py", jobs);
    let set = |class: &str| {
        let line = format!("RQ = {{'WORKER_CLASS': {class}}}\n");
        context.write("site_of_test/settings.py", &(settings(&context) + &line));
    };
    set("'shop.workers.Mine'");
    let mine = worker(&context, &["-n", "mine"]);
    assert_eq!(context.eval("end(begin('shop.jobs.names'))"), json!(["finished", ["mine"]]));
    mine.stop();
    let rqs = worker(&context, &["-n", "another", "-w", "rq.Worker"]);
    assert_eq!(context.eval("end(begin('shop.jobs.names'))"), json!(["finished", ["mine"]]));
    rqs.stop();
    // A class that is there itself; this one's jobs share a process.
    set("__import__('rq').SimpleWorker");
    let simple = worker(&context, &["--import", "shop.jobs"]);
    let shared = "end(begin('shop.jobs.pid')) == end(begin('shop.jobs.pid'))";
    assert_eq!(context.eval(shared), json!(true));
    simple.stop();
    set("'rq.worker.RoundRobinWorker'");
    let ids =
        context.eval("[begin('shop.jobs.pid', queue_name=q) for q in ('high', 'high', 'default')]");
    let (status, output) = unready_worker(&context, &["high", "default", "--burst"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    let order = format!("sorted({ids}, key=lambda id: job(id).started_at)");
    let turns = json!([ids[0], ids[2], ids[1]]);
    assert_eq!(context.eval(&order), turns, "{output}");
}

#[test]
fn the_serializer_of_a_queue_is_used() {
    let context = project();
    let more = "RQ_QUEUES['high']['SERIALIZER'] = 'rq.serializers.JSONSerializer'\n";
    context.write("site_of_test/settings.py", &(settings(&context) + more));
    // The client has the settings from before, so it is told.
    let json = "serializer='rq.serializers.JSONSerializer'";
    let enqueue = format!("Queue('high', connection=r, {json}).enqueue('shop.tasks.greeting').id");
    let id = context.eval(&enqueue);
    let (status, output) = unready_worker(&context, &["high", "--burst"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    let value = format!("Job.fetch({id}, connection=r, {json}).return_value()");
    assert_eq!(context.eval(&value), "hello", "{output}");
}

#[test]
fn the_command_of_the_guide_works() {
    let context = project();
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/django.md");
    let guide = fs_err::read_to_string(guide).unwrap();
    let code = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    for folder in ["shop/management", "shop/management/commands"] {
        context.write(&format!("{folder}/__init__.py"), "");
    }
    context.write("shop/management/commands/freshq.py", code.unwrap());
    let manage = "import sys\nfrom django.core.management import execute_from_command_line\n\
                  execute_from_command_line(sys.argv)\n";
    context.write("manage.py", manage);
    let job = context.eval("begin('shop.tasks.add', 'tea')");
    let freshq = context.freshq();
    let beside = std::path::Path::new(freshq.get_program()).parent().unwrap().to_owned();
    let mut command = std::process::Command::new(embedded::testing::neighbours());
    command.envs(freshq.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .args(["manage.py", "freshq", "--burst", "default"])
        .env("PATH", std::env::join_paths([beside, "/usr/bin".into(), "/bin".into()]).unwrap())
        .env("DJANGO_SETTINGS_MODULE", "site_of_test.settings")
        .env_remove("RQ_REDIS_URL")
        .env_remove("REDIS_URL")
        .current_dir(context.project.path());
    let (status, output) = Worker::start(command).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval(&format!("end({job})")), json!(["finished", 1]), "{output}");
}

#[test]
fn a_connection_that_setting_up_opened_is_not_shared() {
    let context = project();
    let worker = worker(&context, &[]);
    for _ in 0..3 {
        let inherited = context.eval("end(begin('shop.tasks.inherited'))");
        assert_eq!(inherited, json!(["finished", [false, []]]));
    }
    worker.stop();
}

#[test]
fn models_and_settings_are_reloaded_also_with_django_in_the_base() {
    let context = project();
    // The first run learns what Django imports, and the second one begins with it.
    for (name, old) in [("tea", "old tea"), ("rum", "v0 rum")] {
        let worker = worker(&context, &["--reload"]);
        let pk = context.eval(&format!("end(begin('shop.tasks.add', '{name}'))"))[1].clone();
        let label = format!("end(begin('shop.tasks.label', {pk}))");
        assert_eq!(context.eval(&label), json!(["finished", old]), "{}", worker.output());
        for n in (0..3).rev() {
            context.replace("shop/models.py", &MODELS.replace("old ", &format!("v{n} ")));
            assert_eq!(context.eval(&label), json!(["finished", format!("v{n} {name}")]));
            let greeting = format!("hello {n}");
            let changed = settings(&context).replace("hello", &greeting);
            context.replace("site_of_test/settings.py", &changed);
            let end = context.eval("end(begin('shop.tasks.greeting'))");
            assert_eq!(end, json!(["finished", greeting]));
        }
        worker.stop();
    }
    let learned = std::process::Command::new("grep")
        .args(["-rq", "django.db.models", "--include=learned.json"])
        .arg(context.cache())
        .status();
    assert!(learned.unwrap().success(), "the base never had Django");
}

#[test]
fn a_package_that_needs_settings_is_whole_although_the_base_could_not_import_it() {
    let context = project();
    context.write("shop/part.py", "import django_rq.jobs\n\ndef name():\n    return django_rq.jobs.get_job_class().__name__\n");
    let run = |context: &Context| {
        let worker = worker(context, &["--verbose"]);
        assert_eq!(context.eval("end(begin('shop.part.name'))"), json!(["finished", "Job"]));
        worker.stop()
    };
    run(&context);
    let output = run(&context);
    assert!(output.contains("not in the base: django_rq"), "{output}");
}

#[test]
fn broken_settings_are_broken_code() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    assert_eq!(context.eval("end(begin('shop.tasks.greeting'))"), json!(["finished", "hello"]));
    context.replace("site_of_test/settings.py", "GREETING = missing\n");
    worker.wait_for("NameError: name 'missing' is not defined");
    assert_eq!(context.eval("end(begin('shop.tasks.greeting'))"), json!(["finished", "hello"]));
    context.replace("site_of_test/settings.py", &settings(&context).replace("hello", "again"));
    assert_eq!(context.eval("end(begin('shop.tasks.greeting'))"), json!(["finished", "again"]));
    worker.stop();
}

#[test]
fn a_job_that_sets_up_django_itself_finds_the_settings() {
    let context = project();
    let setup = "import django\ndjango.setup()\nfrom .tasks import *\n";
    context.write("shop/alone.py", setup);
    let mut command = context.freshq();
    command.args(["worker", "--url", &context.redis.url()]);
    command.env("DJANGO_SETTINGS_MODULE", "site_of_test.settings");
    let worker = Worker::start(command);
    for _ in 0..2 {
        let inherited = context.eval("end(begin('shop.alone.inherited'))");
        // The first job is the first to import it; the others find it imported.
        assert_eq!(inherited[0], "finished");
    }
    worker.wait_for("generation 2");
    let inherited = context.eval("end(begin('shop.alone.inherited'))");
    assert_eq!(inherited, json!(["finished", [false, []]]));
    worker.stop();
}

#[test]
fn the_pages_of_django_rq_show_the_workers() {
    let context = project();
    let worker = worker(&context, &["--name", "box", "default"]);
    assert_eq!(context.eval("end(begin('shop.tasks.add', 'tea'))")[0], "finished");
    assert_eq!(context.eval("end(begin('shop.tasks.boom'))")[0], "failed");
    let waits = format!("begin('shop.tasks.wait_for', '{}')", context.path("gate").display());
    let id = context.eval(&waits).as_str().unwrap().to_owned();
    context.wait_until(&format!("status('{id}') == 'started'"));
    let shown = context.eval("site('/rq/stats.json')")["queues"][0].clone();
    for (name, count) in [("jobs", 0), ("workers", 1), ("started_jobs", 1), ("failed_jobs", 1)] {
        assert_eq!(shown[name], count, "{name}: {shown}");
    }
    assert_eq!(shown["finished_jobs"], 1);
    let page = |path: &str| context.eval(&format!("site('{path}')")).as_str().unwrap().to_owned();
    let workers = page("/admin/django_rq/dashboard/workers/0/");
    assert!(workers.contains("box") && workers.contains("busy"), "{workers}");
    let details = page("/admin/django_rq/dashboard/workers/0/rq:worker:box/");
    for text in [id.as_str(), "busy", &worker.pid().to_string()] {
        assert!(details.contains(text), "{text}: {details}");
    }
    for path in ["", "queues/0/", "queues/0/finished/", "queues/0/failed/", "queues/0/started/"] {
        page(&format!("/admin/django_rq/dashboard/{path}"));
    }
    let job = page(&format!("/admin/django_rq/dashboard/queues/0/{id}/"));
    assert!(job.contains("shop.tasks.wait_for"), "{job}");
    let metrics = page("/rq/metrics");
    for line in [
        r#"rq_workers{name="box",queues="default",state="busy"} 1.0"#,
        r#"rq_job_successful_total{name="box",queues="default"} 1.0"#,
        r#"rq_job_failed_total{name="box",queues="default"} 1.0"#,
        r#"rq_jobs{queue="default",status="started"} 1.0"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    context.write("gate", "");
    worker.stop();
}

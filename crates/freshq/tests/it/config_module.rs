//! The configuration module, RQ's settings in the environment, and which of all goes first.

use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = "
import logging
from rq import get_current_job

def reach():
    connection = get_current_job().connection
    connection.set('reached', 'yes')
    return [connection.connection_pool.connection_kwargs['db'], type(connection).__name__]

def log(text):
    logging.getLogger('app').warning(text)
";

fn ends(context: &Context, args: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = context.freshq();
    command.arg("worker").arg("--burst").args(args).envs(environment.iter().copied());
    let (status, output) = Worker::start(command).end();
    assert_eq!(status.code(), Some(0), "{output}");
    output
}

#[test]
fn it_names_redis_queues_and_worker_and_the_command_line_goes_first() {
    let context = Context::new();
    let url = context.redis.url();
    context.write("tasks.py", TASKS);
    context.write(
        "conf.py",
        &format!("print('not for you')\nREDIS_URL = {url:?}\nQUEUES = ['low', 'high']\nNAME = 'configured'\n"),
    );
    let low = context.eval("enqueue('tasks.reach', queue_name='low')");
    let output = ends(&context, &["-c", "conf"], &[("REDIS_URL", "redis://127.0.0.1:1")]);
    assert!(output.contains("configuration module conf"), "{output}");
    assert!(output.contains("low") && output.contains("configured"), "{output}");
    assert_eq!(context.eval(&format!("end({low})")), json!(["finished", [0, "Redis"]]));

    let other = context.eval("enqueue('tasks.reach', queue_name='other')");
    let low = context.eval("enqueue('tasks.reach', queue_name='low')");
    let output = ends(&context, &["-n", "typed", "other"], &[("RQ_CONFIG", "conf")]);
    assert!(output.contains("typed") && !output.contains("configured"), "{output}");
    assert_eq!(context.eval(&format!("end({other})"))[0], json!("finished"));
    assert_eq!(context.eval(&format!("status({low})")), json!("queued"));

    // A URL goes before the module, wherever it stands.
    context.write("conf.py", "REDIS_URL = 'redis://127.0.0.1:1'\nQUEUES = 'low'\n");
    ends(&context, &["-c", "conf", "-u", &url], &[]);
    assert_eq!(context.eval(&format!("end({low})"))[0], json!("finished"));
    let low = context.eval("enqueue('tasks.reach', queue_name='low')");
    ends(&context, &["-c", "conf"], &[("RQ_REDIS_URL", &url)]);
    assert_eq!(context.eval(&format!("end({low})"))[0], json!("finished"));
}

#[test]
fn single_settings_reach_the_worker_and_its_jobs() {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    let port = context.redis.port().to_string();
    let in_db =
        "Queue('q', connection=Redis(port=r.connection_pool.connection_kwargs['port'], db=3))";
    let environment =
        [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", port.as_str()), ("REDIS_DB", "3")];

    let id = context.eval(&format!("{in_db}.enqueue('tasks.reach').id"));
    ends(&context, &["q"], &environment);
    assert_eq!(
        context.eval(&format!("{in_db}.fetch_job({id}).return_value()")),
        json!(["3", "Redis"])
    );

    context.write(
        "conf.py",
        &format!("REDIS_HOST = '127.0.0.1'\nREDIS_PORT = {port}\nREDIS_DB = 3\n"),
    );
    let id = context.eval(&format!("{in_db}.enqueue('tasks.reach').id"));
    ends(&context, &["-c", "conf", "q"], &[]);
    assert_eq!(
        context.eval(&format!("{in_db}.fetch_job({id}).return_value()")),
        json!([3, "Redis"])
    );
    assert_eq!(context.eval(&format!("text({in_db}.connection.get('reached'))")), json!("yes"));
}

#[test]
fn its_logging_is_set_up_where_jobs_run_and_follows_the_code() {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    // A class of the user's, as such settings have.
    context.write("handlers.py", "import logging\nclass ToFile(logging.FileHandler):\n    pass\n");
    let conf = |format: &str| {
        format!(
            "DICT_CONFIG = {{'version': 1, 'formatters': {{'f': {{'format': {format:?}}}}},
                'handlers': {{'h': {{'class': 'handlers.ToFile', 'filename': 'jobs.log', 'formatter': 'f'}}}},
                'root': {{'handlers': ['h'], 'level': 'INFO'}}}}\n"
        )
    };
    context.write("conf.py", &conf("[%(name)s] %(message)s"));
    let worker = context.worker(&["--reload", "-c", "conf"]);
    assert_eq!(context.eval("run('tasks.log', 'hello')")[0], json!("finished"));
    let log = || fs_err::read_to_string(context.path("jobs.log")).unwrap();
    assert!(log().contains("[app] hello"), "{}", log());
    context.write("conf.py", &conf("<%(message)s>"));
    assert_eq!(context.eval("run('tasks.log', 'again')")[0], json!("finished"));
    assert!(log().contains("<again>"), "{}", log());
    worker.stop();
}

#[test]
fn a_module_of_no_use_is_said_in_one_message() {
    let context = Context::new();
    let url = context.redis.url();
    context.write("broken.py", "import nowhere\n");
    context.write("unfinished.py", "A = 1\nB = (\n");
    context.write("odd.py", "QUEUES = 7\n");
    context.write("wrong.py", "REDIS_HOST = 'h'\nREDIS_PORT = 'many'\n");
    context.write("unclear.py", "REDIS_SSL = 'perhaps'\n");
    context.write("silent.py", "raise SystemExit(3)\n");
    context.write("logging_.py", "DICT_CONFIG = {'version': 2}\n");
    for (args, text) in [
        (
            vec!["-c", "missing"],
            "missing cannot be read: ModuleNotFoundError: No module named 'missing'",
        ),
        (vec!["-c", "broken"], "No module named 'nowhere' ("),
        (vec!["-c", "broken"], "broken.py:1)"),
        (vec!["-c", "unfinished"], "unfinished.py:2)"),
        (vec!["-c", "silent"], "silent cannot be read: Python ended"),
        (vec!["-c", "odd"], "QUEUES in the configuration module has to be a list of names"),
        (vec!["-c", "wrong"], "the setting REDIS_PORT: the port is no number"),
        (vec!["-c", "unclear"], "the setting REDIS_SSL"),
        (
            vec!["-u", &url, "-c", "logging_"],
            "--config logging_: ValueError: Unsupported version: 2",
        ),
    ] {
        let mut command = context.freshq();
        command.arg("worker").args(&args);
        let (status, output) = Worker::start(command).end();
        assert_eq!(status.code(), Some(1), "{args:?}\n{output}");
        assert!(output.contains(text), "{args:?}: `{text}` is missing\n{output}");
        assert_eq!(output.matches("error:").count(), 1, "{args:?}\n{output}");
    }
}

//! Options in `pyproject.toml`: they count, after the command line and the environment; what is wrong is
//! said with the key.

use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = "def one():\n    return 1\n";

fn ends(context: &Context, args: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = context.freshq();
    command.arg("worker").args(args).envs(environment.iter().copied());
    let (status, output) = Worker::start(command).end();
    assert_eq!(status.code(), Some(0), "{output}");
    output
}

#[test]
fn its_options_count_after_the_command_line_and_the_environment() {
    let context = Context::new();
    let url = context.redis.url();
    context.write("tasks.py", TASKS);
    context.write(
        "pyproject.toml",
        &format!(
            "[tool.freshq]\nurl = {url:?}\nqueues = ['filed', 'also']\nburst = true\nname = 'filed'\n\
             num-workers = 2\nreload = true\non-broken = 'hold'\nimport = ['tasks']\n"
        ),
    );
    let id = context.eval("enqueue('tasks.one', queue_name='filed')");
    let output = ends(&context, &[], &[]);
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", 1]));
    for text in
        ["pyproject.toml", "2 workers", "filed, also", "on ", "jobs wait until it is mended"]
    {
        assert!(output.contains(text), "`{text}` is missing\n{output}");
    }

    assert_eq!(context.eval(&format!("job({id}).worker_name[:6]")), json!("filed-"));

    let output =
        ends(&context, &["--no-reload", "--name", "typed"], &[("FRESHQ_NUM_WORKERS", "3")]);
    for text in ["3 workers", "--no-reload"] {
        assert!(output.contains(text), "`{text}` is missing\n{output}");
    }
    let output = ends(&context, &[], &[("FRESHQ_RELOAD", "0"), ("FRESHQ_ON_BROKEN", "keep")]);
    assert!(output.contains("FRESHQ_RELOAD"), "{output}");

    // What is in the environment is meant for this run: it goes first.
    context.write("pyproject.toml", "[tool.freshq]\nurl = 'redis://127.0.0.1:1'\nburst = true\n");
    let id = context.eval("enqueue('tasks.one')");
    let output = ends(&context, &[], &[("REDIS_URL", &url)]);
    assert!(output.contains("REDIS_URL"), "{output}");
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", 1]));
}

#[test]
fn what_is_wrong_is_said_with_file_and_key() {
    let context = Context::new();
    for (content, text) in [
        (
            "[tool.freshq]\nreloda = true\n",
            "pyproject.toml, [tool.freshq] reloda: there is no such option; there are ",
        ),
        ("[tool.freshq]\nno-reload = true\n", "no-reload: there is no such option"),
        ("[tool.freshq]\nreload = 'yes'\n", "reload: it has to be true or false, not string"),
        ("[tool.freshq]\nqueues = 'high'\n", "queues: it has to be a list of texts, not string"),
        ("[tool.freshq]\nwatch = [1.5, {}]\n", "watch: it has to be a list of texts, not array"),
        (
            "[tool.freshq]\nnum-workers = 0\n",
            "num-workers: invalid value '0' for '--num-workers <N>': 0 is not in 1..=256",
        ),
        ("[tool.freshq]\non-broken = 'explode'\n", "[possible values: keep, hold]"),
        ("[tool.freshq]\nname = ['a']\n", "name: it has to be a text or a number, not array"),
        ("[tool.freshq\n", "pyproject.toml: TOML parse error"),
        ("[tool]\nfreshq = 1\n", "tool.freshq is no table"),
    ] {
        context.write("pyproject.toml", content);
        let mut command = context.freshq();
        command.arg("worker");
        let (status, output) = Worker::start(command).end();
        assert_eq!(status.code(), Some(2), "{content}\n{output}");
        assert!(output.contains(text), "{content}: `{text}` is missing\n{output}");
    }
}

#[test]
fn a_file_that_is_not_about_us_does_not_matter() {
    let context = Context::new();
    for content in ["[tool.other]\nx = 1\n", "half [a\n", ""] {
        context.write("pyproject.toml", content);
        let output = ends(&context, &["--burst", "-u", &context.redis.url()], &[]);
        assert!(output.contains("ready"), "{output}");
    }
}

//! What people use beside RQ, as it is: `rq info`, rq-dashboard, rq-scheduler.

use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import os, time
from rq import get_current_job

def ok(x):
    return x

def boom(mended):
    if not os.path.exists(mended):
        raise ValueError("boom")

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.002)

def count():
    get_current_job().connection.incr("counted")
"#;

fn project() -> Context {
    let context = Context::with_neighbours("neighbours_client.py");
    context.write("app/__init__.py", "");
    context.write("app/tasks.py", TASKS);
    context
}

/// Two workers in one process: one runs the job that is returned, the other has done two.
fn busy(context: &Context) -> (Worker, String) {
    let worker = context.worker(&["--num-workers", "2", "--name", "box", "high", "default"]);
    let waits = format!("enqueue('app.tasks.wait_for', '{}')", context.path("gate").display());
    let id = context.eval(&waits).as_str().expect("an id").to_owned();
    context.wait_until(&format!("status('{id}') == 'started'"));
    assert_eq!(context.eval("run('app.tasks.ok', 1)"), json!(["finished", 1]));
    let fails = format!("run('app.tasks.boom', '{}')", context.path("mended").display());
    assert_eq!(context.eval(&fails), json!(["failed", "ValueError: boom"]));
    let states = "sorted(w.get_state() for w in Worker.all(connection=r)) == ['busy', 'idle']";
    context.wait_until(states);
    (worker, id)
}

#[test]
fn rq_dashboard_shows_workers_that_are_idle_and_busy() {
    let context = project();
    let (worker, id) = busy(&context);
    let shown = context.eval("workers()");
    let (one, two) = (&shown[0], &shown[1]);
    assert_eq!((&one["name"], &two["name"]), (&json!("box-1"), &json!("box-2")));
    for worker_shown in [one, two] {
        assert_eq!(worker_shown["queues"], json!(["high", "default"]));
        assert_eq!(worker_shown["pid"], worker.pid());
        assert_eq!(worker_shown["version"], context.eval("__import__('rq').VERSION"));
        assert_eq!(worker_shown["python_version"], context.eval("sys.version"));
        assert!(worker_shown["birth_date"].as_str().unwrap().ends_with("GMT"), "{worker_shown}");
        assert!(worker_shown["last_heartbeat"].as_str().unwrap().ends_with("GMT"));
    }
    let (busy, idle) = if one["state"] == "busy" { (one, two) } else { (two, one) };
    assert_eq!(busy["current_job"]["job_id"], id);
    let call = busy["current_job"]["call_string"].as_str().unwrap();
    assert!(call.starts_with("app.tasks.wait_for("), "{call}");
    assert_eq!((&idle["state"], &idle["current_job"]), (&json!("idle"), &json!("idle")));
    assert_eq!(idle["successful_job_count"], 1);
    assert_eq!(idle["failed_job_count"], 1);
    assert!(0.0 < idle["total_working_time"].as_f64().unwrap(), "{idle}");
    let page = context.eval("dashboard('/0/view/workers')");
    assert!(page.as_str().unwrap().contains("Workers"));
    context.write("gate", "");
    context.wait_until("[w['current_job'] for w in workers()] == ['idle', 'idle']");
    worker.stop();
    assert_eq!(context.eval("workers()"), json!([]));
}

#[test]
fn rq_dashboard_shows_queues_and_jobs_and_its_buttons_work() {
    let context = project();
    let (worker, id) = busy(&context);
    let later =
        "queue().enqueue_in(__import__('datetime').timedelta(hours=1), 'app.tasks.ok', 2).id";
    let scheduled = context.eval(later);
    // queued, started, failed, deferred, finished, canceled, scheduled
    assert_eq!(context.eval("counts()"), json!([0, 1, 1, 0, 1, 0, 1]));
    let of = |registry: &str| {
        let jobs = format!("dashboard('/0/data/jobs/default/{registry}/8/asc/1.json')['jobs']");
        context.eval(&jobs)[0].clone()
    };
    assert_eq!(of("started")["id"], id);
    assert_eq!(of("scheduled")["id"], scheduled);
    let failed = of("failed");
    assert!(failed["exc_info"].as_str().unwrap().contains("ValueError: boom"), "{failed}");
    let of_job = |id: &serde_json::Value| {
        context.eval(&format!("dashboard('/0/data/job/' + {id} + '.json')"))
    };
    let finished = of_job(&of("finished")["id"]);
    assert_eq!((&finished["status"], &finished["result"]), (&json!("finished"), &json!(1)));
    for time in ["created_at", "enqueued_at", "started_at", "ended_at"] {
        assert!(finished[time].is_string(), "{time}: {finished}");
    }
    let again = &failed["id"];
    context.write("mended", "");
    assert_eq!(context.eval(&format!("press('/job/' + {again} + '/requeue')"))["status"], "OK");
    assert_eq!(context.eval(&format!("end({again})")), json!(["finished", null]));
    context.write("gate", "");
    worker.stop();
}

#[test]
fn rq_info_shows_workers_and_counts() {
    let context = project();
    let (worker, _) = busy(&context);
    let text = context.eval("info('--raw')");
    let text = text.as_str().unwrap();
    assert!(text.contains("queue default 0, 1 executing, 1 finished, 1 failed"), "{text}");
    let host = context.eval("__import__('socket').gethostname()");
    let shown: Vec<&str> = text.lines().filter(|line| line.starts_with("worker box-")).collect();
    assert_eq!(shown.len(), 2, "{text}");
    for line in &shown {
        let place = format!("({} 127.0.0.1:", host.as_str().unwrap());
        assert!(line.contains(&place) && line.contains(&format!(" {})", worker.pid())), "{line}");
    }
    let idle = shown.iter().find(|line| line.contains(") idle high, default.")).expect(text);
    assert!(idle.ends_with("jobs: 1 finished, 1 failed"), "{idle}");
    assert!(shown.iter().any(|line| line.contains(") busy high, default.")), "{text}");
    let by_queue = context.eval("info('--by-queue')");
    assert!(by_queue.as_str().unwrap().contains("2 workers, "), "{by_queue}");
    context.write("gate", "");
    worker.stop();
    let text = context.eval("info('--raw')");
    assert!(!text.as_str().unwrap().contains("worker box"), "{text}");
}

#[test]
fn a_periodic_job_of_rq_scheduler_runs_again_and_again() {
    let context = project();
    let worker = context.worker(&["--with-scheduler"]);
    let mut command = std::process::Command::new(embedded::testing::neighbours());
    let script = "from rq_scheduler.scripts.rqscheduler import main; main()";
    command.args(["-c", script, "--url", &context.redis.url(), "--interval", "0.1"]);
    let scheduler = Worker::start(command);
    context.eval(
        "Scheduler(connection=r).schedule(__import__('datetime').datetime.utcnow(), 'app.tasks.count',\
         interval=1, id='periodic').id",
    );
    context.wait_until("int(r.get('counted') or 0) >= 3");
    context.wait_until("status('periodic') == 'finished'");
    assert_eq!(context.eval("text(r.hget('rq:job:periodic', 'result_ttl'))"), "-1");
    assert_eq!(context.eval("r.ttl('rq:job:periodic')"), -1);
    let planned = "[text(job) for job in r.zrange('rq:scheduler:scheduled_jobs', 0, -1)]";
    assert_eq!(context.eval(planned), json!(["periodic"]));
    worker.stop();
    assert_eq!(context.eval(planned), json!(["periodic"]));
    assert_eq!(context.eval("text(r.type('rq:scheduler:scheduled_jobs'))"), "zset");
    scheduler.signal(rustix::process::Signal::TERM);
    scheduler.end();
}

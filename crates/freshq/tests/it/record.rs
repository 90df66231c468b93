//! Which code ran this job? Its record tells: the generation, and a hash over the files of that.

use std::process::Command;

use embedded::testing;
use serde_json::{Value, json};

use crate::context::{Context, Worker};
use crate::versioned::project;

fn worker(context: &Context, args: &[&str]) -> Worker {
    context.worker(&[&["--import", "app.tasks"], args].concat())
}

/// Generation and code hash of a job, as its record has them.
fn record(context: &Context, job: &Value) -> (String, String) {
    let fields = context.eval(&format!(
        "[text(value) for value in r.hmget('rq:job:' + {job}, 'generation', 'code_hash')]"
    ));
    let text = |index: usize| fields[index].as_str().unwrap_or_default().to_owned();
    (text(0), text(1))
}

/// Runs a job to its end; what its record says.
fn run(context: &Context, expected: &str) -> (String, String) {
    let job = context.eval("enqueue('app.tasks.version')");
    assert_eq!(context.eval(&format!("end({job})")), json!(["finished", expected]));
    record(context, &job)
}

#[test]
fn a_record_names_the_code_that_ran_the_job_as_the_log_does() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    let first = run(&context, "v0");
    assert_eq!(first.0, "1");
    assert_eq!(first.1.len(), 12, "{first:?}");
    worker.wait_for(&format!("code {}", first.1));
    context.replace("app/version.py", "VERSION = 'v1'\n");
    let second = run(&context, "v1");
    assert_eq!(second.0, "2");
    assert_ne!(first.1, second.1);
    worker.wait_for(&format!("code {}", second.1));
    // The same files have the same hash.
    context.replace("app/version.py", "VERSION = 'v0'\n");
    assert_eq!(run(&context, "v0"), ("3".to_owned(), first.1));
    worker.stop();
}

#[test]
fn a_job_that_runs_shows_its_code_and_keeps_it() {
    let context = project();
    let worker = worker(&context, &["--reload", "--num-workers", "2"]);
    let gate = context.path("gate");
    let job = context.eval(&format!("enqueue('app.tasks.wait_for', '{}')", gate.display()));
    worker.wait_for("  job ");
    let running = record(&context, &job);
    assert_eq!(running.0, "1");
    context.replace("app/version.py", "VERSION = 'v1'\n");
    let other = run(&context, "v1");
    assert_ne!(running.1, other.1);
    fs_err::write(gate, "").unwrap();
    assert_eq!(context.eval(&format!("end({job})")), json!(["finished", "v0"]));
    assert_eq!(record(&context, &job), running);
    worker.stop();
}

#[test]
fn under_broken_code_a_record_names_the_good_code_that_served_on() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    let good = run(&context, "v0");
    context.write("app/version.py", "VERSION = (\n");
    worker.wait_for("generation 1 serves on");
    assert_eq!(run(&context, "v0"), good);
    worker.stop();
}

#[test]
fn without_reloading_a_record_names_the_code_too() {
    for isolation in ["fork", "reuse", "spawn"] {
        let context = project();
        let worker = worker(&context, &["--isolation", isolation]);
        let (generation, hash) = run(&context, "v0");
        assert_eq!((generation.as_str(), hash.len()), ("1", 12), "{isolation}");
        worker.stop();
    }
}

#[test]
fn a_job_that_was_put_back_names_no_code() {
    let context = project();
    let worker = worker(&context, &["--reload", "--on-broken", "hold"]);
    let gate = context.path("gate");
    let broken = format!(
        "import os, time\nwhile not os.path.exists('{}'):\n    time.sleep(0.002)\n1 / 0\n",
        gate.display()
    );
    context.write("app/version.py", &broken);
    worker.wait_for("  changed ");
    let job = context.eval("enqueue('app.tasks.version')");
    // Taken, and waiting for the new code.
    context.wait_until(&format!("status({job}) == 'started'"));
    assert_eq!(record(&context, &job).0, "1");
    fs_err::write(gate, "").unwrap();
    worker.wait_for("jobs wait until it is mended");
    context.wait_until(&format!("[status({job}), queue().count] == ['queued', 1]"));
    assert_eq!(record(&context, &job), (String::new(), String::new()));
    worker.stop();
}

#[test]
fn the_oldest_client_reads_writes_and_requeues_such_a_job() {
    let context = project();
    context.write("app/version.py", "VERSION = 1 / 0\n");
    let worker = context.worker(&[]);
    let job = context.eval("enqueue('app.tasks.version')");
    context.wait_until(&format!("status({job}) == 'failed'"));
    assert_eq!(record(&context, &job).0, "1");
    let script = format!(
        "import sys\nfrom redis import Redis\nfrom rq.job import Job\n\
         job = Job.fetch({job}, connection=Redis.from_url(sys.argv[1]))\n\
         job.meta['seen'] = 1\njob.save()\n\
         print(job.get_status(refresh=False), job.func_name)\njob.requeue()"
    );
    context.write("app/version.py", "VERSION = 'mended'\n");
    let read = Command::new(testing::oldest_python())
        .args(["-c", &script, &context.redis.url()])
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read = String::from_utf8_lossy(&read.stdout).to_lowercase();
    assert!(read.contains("failed") && read.contains("app.tasks.version"), "{read}");
    context.wait_until(&format!("status({job}) == 'finished'"));
    assert_eq!(context.eval(&format!("job({job}).meta")), json!({"seen": 1}));
    worker.stop();
}

#[test]
fn the_first_job_of_a_generation_says_so() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    for n in 1..=2 {
        run(&context, "v0");
        worker.wait_for_times("  done ", n);
    }
    context.replace("app/version.py", "VERSION = 'v1'\n");
    run(&context, "v1");
    let output = worker.stop();
    let firsts: Vec<_> = output.lines().filter(|line| line.contains("its first job, ")).collect();
    assert_eq!(firsts.len(), 2, "{output}");
    assert!(firsts[1].contains("generation 2, its first job"), "{output}");
}

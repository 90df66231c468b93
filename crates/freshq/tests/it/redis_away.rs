//! Redis goes away in every way that it can, while jobs run: nothing is lost, nothing runs twice, and it
//! is said once.

use embedded::testing::{Proxy, Way, replica_of};
use rustix::process::Signal;
use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import os, time

def add(a, b=0):
    return a + b

def wait_for(path):
    open(path + ".begun", "w").close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return "done"

def note(path, text):
    with open(path, "a") as file:
        file.write(text + "\n")
"#;

/// Jobs of the storm, and from where its places come.
const JOBS: u64 = 200;
const SEED: u64 = 0x5eed;

/// A worker that reaches Redis through a network that can be cut.
struct Scene {
    context: Context,
    proxy: Proxy,
}

impl Scene {
    fn new() -> Self {
        let context = Context::new();
        context.write("tasks.py", TASKS);
        let proxy = Proxy::to(context.redis.port());
        Self { context, proxy }
    }

    fn unready_worker(&self, args: &[&str]) -> Worker {
        let mut command = self.context.freshq();
        command.args(["worker", "--url", &self.proxy.url()]).args(args);
        Worker::start(command)
    }

    fn worker(&self, args: &[&str]) -> Worker {
        let worker = self.unready_worker(args);
        worker.wait_for("  ready ");
        worker
    }

    /// Starts a job that runs until it is let go, and has another one wait behind it.
    fn begin(&self) -> Running<'_> {
        let path = self.context.path("go").display().to_string();
        let first = self.context.eval(&format!("enqueue('tasks.wait_for', {path:?})"));
        self.context.wait_until(&format!("pathlib.Path({:?}).exists()", path.clone() + ".begun"));
        let second = self.context.eval("enqueue('tasks.add', 1, 2)");
        Running { scene: self, path, jobs: [first.to_string(), second.to_string()] }
    }
}

/// A job that runs and one that waits behind it.
struct Running<'a> {
    scene: &'a Scene,
    path: String,
    jobs: [String; 2],
}

impl Running<'_> {
    /// The running job may end.
    fn let_go(&self) {
        fs_err::write(&self.path, "").expect("written");
    }

    /// Both jobs have ended, once each, and it was said once that Redis was lost and that it is back.
    fn assert_whole(self, worker: Worker) {
        let context = &self.scene.context;
        let [first, second] = &self.jobs;
        assert_eq!(context.eval(&format!("end({first})")), json!(["finished", "done"]));
        assert_eq!(context.eval(&format!("end({second})")), json!(["finished", 3]));
        let results = format!("[len(job(id).results()) for id in ({first}, {second})]");
        assert_eq!(context.eval(&results), json!([1, 1]));
        assert_eq!(context.eval("[r.zcard('rq:wip:default'), queue().count]"), json!([0, 0]));
        let ended = "[text(v) for v in r.hmget(r.keys('rq:worker:*')[0], \
                     'successful_job_count', 'failed_job_count')]";
        assert_eq!(context.eval(ended), json!(["2", null]));
        worker.wait_for("back after");
        let output = worker.stop();
        for said in ["  lost: ", "  back after "] {
            assert_eq!(output.matches(said).count(), 1, "{said}\n{output}");
        }
        assert!(!output.contains("warning"), "{output}");
    }
}

/// A job ends while Redis refuses what is written; `refuse` and `accept` are expressions.
fn refused(refuse: &str, said: &str, accept: &str) {
    let scene = Scene::new();
    let worker = scene.worker(&[]);
    let running = scene.begin();
    scene.context.eval(refuse);
    running.let_go();
    worker.wait_for(said);
    assert_eq!(scene.context.eval(&format!("status({})", running.jobs[0])), json!("started"));
    scene.context.eval(accept);
    running.assert_whole(worker);
}

#[test]
fn results_are_held_while_redis_is_full() {
    refused(
        "r.config_set('maxmemory', 1)",
        "lost: OOM command not allowed",
        "r.config_set('maxmemory', 0)",
    );
}

#[test]
fn results_are_held_while_redis_may_only_be_read() {
    refused("r.replicaof('127.0.0.1', 1)", "lost: READONLY", "r.replicaof('NO', 'ONE')");
}

#[test]
fn results_are_held_while_redis_has_too_few_replicas() {
    refused(
        "r.config_set('min-replicas-to-write', 1)",
        "lost: NOREPLICAS",
        "r.config_set('min-replicas-to-write', 0)",
    );
}

#[test]
fn results_are_held_while_the_password_is_another() {
    refused(
        "[r.config_set('requirepass', 'x'), r.client_kill_filter(_type='normal', skipme=True)]",
        "lost: ",
        "r.config_set('requirepass', '')",
    );
}

#[test]
fn a_server_without_scripts_takes_over_where_the_last_one_ended() {
    let scene = Scene::new();
    let worker = scene.worker(&[]);
    let running = scene.begin();
    let replica = replica_of(scene.context.redis.port());
    assert_eq!(scene.context.eval("r.wait(1, 10000)"), json!(1), "the replica has it all");
    scene.proxy.close();
    running.let_go();
    worker.wait_for("  lost: ");
    scene.context.eval(&format!("use(Redis(port={}))", replica.port()));
    scene.context.eval("r.replicaof('NO', 'ONE')");
    scene.proxy.lead_to(replica.port());
    scene.proxy.open();
    running.assert_whole(worker);
}

#[test]
fn a_slow_server_is_no_lost_one() {
    let scene = Scene::new();
    let worker = scene.worker(&[]);
    scene.proxy.delay(std::time::Duration::from_millis(300));
    let jobs = scene.context.eval("[enqueue('tasks.add', n) for n in range(5)]");
    let ends = scene.context.eval(&format!("[end(id) for id in {jobs}]"));
    let expected: Vec<_> = (0..5).map(|n| json!(["finished", n])).collect();
    assert_eq!(ends, json!(expected));
    assert!(!worker.stop().contains("lost: "));
}

#[test]
fn a_job_whose_start_was_not_answered_is_put_back_by_a_stop() {
    let scene = Scene::new();
    let worker = scene.worker(&[]);
    scene.context.wait_until("r.info('clients')['blocked_clients'] == 1");
    // The answer to the start has the job's description.
    scene.proxy.close_before(Way::Down, "tasks.add(1)");
    let id = scene.context.eval("enqueue('tasks.add', 1)");
    worker.wait_for("  lost: ");
    assert_eq!(scene.context.eval(&format!("status({id})")), json!("started"));
    worker.signal(Signal::TERM);
    worker.wait_for("stopping");
    scene.proxy.open();
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(scene.context.eval(&format!("status({id})")), json!("queued"));
    assert_eq!(scene.context.eval(&format!("queue().job_ids == [{id}]")), json!(true));
    assert_eq!(scene.context.eval("r.zcard('rq:wip:default')"), json!(0));
}

#[test]
fn a_death_is_noted_although_the_connection_was_cut() {
    let scene = Scene::new();
    let worker = scene.worker(&["--name", "w"]);
    scene.context.wait_until("r.info('clients')['blocked_clients'] == 1");
    scene.proxy.close();
    worker.wait_for("  lost: ");
    scene.proxy.open();
    worker.stop();
    assert_eq!(scene.context.eval("r.hexists('rq:worker:w', 'death')"), json!(true));
    assert_eq!(scene.context.eval("r.smembers('rq:workers') == set()"), json!(true));
}

#[test]
fn a_worker_whose_record_was_flushed_registers_again() {
    let scene = Scene::new();
    let worker = scene.worker(&["--name", "w", "--job-monitoring-interval", "1"]);
    scene.context.eval("r.flushall()");
    worker.wait_for("worker w registered again");
    assert_eq!(scene.context.eval("[w.name for w in Worker.all(r)]"), json!(["w"]));
    assert_eq!(scene.context.eval("run('tasks.add', 1)"), json!(["finished", 1]));
    worker.stop();
}

#[test]
fn a_flush_in_the_middle_of_a_job_costs_no_other_job() {
    let scene = Scene::new();
    let worker = scene.worker(&["--job-monitoring-interval", "1"]);
    let running = scene.begin();
    scene.context.eval("r.flushall()");
    worker.wait_for("registered again");
    running.let_go();
    assert_eq!(scene.context.eval("run('tasks.add', 1)"), json!(["finished", 1]));
    worker.stop();
}

#[test]
fn commands_come_through_again_after_a_cut() {
    let scene = Scene::new();
    let worker = scene.worker(&[]);
    let running = scene.begin();
    scene.proxy.cut();
    // The subscription is made anew.
    scene.context.wait_until(
        "r.pubsub_numpat() + sum(n for _, n in r.pubsub_numsub(*r.pubsub_channels())) == 1",
    );
    let [first, second] = &running.jobs;
    scene.context.eval(&format!("command.send_stop_job_command(r, {first})"));
    assert_eq!(scene.context.eval(&format!("end({second})")), json!(["finished", 3]));
    assert_eq!(scene.context.eval(&format!("status({first})")), json!("stopped"));
    worker.stop();
}

#[test]
fn heartbeats_outlive_a_connection_that_fell_silent() {
    let scene = Scene::new();
    let worker = scene.worker(&["--job-monitoring-interval", "1"]);
    let running = scene.begin();
    scene.proxy.silence();
    worker.wait_for("  lost: ");
    let written = "[r.hget(k, 'last_heartbeat') for k in r.keys('rq:execution:*')]";
    let before = scene.context.eval(written);
    scene.context.wait_until(&format!("{written} != {before}"));
    running.let_go();
    running.assert_whole(worker);
}

/// Numbers that look random, the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn a_storm_of_cuts_loses_nothing_and_runs_nothing_twice() {
    let scene = Scene::new();
    let context = &scene.context;
    let worker = scene.worker(&["--num-workers", "3", "--job-monitoring-interval", "1"]);
    let ran = context.path("ran").display().to_string();
    context.eval(&format!(
        "[enqueue('tasks.note', {ran:?}, f'j{{n}}', job_id=f'j{{n}}') for n in range({JOBS})] and 0"
    ));
    let ended = "FinishedJobRegistry(queue=queue()).count";
    let mut numbers = Numbers(SEED);
    loop {
        let done = context.eval(ended).as_u64().expect("a number");
        if done == JOBS {
            break;
        }
        // A message of a start and an end has some 1500 bytes, its answer 500.
        match numbers.below(4) {
            0 => scene.proxy.cut_after(Way::Up, numbers.below(5000)),
            1 | 2 => scene.proxy.cut_after(Way::Down, numbers.below(2000)),
            _ => scene.proxy.cut(),
        }
        context.wait_until(&format!("{ended} > {done}"));
    }
    let output = worker.stop();
    assert!(output.contains("  lost: "), "{output}");
    let ran = fs_err::read_to_string(&ran).expect("what ran");
    let mut ran: Vec<_> = ran.lines().map(str::to_owned).collect();
    ran.sort();
    let mut expected: Vec<_> = (0..JOBS).map(|n| format!("j{n}")).collect();
    expected.sort();
    assert_eq!(ran, expected, "each ran once");
    let results = format!("{{len(job(f'j{{n}}').results()) for n in range({JOBS})}} == {{1}}");
    assert_eq!(context.eval(&results), json!(true));
    let left = "[queue().count, r.zcard('rq:wip:default'), FailedJobRegistry(queue=queue()).count]";
    assert_eq!(context.eval(left), json!([0, 0, 0]));
    let counted = "sum(int(r.hget(k, 'successful_job_count') or 0) for k in r.keys('rq:worker:*') \
                   if r.type(k) == b'hash')";
    assert_eq!(context.eval(counted), json!(JOBS), "{output}");
}

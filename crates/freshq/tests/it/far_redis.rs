//! Redis behind TLS and behind sentinels: for the worker and for the connections of its jobs.

use embedded::testing::{self, Clients, replica_of, sentinel_of};
use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = "
import os, time
from redis.sentinel import MasterNotFoundError
from rq import get_current_job

def reach():
    job = get_current_job()
    job.meta['here'] = True
    while True:
        try:
            job.save_meta()
            return job.connection.info('server')['tcp_port']
        except MasterNotFoundError:
            # A sentinel doubts a master that is slow to answer; the job's timeout bounds this.
            time.sleep(0.05)

def wait_for(path, begun):
    open(begun, 'w').close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return 'done'

def add(a, b):
    return a + b
";

#[test]
fn jobs_run_through_tls() {
    let context = Context::new();
    let Some(server) = testing::tls_server(Clients::Certified) else { return };
    context.write("tasks.py", TASKS);
    let file = |name: &str| server.file(name).display().to_string();
    let url = format!(
        "rediss://localhost:{}/1?ssl_ca_certs={}&ssl_certfile={}&ssl_keyfile={}",
        server.port(),
        file("ca.crt"),
        file("client.crt"),
        file("client.key")
    );
    context.eval(&format!("use(Redis.from_url({url:?}))"));
    context.write(
        "conf.py",
        &format!(
            "REDIS_HOST = 'localhost'\nREDIS_PORT = {}\nREDIS_DB = 1\nREDIS_SSL = True\n\
             REDIS_SSL_CA_CERTS = {:?}\nREDIS_SSL_CERTFILE = {:?}\nREDIS_SSL_KEYFILE = {:?}\n",
            server.port(),
            file("ca.crt"),
            file("client.crt"),
            file("client.key")
        ),
    );
    for args in [["-u", &url], ["-c", "conf"]] {
        let id = context.eval("enqueue('tasks.reach')");
        let mut command = context.freshq();
        command.args(["worker", "--burst"]).args(args);
        let (status, output) = Worker::start(command).end();
        assert_eq!(status.code(), Some(0), "{output}");
        assert_eq!(context.eval(&format!("end({id})[0]")), json!("finished"));
        assert_eq!(context.eval(&format!("job({id}).meta")), json!({ "here": true }));
    }
}

#[test]
fn no_job_is_lost_when_another_server_becomes_the_master() {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    let master = testing::redis();
    let replica = replica_of(master.port());
    let sentinel = sentinel_of(master.port());
    let instances = format!("[('127.0.0.1', {})]", sentinel.port());
    context.write(
        "conf.py",
        &format!("SENTINEL = {{'INSTANCES': {instances}, 'MASTER_NAME': 'mymaster', 'DB': 1}}\n"),
    );
    context.eval(&format!("use(Sentinel({instances}).master_for('mymaster', db=1))"));
    let mut command = context.freshq();
    command.args(["worker", "-c", "conf", "--num-workers", "2"]);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    assert_eq!(context.eval("run('tasks.reach')"), json!(["finished", master.port()]));

    let (go, begun) = (context.path("go"), context.path("begun"));
    let long = context.eval(&format!("enqueue('tasks.wait_for', {go:?}, {begun:?})"));
    context.wait_until(&format!("pathlib.Path({begun:?}).exists()"));
    let waiting =
        context.eval("[enqueue('tasks.add', n, 1, queue_name='later') for n in range(20)]");
    assert_eq!(context.eval("r.wait(1, 10000)"), json!(1), "the replica has it all");
    drop(master);
    fs_err::write(&go, "").unwrap();
    context.wait_until(&format!("master_port('mymaster', {instances}) == {}", replica.port()));
    assert_eq!(context.eval(&format!("end({long})")), json!(["finished", "done"]));
    assert_eq!(context.eval("run('tasks.reach')"), json!(["finished", replica.port()]));
    assert_eq!(context.eval("queue('later').count"), json!(20));
    let mut command = context.freshq();
    command.args(["worker", "-c", "conf", "--burst", "later"]);
    let (status, output) = Worker::start(command).end();
    assert_eq!(status.code(), Some(0), "{output}");
    let results = context.eval(&format!("[end(id) for id in {waiting}]"));
    let expected: Vec<_> = (0..20).map(|n| json!(["finished", n + 1])).collect();
    assert_eq!(results, json!(expected));
    worker.stop();
}

//! Processes are killed at random moments of a load, and afterwards every job is counted.
//! `cargo xtask crash-test` runs the same for longer, and with RQ's own worker.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use embedded::redis::{Options, RedisServer, find_server};
use embedded::testing;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::context::{Context, PATIENCE, Worker};
use crate::dice::Dice;
use crate::processes::{children, is_gone};

pub(crate) const TASKS: &str = "
import os, time

def note(mark, number):
    with open('ran', 'a') as file:
        file.write(f'{mark}{number}\\n')

def work(number):
    note('+', number)
    time.sleep(number % 7 * 0.004)
    note('-', number)
    return number

def fail(number):
    work(number)
    raise ValueError('as it should')

def fail_once(number):
    from rq import get_current_job
    note('+', number)
    time.sleep(number % 5 * 0.004)
    if get_current_job().retries_left == 3:
        raise ValueError('as it should')
    note('-', number)
";

/// Slots of freshq, or workers of RQ.
const WORKERS: usize = 4;
/// Jobs that may wait before the next ones are enqueued: else they would only wait longer.
const WAITING_MAX: u64 = 400;
/// How long after the last fault everything may take to settle: what RQ's workers lose sight of is noticed
/// by them after a minute or two.
const SETTLED_WITHIN: Duration = Duration::from_mins(5);
/// How long after it was killed the embedded Redis is left alone.
const REDIS_SPARED: Duration = Duration::from_secs(3);
/// In the environment of every process of the workers.
const MARK: &str = "FRESHQ_CRASH_TEST";

/// What is to be done, as the environment says; in the suite it is over soon.
struct Plan {
    faults: u32,
    jobs: u32,
    seed: u64,
}

/// What a long run says by a variable.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

impl Plan {
    fn new() -> Self {
        let faults = number("FRESHQ_CRASH_FAULTS", 30) as u32;
        let jobs = number("FRESHQ_CRASH_JOBS", 900) as u32;
        Self { faults, jobs, seed: number("FRESHQ_CRASH_SEED", 0x5eed_0003) }
    }

    fn is_long(&self) -> bool {
        100 < self.faults
    }
}

/// What can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// What an init system starts: the supervisor, or a worker of RQ.
    Main,
    Base,
    Generation,
    Horse,
    /// That of freshq.
    Redis,
}

/// Whose workers are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Freshq,
    Rq,
}

/// Which Redis the jobs are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A server of this test, which nobody kills.
    Apart,
    /// freshq's own, which is killed too.
    Embedded,
}

/// Workers that are started again when they are killed, as an init system does.
struct Fleet<'a> {
    context: &'a Context,
    kind: Kind,
    args: &'a [&'a str],
    place: Place,
    /// This test's share of the embedded Redis, so that it outlives the workers.
    share: Option<RedisServer>,
    redis_spared_until: Instant,
    mains: Vec<Worker>,
    kills: [u32; 5],
    /// How often, by what they said last.
    ended_by_themselves: BTreeMap<String, u32>,
}

impl<'a> Fleet<'a> {
    fn start(context: &'a Context, kind: Kind, place: Place, args: &'a [&'a str]) -> Self {
        let mut fleet = Self {
            context,
            kind,
            args,
            place,
            share: None,
            redis_spared_until: Instant::now(),
            mains: Vec::new(),
            kills: [0; 5],
            ended_by_themselves: BTreeMap::new(),
        };
        let count = if kind == Kind::Freshq { 1 } else { WORKERS };
        fleet.mains = (0..count).map(|number| fleet.start_main(number)).collect();
        for main in &fleet.mains {
            fleet.wait_until_ready(main);
        }
        if place == Place::Embedded {
            let share = join_embedded(context);
            context.eval(&format!("use(Redis.from_url('{}'))", share.url()));
            fleet.share = Some(share);
        }
        fleet
    }

    fn mark(&self, number: usize) -> String {
        format!("{}/{number}", self.context.project.path().display())
    }

    fn start_main(&self, number: usize) -> Worker {
        let url = match self.place {
            Place::Apart => self.context.redis.url(),
            Place::Embedded => "embedded".to_owned(),
        };
        let mut command = match self.kind {
            Kind::Freshq => {
                let mut command = self.context.freshq();
                command.args(["worker", "--num-workers", &WORKERS.to_string()]);
                // The same names again: what a killed one has left must not be in the way.
                command.args(["--max-restarts", "1000000", "--name", "crash"]);
                command
            }
            Kind::Rq => {
                let mut command = Command::new(testing::python());
                command.args(["-m", "rq.cli", "worker"]).current_dir(self.context.project.path());
                command
            }
        };
        command.args(["--url", &url, "--with-scheduler", "--maintenance-interval", "1"]);
        command.args(self.args).env(MARK, self.mark(number));
        Worker::start(command)
    }

    fn wait_until_ready(&self, main: &Worker) {
        main.wait_for(if self.kind == Kind::Freshq { "  ready " } else { "*** Listening" });
    }

    /// Kills something, as soon as there is anything to kill.
    fn hurt(&mut self, victim: Victim, dice: &mut Dice) {
        let number = dice.below(self.mains.len() as u64) as usize;
        match victim {
            Victim::Main => return self.kill_main(number, dice),
            // One that was started a moment ago would count as one that does not stay up, and wait longer.
            Victim::Redis if self.redis_spared_until < Instant::now() => return self.kill_redis(),
            Victim::Redis => return self.hurt(Victim::Horse, dice),
            Victim::Base | Victim::Generation | Victim::Horse => {}
        }
        self.kills[victim as usize] += 1;
        let until = Instant::now() + PATIENCE;
        while !self.kill_below(number, victim, dice) {
            let output = self.mains[number].output();
            assert!(Instant::now() < until, "nothing runs that could be killed:\n{output}");
            self.revive();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill_below(&self, number: usize, victim: Victim, dice: &mut Dice) -> bool {
        // Of RQ's worker, whatever it has forked.
        let depth = if self.kind == Kind::Freshq { victim as usize } else { 1 };
        let mut level = children(self.mains[number].pid());
        if self.place == Place::Embedded {
            let redis = self.context.eval("redis_pid()");
            level.retain(|pid| redis != *pid);
        }
        for step in 1..depth {
            let below: Vec<i32> = level.iter().copied().flat_map(children).collect();
            if below.is_empty() && step == 1 {
                // A base that is killed each time it begins would be started less and less often.
                return false;
            }
            // One that was started a moment ago has not come so far.
            level = if below.is_empty() { level } else { below };
        }
        let chosen = dice.below(level.len().max(1) as u64) as usize;
        level.get(chosen).is_some_and(|pid| kill_if_there(*pid))
    }

    /// Starts again what has ended by itself, because what it needs was killed while it started.
    fn revive(&mut self) {
        for number in 0..self.mains.len() {
            if self.mains[number].has_ended() {
                let output = self.mains[number].output();
                let why = output.lines().last().unwrap_or_default().to_owned();
                *self.ended_by_themselves.entry(why).or_default() += 1;
                self.mains[number] = self.start_main(number);
            }
        }
    }

    fn kill_main(&mut self, number: usize, dice: &mut Dice) {
        self.kills[Victim::Main as usize] += 1;
        let old = self.mains.remove(number);
        old.signal(Signal::KILL);
        old.reap();
        if self.kind == Kind::Rq {
            // What systemd does with the rest of a service before it starts it again. freshq needs no help.
            for pid in marked(&self.mark(number)) {
                kill_if_there(pid);
            }
        }
        let new = self.start_main(number);
        if dice.below(4) != 0 {
            self.wait_until_ready(&new);
        }
        self.mains.insert(number, new);
    }

    /// Kills the embedded Redis, and waits until it is back: the client asks no server that is away.
    fn kill_redis(&mut self) {
        self.kills[Victim::Redis as usize] += 1;
        let pid = self.context.eval("redis_pid()");
        assert!(kill_if_there(pid.as_i64().expect("a pid") as i32), "it answered a moment ago");
        let until = Instant::now() + SETTLED_WITHIN;
        while self.context.eval(&format!("is_back_since({pid})")) != true {
            let output = self.mains[0].output();
            assert!(Instant::now() < until, "the embedded Redis does not come back:\n{output}");
            self.revive();
            std::thread::sleep(Duration::from_millis(5));
        }
        self.redis_spared_until = Instant::now() + REDIS_SPARED;
    }

    /// Stops all; returns what they have printed.
    fn stop_mains(&mut self) -> String {
        let kind = self.kind;
        std::mem::take(&mut self.mains).into_iter().fold(String::new(), |mut printed, main| {
            if kind == Kind::Freshq {
                printed.push_str(&main.stop());
            } else {
                main.signal(Signal::TERM);
                printed.push_str(&main.end().1);
            }
            printed
        })
    }
}

/// Joins the server that a worker of this project has started.
fn join_embedded(context: &Context) -> RedisServer {
    let mut projects = fs_err::read_dir(context.cache().join("projects")).expect("a project");
    let project = projects.next().expect("a project").expect("a folder").path();
    let binary = find_server(Some(&testing::python())).expect("a server");
    let share = RedisServer::start(&binary, &project.join("redis"), Options { append_only: true });
    let share = share.expect("a server");
    assert!(share.is_joined(), "the worker has started it");
    share
}

fn kill_if_there(pid: i32) -> bool {
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).is_ok()
}

/// Processes that live and have this mark, in no particular order.
fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let all = fs_err::read_dir("/proc").expect("processes").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = fs_err::read(Path::new("/proc").join(pid.to_string()).join("environ"));
        let environment = environment.unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()) && !is_gone(*pid)
    })
    .collect()
}

/// What has become of all.
struct Report {
    seed: u64,
    kills: [u32; 5],
    /// How often, by what they said last.
    ended_by_themselves: BTreeMap<String, u32>,
    count: Value,
    left_in_redis: Value,
    left_running: Vec<i32>,
    settled_after: Duration,
}

impl Report {
    fn text(&self, kind: Kind) -> String {
        let mut text = format!("{kind:?}: seed {}\n", self.seed);
        let [main, base, generation, horse, redis] = self.kills;
        writeln!(text, "  killed: {main} supervisors or workers, {base} bases, {generation} generations, {horse} horses, {redis} Redis servers")
            .expect("a string");
        writeln!(text, "  ended by themselves: {:?}", self.ended_by_themselves).expect("a string");
        writeln!(text, "  settled {:.1} s after the last", self.settled_after.as_secs_f64())
            .expect("a string");
        for (name, value) in [
            ("jobs", &self.count["tally"]),
            ("wrong", &self.count["wrong"]),
            ("left", &self.left_in_redis),
        ] {
            writeln!(text, "  {name}: {value}").expect("a string");
        }
        writeln!(text, "  left running: {:?}", self.left_running).expect("a string");
        text
    }
}

fn run(plan: &Plan, kind: Kind, place: Place, args: &[&str]) -> (Report, String) {
    let context = Context::with_names("crash.py");
    context.write("app/__init__.py", "");
    context.write("app/tasks.py", TASKS);
    let mut dice = Dice::new(plan.seed);
    let mut fleet = Fleet::start(&context, kind, place, args);
    let mut enqueued = 0;
    for fault in 0..plan.faults {
        show_progress(plan, fault);
        let until = (u64::from(plan.jobs) * u64::from(fault + 1) / u64::from(plan.faults)) as u32;
        context.eval(&format!("load({enqueued}, {})", until - enqueued));
        enqueued = until;
        std::thread::sleep(Duration::from_millis(dice.below(150)));
        let victim = match dice.below(if place == Place::Embedded { 12 } else { 10 }) {
            0..=4 => Victim::Horse,
            5..=6 => Victim::Generation,
            7 => Victim::Base,
            8..=9 => Victim::Main,
            _ => Victim::Redis,
        };
        fleet.hurt(victim, &mut dice);
        let patience = Instant::now() + PATIENCE;
        while WAITING_MAX < context.eval("queue().count").as_u64().expect("a number")
            && Instant::now() < patience
        {
            fleet.revive();
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let last = Instant::now();
    while context.eval("waiting()") != 0 && last.elapsed() < SETTLED_WITHIN {
        fleet.revive();
        std::thread::sleep(Duration::from_millis(50));
    }
    let settled_after = last.elapsed();
    let (kills, ended_by_themselves) = (fleet.kills, fleet.ended_by_themselves.clone());
    let printed = fleet.stop_mains();
    let requeues = if args.contains(&"requeue") { "True" } else { "False" };
    let count = context.eval(&format!("count_jobs({}, {requeues})", plan.jobs));
    let left_in_redis = context.eval("left_in_redis()");
    // A server that was joined must not be left running either.
    drop(fleet);
    let report = Report {
        seed: plan.seed,
        kills,
        ended_by_themselves,
        count,
        left_in_redis,
        left_running: (0..WORKERS)
            .flat_map(|number| marked(&format!("{}/{number}", context.project.path().display())))
            .collect(),
        settled_after,
    };
    (report, printed)
}

/// For somebody who waits for a long run.
fn show_progress(plan: &Plan, fault: u32) {
    if plan.is_long() && fault.is_multiple_of(100) {
        say(&format!("  {fault} faults\n"));
    }
}

fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).expect("a stream");
}

/// Does it to freshq, and shows what came of it.
fn judge(plan: &Plan, place: Place, args: &[&str]) -> Report {
    let (report, printed) = run(plan, Kind::Freshq, place, args);
    let text = report.text(Kind::Freshq);
    say(&text);
    let sound = report.count["wrong"] == serde_json::json!({})
        && report.left_in_redis == serde_json::json!([])
        && report.left_running.is_empty();
    let said = if plan.is_long() { "" } else { &printed };
    assert!(sound, "{text}{said}");
    report
}

#[test]
fn whatever_is_killed_every_job_ends_once() {
    let plan = Plan::new();
    judge(&plan, Place::Apart, &[]);
    if std::env::var("FRESHQ_CRASH_PEER").as_deref() == Ok("rq") {
        // What RQ's own workers lose in the same way: shown, not judged.
        say(&run(&plan, Kind::Rq, Place::Apart, &[]).0.text(Kind::Rq));
    }
}

#[test]
fn with_requeue_what_was_lost_is_run_again() {
    let report = judge(&Plan::new(), Place::Apart, &["--on-lost", "requeue"]);
    // One that was hit again and again may have failed all the same.
    let tally = &report.count["tally"];
    let lost = ["failed: AbandonedJobError", "failed: Work-horse terminated"];
    let lost: u64 = lost.iter().filter_map(|cause| tally[cause].as_u64()).sum();
    assert!(lost <= u64::from(report.kills.iter().sum::<u32>() / 10), "{tally}");
}

/// Its data is written before a client has its answer, so that nothing is lost with its process.
#[test]
fn embedded_redis_killed_too_every_job_ends_once() {
    let report = judge(&Plan::new(), Place::Embedded, &[]);
    assert!(0 < report.kills[Victim::Redis as usize], "none was killed");
}

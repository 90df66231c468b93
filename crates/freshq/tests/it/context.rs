//! A project in a temporary folder, a private Redis, the real rq client, and workers.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use embedded::testing::{self, TestRedis};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything is waited for before the test fails; it is a guard, not an expectation.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

const KEY_PREFIX: &str = "RQ_KEY_PREFIX";

/// One test's world. Everything in it ends with it.
pub(crate) struct Context {
    pub(crate) project: TempDir,
    cache: TempDir,
    python: PathBuf,
    key_prefix: Option<String>,
    pub(crate) redis: TestRedis,
    client: Mutex<Client>,
}

struct Client {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Context {
    pub(crate) fn new() -> Self {
        Self::of(testing::python(), None, None)
    }

    /// One with a module `app.tasks`.
    pub(crate) fn with_tasks(tasks: &str) -> Self {
        let context = Self::new();
        context.write("app/__init__.py", "");
        context.write("app/tasks.py", tasks);
        context
    }

    /// One with the oldest RQ with which freshq runs jobs.
    pub(crate) fn with_oldest_rq() -> Self {
        Self::of(testing::oldest_python(), None, None)
    }

    /// One whose client and workers have this `RQ_KEY_PREFIX`.
    pub(crate) fn with_prefix(prefix: &str) -> Self {
        Self::of(testing::python(), None, Some(prefix))
    }

    /// One whose client has more names for expressions, from this file.
    pub(crate) fn with_names(names: &str) -> Self {
        Self::of(testing::python(), Some(names), None)
    }

    /// One with what people use beside RQ; `names` is a file with more names for expressions.
    pub(crate) fn with_neighbours(names: &str) -> Self {
        Self::of(testing::neighbours(), Some(names), None)
    }

    /// One whose jobs have numpy.
    pub(crate) fn with_numpy() -> Self {
        Self::of(testing::with_numpy(), None, None)
    }

    fn of(python: PathBuf, names: Option<&str>, key_prefix: Option<&str>) -> Self {
        let redis = testing::redis();
        let project = tempfile::tempdir().expect("a folder");
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
        let mut process = Command::new(&python)
            .arg(scripts.join("client.py"))
            .arg(redis.url())
            .args(names.map(|names| scripts.join(names)))
            .current_dir(project.path())
            .envs(key_prefix.map(|prefix| (KEY_PREFIX, prefix)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Self {
            project,
            python,
            key_prefix: key_prefix.map(str::to_owned),
            cache: tempfile::tempdir().expect("a folder"),
            redis,
            client: Mutex::new(Client { process, input, output }),
        }
    }

    /// Evaluates an expression in the rq client; see `client.py` for the names it has.
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let mut client = self.client.lock().expect("not poisoned");
        writeln!(client.input, "{}", Value::from(expression)).expect("the client lives");
        let mut line = String::new();
        client.output.read_line(&mut line).expect("the client answers");
        let mut answer: Value = serde_json::from_str(&line).expect("the client answers JSON");
        assert!(answer.get("error").is_none(), "{expression}: {}", answer["error"]);
        answer["ok"].take()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_until(&self, expression: &str) {
        let until = Instant::now() + PATIENCE;
        while self.eval(expression) != Value::Bool(true) {
            assert!(Instant::now() < until, "`{expression}` does not become true");
        }
    }

    /// Where freshq keeps what it learns.
    pub(crate) fn cache(&self) -> &Path {
        self.cache.path()
    }

    /// The Python that jobs run with.
    pub(crate) fn python(&self) -> &Path {
        &self.python
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.project.path().join(name)
    }

    /// Writes a file in place, as a simple editor does.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs_err::write(path, content).expect("written");
    }

    /// Replaces a file by renaming another over it, as most editors do.
    pub(crate) fn replace(&self, name: &str, content: &str) {
        let temporary = self.path(&format!("{name}.new"));
        fs_err::write(&temporary, content).expect("written");
        fs_err::rename(temporary, self.path(name)).expect("renamed");
    }

    /// The `freshq` command in this project, without arguments.
    pub(crate) fn freshq(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshq"));
        let theirs = ["REDIS_", "RQ_", "FRESHQ_", "VIRTUAL_ENV"];
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        for name in names.filter(|name| theirs.iter().any(|start| name.starts_with(start))) {
            command.env_remove(name);
        }
        command
            .current_dir(self.project.path())
            .env("FRESHQ_CACHE_DIR", self.cache.path())
            .env("FRESHQ_PYTHON", &self.python)
            .envs(self.key_prefix.as_ref().map(|prefix| (KEY_PREFIX, prefix)));
        command
    }

    /// The same, run by another program that takes it after `args`.
    pub(crate) fn freshq_through<I: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = I>,
    ) -> Command {
        let freshq = self.freshq();
        let mut command = Command::new(program);
        command.args(args).arg(freshq.get_program()).current_dir(self.project.path());
        for (name, value) in freshq.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Starts RQ's own worker on this Redis.
    pub(crate) fn rqs_worker(&self, args: &[&str]) -> Worker {
        let mut command = Command::new(&self.python);
        command
            .args(["-m", "rq.cli", "worker", "--url", &self.redis.url()])
            .args(args)
            .current_dir(self.project.path());
        Worker::start(command)
    }

    /// Starts `freshq worker` on this Redis and waits until it is ready.
    pub(crate) fn worker(&self, args: &[&str]) -> Worker {
        let worker = self.unready_worker(args);
        worker.wait_for("  ready ");
        worker
    }

    /// Starts `freshq worker` on this Redis.
    pub(crate) fn unready_worker(&self, args: &[&str]) -> Worker {
        let mut command = self.freshq();
        command.args(["worker", "--url", &self.redis.url()]).args(args);
        Worker::start(command)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It ends when its input does; killing is for the case that it hangs.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A command that runs, and what it has printed so far.
pub(crate) struct Worker {
    process: Child,
    output: Arc<(Mutex<String>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("freshq starts");
        let output = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let readers = vec![
            collect(process.stdout.take().expect("piped"), output.clone()),
            collect(process.stderr.take().expect("piped"), output.clone()),
        ];
        Self { process, output, readers }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// What was printed until now.
    pub(crate) fn output(&self) -> String {
        self.output.0.lock().expect("not poisoned").clone()
    }

    /// Waits until `text` has been printed; returns all output.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_times(text, 1)
    }

    /// Waits until `text` has been printed so many times.
    pub(crate) fn wait_for_times(&self, text: &str, times: usize) -> String {
        let (output, changed) = &*self.output;
        let guard = output.lock().expect("not poisoned");
        let (guard, timeout) = changed
            .wait_timeout_while(guard, PATIENCE, |output| output.matches(text).count() < times)
            .expect("not poisoned");
        assert!(!timeout.timed_out(), "`{text}` was not printed {times} times:\n{guard}");
        guard.clone()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("it lives");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().expect("it can be waited for") {
                for reader in self.readers.drain(..) {
                    reader.join().expect("the output is read to its end");
                }
                return (status, self.output());
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("it can be waited for").is_some()
    }

    /// Waits for its end, whatever still holds its output.
    pub(crate) fn reap(mut self) {
        self.process.wait().expect("it can be waited for");
    }

    /// Sends SIGTERM and waits for its end.
    pub(crate) fn stop(self) -> String {
        self.signal(rustix::process::Signal::TERM);
        let (status, output) = self.end();
        assert_eq!(status.code(), Some(0), "{output}");
        output
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // For tests that fail on the way; the life lines take everything below along.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn collect(
    stream: impl std::io::Read + Send + 'static,
    output: Arc<(Mutex<String>, Condvar)>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            output.0.lock().expect("not poisoned").extend([line.as_str(), "\n"]);
            output.1.notify_all();
        }
    })
}

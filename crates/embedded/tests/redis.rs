//! Private servers with a real `redis-server`: start, join, leave, crash, restart.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use embedded::redis::{
    Options, RedisServer, ServerBinary, StartError, Stopped, find_server, running_url, sync,
    wait_for_end,
};
use embedded::testing;
use fs_err as fs;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};

/// How often a server is killed that has just answered.
const KILLS: u32 = 20;

fn binary() -> ServerBinary {
    find_server(Some(&testing::python())).unwrap()
}

fn start(folder: &Path) -> RedisServer {
    RedisServer::start(&binary(), folder, Options { append_only: true }).unwrap()
}

fn pid(server: &RedisServer) -> Pid {
    Pid::from_raw(server.pid()).unwrap()
}

/// Sends commands over TCP, each a line of words, and returns the first line of each answer.
fn ask(url: &str, commands: &[&str]) -> Vec<String> {
    let (password, address) = url.strip_prefix("redis://:").unwrap().split_once('@').unwrap();
    let mut stream = TcpStream::connect(address.strip_suffix("/0").unwrap()).unwrap();
    let auth = format!("AUTH {password}");
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut answers = Vec::new();
    for command in [auth.as_str()].iter().chain(commands) {
        write!(stream, "{command}\r\n").unwrap();
        let mut answer = String::new();
        reader.read_line(&mut answer).unwrap();
        if answer.starts_with('$') && answer != "$-1\r\n" {
            answer.clear();
            reader.read_line(&mut answer).unwrap();
        }
        answers.push(answer.trim_end().to_owned());
    }
    answers
}

#[test]
fn a_server_answers_and_keeps_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    assert!(!server.is_joined());
    assert_eq!(ask(server.url(), &["PING"]), ["+OK", "+PONG"]);
    assert_eq!(running_url(folder.path()).as_deref(), Some(server.url()));
    let password = server.url().split(['@', ':']).nth(2).unwrap();
    assert_eq!(password.len(), 32);
    let arguments = fs::read(format!("/proc/{}/cmdline", server.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains(password));
    for file in ["redis.url", "redis.conf"] {
        assert_eq!(fs::metadata(folder.path().join(file)).unwrap().mode() & 0o777, 0o600);
    }
    let socket = server.socket().unwrap().to_owned();
    assert!(socket.starts_with(fs::canonicalize(folder.path()).unwrap()));
    assert_eq!(server.stop().unwrap(), Stopped::Calmly);
    assert!(!socket.exists());
    assert_eq!(running_url(folder.path()), None);
}

#[test]
fn data_survives_a_stop_and_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    assert_eq!(ask(server.url(), &["SET case Miranda"]), ["+OK", "+OK"]);
    assert_eq!(server.stop().unwrap(), Stopped::Calmly);
    let server = start(folder.path());
    assert_eq!(ask(server.url(), &["GET case"]), ["+OK", "Miranda"]);
}

#[test]
fn a_second_start_joins_and_the_last_to_leave_stops() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path());
    let second = start(folder.path());
    assert!(second.is_joined());
    assert_eq!((second.url(), second.pid()), (first.url(), first.pid()));
    let (url, pid) = (first.url().to_owned(), pid(&first));
    assert_eq!(first.stop().unwrap(), Stopped::LeftToOthers);
    assert_eq!(ask(&url, &["PING"]), ["+OK", "+PONG"]);
    assert_eq!(second.stop().unwrap(), Stopped::Calmly);
    // The child was not reaped by the one who had started it and left.
    waitpid(Some(pid), WaitOptions::empty()).unwrap();
    assert_eq!(running_url(folder.path()), None);
}

/// Goal: never two servers on one folder. Method: many threads start at the same moment.
#[test]
fn starts_at_the_same_moment_share_one_server() {
    const THREADS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(THREADS);
    let begin = || {
        barrier.wait();
        start(folder.path())
    };
    let servers: Vec<RedisServer> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(begin)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(servers.iter().filter(|server| !server.is_joined()).count(), 1);
    assert!(servers.iter().all(|server| server.pid() == servers[0].pid()));
}

#[test]
fn a_server_that_died_is_noticed_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path());
    kill_process(pid(&first), Signal::KILL).unwrap();
    waitpid(Some(pid(&first)), WaitOptions::empty()).unwrap();
    assert_eq!(running_url(folder.path()), None);
    let second = start(folder.path());
    assert!(!second.is_joined());
    assert_eq!(ask(second.url(), &["PING"]), ["+OK", "+PONG"]);
    // The first share goes; the second server is not its business.
    assert_eq!(first.stop().unwrap(), Stopped::LeftToOthers);
    assert_eq!(ask(second.url(), &["PING"]), ["+OK", "+PONG"]);
}

#[test]
fn one_that_died_is_started_again_where_it_was_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let (first, user) = (start(folder.path()), start(folder.path()));
    let url = first.url().to_owned();
    assert_eq!(ask(&url, &["SET case Miranda"]), ["+OK", "+OK"]);
    kill_process(pid(&first), Signal::KILL).unwrap();
    wait_for_end(folder.path()).unwrap();
    let options = Options { append_only: true };
    let again = user.start_again(&binary(), options).unwrap();
    let joined = first.start_again(&binary(), options).unwrap();
    assert!(!again.is_joined() && joined.is_joined());
    assert_eq!((again.url(), again.pid()), (joined.url(), joined.pid()));
    assert_eq!(again.url(), url);
    first.bury();
    user.bury();
    assert_eq!(joined.stop().unwrap(), Stopped::LeftToOthers);
    assert_eq!(ask(&url, &["GET case"]), ["+OK", "Miranda"]);
    assert_eq!(again.stop().unwrap(), Stopped::Calmly);
}

#[test]
fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    let url = server.url().to_owned();
    for number in 0..KILLS {
        let value = format!("v{number}");
        assert_eq!(ask(&url, &[&format!("SET case {value}")]), ["+OK", "+OK"]);
        kill_process(pid(&server), Signal::KILL).unwrap();
        wait_for_end(folder.path()).unwrap();
        let again = server.start_again(&binary(), Options { append_only: true }).unwrap();
        std::mem::replace(&mut server, again).bury();
        assert_eq!(ask(&url, &["GET case"]), ["+OK", value.as_str()]);
        sync(folder.path()).unwrap();
    }
}

#[test]
fn one_that_died_with_all_its_users_is_started_where_it_was_unless_that_port_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    let url = server.url().to_owned();
    for taken in [false, true] {
        kill_process(pid(&server), Signal::KILL).unwrap();
        wait_for_end(folder.path()).unwrap();
        let _other = taken.then(|| TcpListener::bind(("127.0.0.1", server.port())).unwrap());
        let again = start(folder.path());
        assert_eq!(again.url() != url, taken);
        if taken {
            let refused = server.start_again(&binary(), Options { append_only: true });
            assert!(refused.unwrap().is_joined());
        }
        std::mem::replace(&mut server, again).bury();
    }
}

/// Goal: stopping works when another part of the process reaps all children. Method: a thread that
/// reaps.
#[test]
fn a_child_that_somebody_else_reaps_is_stopped_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let pid = pid(&server);
    let reaper = thread::spawn(move || waitpid(Some(pid), WaitOptions::empty()));
    assert_eq!(server.stop().unwrap(), Stopped::Calmly);
    reaper.join().unwrap().ok();
    assert!(test_kill_process(pid).is_err());
}

#[test]
fn a_folder_with_a_long_path_gets_its_socket_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("long".repeat(40));
    let server = start(&folder);
    let socket = server.socket().unwrap().to_owned();
    assert!(!socket.starts_with(&folder));
    assert!(socket.exists());
    assert_eq!(fs::metadata(socket.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(server.stop().unwrap(), Stopped::Calmly);
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    // A folder where the file of the log should be: Redis refuses its configuration.
    fs::create_dir(folder.path().join("appendonlydir")).unwrap();
    fs::write(folder.path().join("appendonly.aof"), "nonsense").unwrap();
    fs::write(folder.path().join("appendonlydir/appendonly.aof.manifest"), "nonsense").unwrap();
    let error =
        RedisServer::start(&binary(), folder.path(), Options { append_only: true }).unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error:?}");
    assert!(error.to_string().contains("end of its log"), "{error}");
}

#[test]
fn throwaway_servers_do_not_outlive_their_test() {
    let server = testing::redis();
    let pid = Pid::from_raw(server.pid()).unwrap();
    let folder = server.socket().parent().unwrap().to_owned();
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}/0", server.port()));
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_ok());
    assert!(server.socket().exists());
    drop(server);
    assert!(test_kill_process(pid).is_err());
    assert!(!folder.exists());
}

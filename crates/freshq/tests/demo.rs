//! The demo as a user starts it: the whole binary, real Python, real Redis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn start() -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshq"));
    command.arg("demo").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The port of the demo's Redis, from its first screen.
fn port_in(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once(", private, on port ")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Goal: the demo shows what it promises, and leaves nothing behind. It checks by itself that each
/// job ran the right code, so its success says much.
#[test]
fn the_demo_shows_what_it_promises() {
    let output = start().wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for expected in [
        "brief     ━━━━━━━━━━━━━━━━━━━━  20/20 paragraphs   36 citations",
        "Terry v. Ohio                            392 U.S. 1    1968     4×",
        "+ LABEL = \"{name}, {citation} ({year})\"",
        "after     Brown v. Board of Education, 347 U.S. 483 (1954)",
        "SyntaxError",
        "job       the job succeeded, on the last good code",
        "now       Brown v. Board of Education (1954), 347 U.S. 483",
        "jobs      7 run, 0 failed, 0 on old code after a save",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing in\n{text}\n{errors}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 90), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour without a terminal");
    assert!(!is_open(port_in(&text).unwrap()));
}

/// Goal: whoever stops the demo halfway finds nothing left running. Method: SIGTERM once jobs run.
#[test]
fn an_interrupted_demo_stops_what_it_started() {
    let mut demo = start();
    let mut output = BufReader::new(demo.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("1  Three court documents") {
        assert_ne!(output.read_line(&mut text).unwrap(), 0, "the demo ended early:\n{text}");
    }
    let port = port_in(&text).unwrap();
    assert!(is_open(port));
    kill_process(Pid::from_raw(demo.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    output.read_to_string(&mut text).unwrap();
    let result = demo.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(1), "{text}\n{errors}");
    assert!(
        errors.contains("interrupted; everything that was started has been stopped"),
        "{errors}"
    );
    assert!(!is_open(port));
}

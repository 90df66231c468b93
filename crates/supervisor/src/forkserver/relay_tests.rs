//! The relay with real pipes: what horses write, what is passed on, what is kept.

use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _};

use super::*;

/// A relay, and what it passes on.
fn relay() -> (Relay, PipeReader) {
    let (out, passed) = io::pipe().map(|(passed, out)| (out, passed)).unwrap();
    (Relay::onto(out).unwrap(), passed)
}

/// All that was passed on, once the relay is done.
async fn end(relay: Relay, mut passed: PipeReader) -> String {
    relay.end().await;
    let mut text = Vec::new();
    passed.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

fn open(relay: &mut Relay) -> (Stderr, File) {
    let (stderr, theirs) = relay.open().unwrap();
    (stderr, File::from(theirs))
}

#[tokio::test]
async fn all_is_passed_on_and_the_last_is_kept() {
    let (mut relay, passed) = relay();
    let (stderr, mut theirs) = open(&mut relay);
    theirs.write_all(b"one\n\ntwo \xff\n10%\r20%\nno end").unwrap();
    drop(theirs);
    assert_eq!(stderr.last_lines().await, ["one", "two \u{fffd}", "10%", "20%", "no end"]);
    let (quiet, _) = open(&mut relay);
    assert!(quiet.last_lines().await.is_empty());
    assert_eq!(end(relay, passed).await, "one\n\ntwo \u{fffd}\n10%\r20%\nno end");
}

#[tokio::test]
async fn what_was_written_is_told_while_others_hold_the_pipe() {
    let (mut relay, passed) = relay();
    let (stderr, mut theirs) = open(&mut relay);
    for round in 0..200 {
        stderr.begin();
        writeln!(theirs, "{round}").unwrap();
        assert_eq!(stderr.last_lines().await, [round.to_string()]);
    }
    drop(theirs);
    assert_eq!(end(relay, passed).await.lines().count(), 200);
}

#[tokio::test]
async fn what_the_job_before_wrote_is_not_of_this_one() {
    let (mut relay, _passed) = relay();
    let (stderr, mut theirs) = open(&mut relay);
    for _ in 0..200 {
        writeln!(theirs, "before").unwrap();
        stderr.begin();
        writeln!(theirs, "now").unwrap();
        assert_eq!(stderr.last_lines().await, ["now"]);
    }
}

#[tokio::test]
async fn lines_of_two_are_not_mixed() {
    let (mut relay, passed) = relay();
    let (_first, mut one) = open(&mut relay);
    let (second, mut other) = open(&mut relay);
    one.write_all(b"begin").unwrap();
    writeln!(other, "line").unwrap();
    // Read by now, and passed on.
    assert_eq!(second.last_lines().await, ["line"]);
    writeln!(one, " end").unwrap();
    drop((one, other));
    let passed = end(relay, passed).await;
    assert!(passed == "line\nbegin end\n" || passed == "begin end\nline\n", "{passed}");
}

#[tokio::test]
async fn the_begin_of_a_line_is_not_held_back_for_long() {
    let (mut relay, mut passed) = relay();
    let (_stderr, mut theirs) = open(&mut relay);
    theirs.write_all(b"password: ").unwrap();
    let mut text = [0; 10];
    passed.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"password: ");
    let long = vec![b'x'; LINE_BYTES_MAX + 1];
    theirs.write_all(&long).unwrap();
    let mut text = vec![0; long.len()];
    passed.read_exact(&mut text).unwrap();
    assert_eq!(text, long);
}

/// Whoever reads our standard error is stuck: nobody waits for ever, and what was read is told.
#[tokio::test]
async fn a_reader_who_does_not_read_holds_nothing_up_for_long() {
    let (mut relay, _passed) = relay();
    let (stderr, mut theirs) = open(&mut relay);
    // More than the pipe of the reader holds, and no more than that and its own hold.
    for _ in 0..100 {
        theirs.write_all(&[&[b'x'; 1022][..], b"y\n"].concat()).unwrap();
    }
    let lines = stderr.last_lines().await;
    assert!(lines.last().is_some_and(|line| line.ends_with("xy")), "{lines:?}");
    relay.end().await;
}

#[test]
fn no_more_is_kept_than_is_allowed() {
    let mut tail = Tail { pipe: None, foreign: 0, kept: Vec::new(), is_cut: false };
    for line in 0..10_000 {
        tail.keep(format!("line {line}\n").as_bytes());
        assert!(tail.kept.len() <= KEPT_BYTES_MAX);
    }
    let lines = tail.last_lines();
    assert_eq!(lines.len(), LAST_LINES_MAX);
    assert_eq!(lines.last().map(String::as_str), Some("line 9999"));
    // Few lines are left of long ones, and no half of one.
    for _ in 0..5 {
        tail.keep(&[&[b'x'; 1500][..], b"\n"].concat());
    }
    assert_eq!(
        tail.last_lines(),
        [[b'x'; 1500], [b'x'; 1500]].map(|x| String::from_utf8(x.into()).unwrap())
    );
    tail.keep(&[b'y'; 2 * KEPT_BYTES_MAX]);
    assert_eq!(tail.last_lines(), ["y".repeat(KEPT_BYTES_MAX)]);
}

//! What comes from processes that run user code, and from the control socket: it is understood or
//! refused, and no more is kept than has come.

use std::path::{Path, PathBuf};

use embedded::testing::fuzz;
use serde_json::{Value, from_slice};

use crate::control::{Answer as ControlAnswer, Request};
use crate::forkserver::frame::{Decoder, Frame, FrameError, encode};
use crate::forkserver::messages::{ErrandAnswer, FromBase, FromGeneration, FromSpawned, JobAnswer};
use crate::worker::horse::Answer;

/// What a buffer may hold beyond what has come: it grows by doubling.
const SLACK_BYTES: usize = 1024;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// Bytes that stand for what happens to a machine.
pub(crate) fn steps() -> PathBuf {
    corpus("steps")
}

/// The frames of a connection, read in pieces of this size.
fn frames(input: &[u8], piece: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let (mut decoder, mut frames, mut came) = (Decoder::default(), Vec::new(), 0);
    for piece in input.chunks(piece) {
        came += piece.len();
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        let kept = decoder.buffer().capacity();
        assert!(kept <= 2 * came + SLACK_BYTES, "{kept} bytes for {came}");
    }
    (frames, Ok(()))
}

#[test]
fn frames_of_strangers() {
    fuzz(&corpus("frames"), |input| {
        let (whole, how) = frames(input, input.len().max(1));
        for piece in [1, 7] {
            let (pieces, same) = frames(input, piece);
            assert_eq!((pieces, same.is_ok()), (whole.clone(), how.is_ok()));
        }
        let bytes: usize = whole.iter().map(|frame| frame.header.len() + frame.body.len()).sum();
        assert!(bytes <= input.len());
        for Frame { header, body } in whole {
            read(&header, &body);
            let Ok(header) = from_slice::<Value>(&header) else { continue };
            let again = encode(&header, &body).unwrap();
            let (frames, how) = frames(&again, again.len());
            assert!(how.is_ok());
            assert_eq!(frames[0].body, body);
            assert_eq!(from_slice::<Value>(&frames[0].header).unwrap(), header);
        }
    });
}

#[test]
fn messages() {
    fuzz(&corpus("messages"), |input| read(input, b"body"));
}

/// Reads a message in every way that one is read.
fn read(header: &[u8], body: &[u8]) {
    drop(from_slice::<FromBase>(header));
    drop(from_slice::<FromGeneration>(header));
    drop(from_slice::<FromSpawned>(header));
    drop(from_slice::<ErrandAnswer>(header));
    if let Ok(head) = from_slice::<JobAnswer>(header) {
        let answer = Answer::of(head, body.to_vec());
        let parts = [&answer.value, &answer.meta];
        let kept: usize = parts.into_iter().flatten().map(Vec::len).sum();
        assert!(kept <= body.len());
        assert_eq!(answer.value.is_some(), answer.head.value.is_some());
    }
}

#[test]
fn answers_of_the_corpus_are_read() {
    for name in ["broken", "canary", "error", "rolled-back", "serving", "status-answer"] {
        let text = fs_err::read(corpus("control").join(name)).unwrap();
        let answer = from_slice::<ControlAnswer>(&text);
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
}

#[test]
fn control_socket() {
    fuzz(&corpus("control"), |input| {
        if let Ok(request) = from_slice::<Request>(input) {
            let again = serde_json::to_vec(&request).unwrap();
            assert_eq!(from_slice::<Request>(&again).unwrap(), request);
        }
        if let Ok(answer) = from_slice::<ControlAnswer>(input) {
            let again = serde_json::to_vec(&answer).unwrap();
            assert!(from_slice::<ControlAnswer>(&again).is_ok(), "{answer:?}");
        }
    });
}

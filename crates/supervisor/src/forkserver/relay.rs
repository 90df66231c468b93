//! What horses write to their standard error, on its way to the one of this process.
//!
//! Each horse has a pipe. One thread reads them all, passes on what comes, and keeps the last of it: what a
//! horse that died had to say stands in the failure of its job. Where our own standard error is a terminal
//! there is no relay: jobs have the terminal itself then, as progress bars and colours ask for.
//!
//! Passing on may block. Then that thread waits, and by and by the horses that write; nobody else does.
//!
//! Invariants:
//! * The bytes of one horse keep their order, and what is kept is never more than [`KEPT_BYTES_MAX`].
//! * A pipe is read until nobody has its other end: what a job leaves running may hold that.
//! * What a horse had written when it ended is in what [`Stderr::last_lines`] gives after that.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, PipeReader, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, ioctl_fionread};
use tokio::sync::oneshot;

use crate::clock::Moment;

/// Most bytes that are kept of what a horse wrote last.
pub const KEPT_BYTES_MAX: usize = 4 * 1024;
/// Most lines of them that are told.
pub const LAST_LINES_MAX: usize = 20;
/// How long the begin of a line waits for its end, so that lines of other horses do not come in between.
pub const PART_OF_LINE_MAX: Duration = Duration::from_millis(100);
/// A longer line is not waited for.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// How long the relay may take to read what a horse has left that died.
pub const CATCH_UP_MAX: Duration = Duration::from_millis(500);
/// How long it may take at the end of the supervisor to pass on what is left.
pub const END_MAX: Duration = Duration::from_secs(2);

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;
/// No pipe holds more: whoever still writes after so many reads was started by the horse.
const CATCH_UP_READS_MAX: usize = 16;
const EVENTS_MAX: usize = 16;
/// Stands for the descriptor that wakes the thread; pipes count up from 1.
const WAKE: u64 = 0;

/// The thread, as its owner has it.
#[derive(Debug)]
pub struct Relay {
    desk: Desk,
    last: u64,
    /// Resolves when the thread is done.
    ended: oneshot::Receiver<()>,
}

/// The standard error of one horse.
#[derive(Debug)]
pub struct Stderr {
    number: u64,
    tail: Arc<Mutex<Tail>>,
    desk: Desk,
}

/// Where the thread is told things.
#[derive(Clone, Debug)]
struct Desk {
    messages: Sender<Message>,
    epoll: Arc<OwnedFd>,
    wake: Arc<OwnedFd>,
}

#[derive(Debug)]
enum Message {
    /// A pipe is among the watched.
    Opened(u64, Arc<Mutex<Tail>>),
    /// Something is to be done.
    Asked(Ask),
}

#[derive(Debug)]
enum Ask {
    /// Read what is in this pipe now; then drop the sender.
    CatchUp(u64, oneshot::Sender<()>),
    /// Pass on what is there, and end.
    End,
}

/// A pipe, and the last that came out of it.
#[derive(Debug)]
struct Tail {
    /// None, when nobody writes any more.
    pipe: Option<PipeReader>,
    /// Bytes in the pipe that are of the job before.
    foreign: u64,
    kept: Vec<u8>,
    /// What is kept does not begin where a line does.
    is_cut: bool,
}

impl Relay {
    /// Starts the thread, if standard error is no terminal.
    pub fn start() -> io::Result<Option<Self>> {
        if io::stderr().is_terminal() {
            return Ok(None);
        }
        Self::onto(io::stderr()).map(Some)
    }

    fn onto(out: impl AsFd + Send + 'static) -> io::Result<Self> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let (messages, received) = channel();
        let (ends, ended) = oneshot::channel();
        let desk = Desk { messages, epoll: epoll.clone(), wake: wake.clone() };
        let reader = Reader { epoll, wake, messages: received, horses: HashMap::new(), out };
        thread::Builder::new().name("stderr".to_owned()).spawn(move || {
            reader.run();
            drop(ends);
        })?;
        Ok(Self { desk, last: WAKE, ended })
    }

    /// A pipe for a horse: what is told of it, and the end that is to be its standard error.
    pub fn open(&mut self) -> io::Result<(Stderr, OwnedFd)> {
        let (ours, theirs) = io::pipe()?;
        self.last += 1;
        let number = self.last;
        epoll::add(&self.desk.epoll, &ours, EventData::new_u64(number), EventFlags::IN)?;
        let tail = Arc::new(Mutex::new(Tail {
            pipe: Some(ours),
            foreign: 0,
            kept: Vec::new(),
            is_cut: false,
        }));
        // If it is gone nobody reads, and nobody has to know.
        drop(self.desk.messages.send(Message::Opened(number, tail.clone())));
        Ok((Stderr { number, tail, desk: self.desk.clone() }, theirs.into()))
    }

    /// Waits until what horses that have ended have written is passed on.
    pub async fn end(mut self) {
        self.desk.tell(Ask::End);
        // Too long is a reader who does not read.
        let _ = tokio::time::timeout(END_MAX, &mut self.ended).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.desk.tell(Ask::End);
    }
}

impl Desk {
    fn tell(&self, ask: Ask) {
        drop(self.messages.send(Message::Asked(ask)));
        // Fails only when it was woken very often and has not looked yet.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Stderr {
    /// What is in the pipe until now is not of the job that begins.
    pub fn begin(&self) {
        lock(&self.tail).begin();
    }

    /// The last lines that the job wrote. The horse has ended: all of them are in the pipe.
    pub async fn last_lines(&self) -> Vec<String> {
        let (reply, caught_up) = oneshot::channel();
        self.desk.tell(Ask::CatchUp(self.number, reply));
        // Where passing on blocks, what has been read by then has to do.
        let _ = tokio::time::timeout(CATCH_UP_MAX, caught_up).await;
        lock(&self.tail).last_lines()
    }
}

fn lock(tail: &Mutex<Tail>) -> MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tail {
    fn begin(&mut self) {
        self.foreign = self.waiting();
        self.kept.clear();
        self.is_cut = false;
    }

    /// Bytes that can be read without waiting.
    fn waiting(&self) -> u64 {
        self.pipe.as_ref().map_or(0, |pipe| ioctl_fionread(pipe).unwrap_or(0))
    }

    /// Reads once; something has come, or the last writer is gone. Nothing more will come if that is nothing.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        let count = loop {
            match pipe.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.unwrap_or(0),
            }
        };
        if count == 0 {
            self.pipe = None;
        }
        self.keep(&buffer[..count]);
        count
    }

    fn keep(&mut self, bytes: &[u8]) {
        let foreign = self.foreign.min(bytes.len() as u64);
        self.foreign -= foreign;
        self.kept.extend_from_slice(&bytes[foreign as usize..]);
        let over = self.kept.len().saturating_sub(KEPT_BYTES_MAX);
        if 0 < over {
            self.is_cut = self.kept[over - 1] != b'\n';
            self.kept.drain(..over);
        }
    }

    fn last_lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.kept);
        // A bar that shows progress begins its line again and again.
        let lines = text.split(['\n', '\r']).map(str::trim_end);
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        // Half a line is only told if there is nothing else.
        let cut = usize::from(self.is_cut && 1 < lines.len());
        let from = lines.len().saturating_sub(LAST_LINES_MAX).max(cut);
        lines[from..].iter().map(|line| (*line).to_owned()).collect()
    }
}

/// The thread.
struct Reader<O> {
    epoll: Arc<OwnedFd>,
    wake: Arc<OwnedFd>,
    messages: Receiver<Message>,
    horses: HashMap<u64, Passing>,
    out: O,
}

/// What is on its way from one horse.
struct Passing {
    tail: Arc<Mutex<Tail>>,
    /// The begin of a line, and until when it may wait for the rest.
    held: Vec<u8>,
    until: Option<Moment>,
}

impl<O: AsFd> Reader<O> {
    fn run(mut self) {
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Vec::with_capacity(EVENTS_MAX);
        // Set when the owner is done with it.
        let mut until = None;
        loop {
            let pause = if until.is_some() { Some(Duration::ZERO) } else { self.next_pause() };
            self.wait(&mut events, pause);
            let idle = events.is_empty();
            let mut asked = Vec::new();
            for message in self.messages.try_iter() {
                match message {
                    Message::Opened(number, tail) => {
                        self.horses.insert(number, Passing { tail, held: Vec::new(), until: None });
                    }
                    Message::Asked(ask) => asked.push(ask),
                }
            }
            // Before anything is asked: what was read for that could not be read again.
            for event in events.drain(..) {
                self.pass_on(&event, &mut buffer);
            }
            for ask in asked {
                match ask {
                    Ask::CatchUp(number, _reply) => self.catch_up(number, &mut buffer),
                    Ask::End => until = until.or(Some(Moment::now() + END_MAX)),
                }
            }
            self.pass_on_what_waits(until.is_some());
            if until.is_some_and(|until| idle || until <= Moment::now()) {
                return;
            }
        }
    }

    fn wait(&self, events: &mut Vec<Event>, pause: Option<Duration>) {
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        // Fails only when a signal comes: the next turn waits again.
        let _ = epoll::wait(&self.epoll, spare_capacity(events), pause.as_ref());
    }

    /// How long nothing has to be done of itself.
    fn next_pause(&self) -> Option<Duration> {
        let next = self.horses.values().filter_map(|horse| horse.until).min();
        next.map(|until| until.since(Moment::now()))
    }

    fn pass_on(&mut self, event: &Event, buffer: &mut [u8]) {
        let (number, flags) = (event.data.u64(), event.flags);
        if number == WAKE {
            // Fails only when there is nothing to read.
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        } else if flags.contains(EventFlags::IN) {
            self.read(number, buffer);
        } else {
            self.close(number);
        }
    }

    /// Reads once and passes on whole lines. The message about a new pipe may still be on its way: then its
    /// event comes again.
    fn read(&mut self, number: u64, buffer: &mut [u8]) {
        let Some(horse) = self.horses.get_mut(&number) else { return };
        let count = lock(&horse.tail).read(buffer);
        if count == 0 {
            return self.close(number);
        }
        horse.held.extend_from_slice(&buffer[..count]);
        let end = horse.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = if LINE_BYTES_MAX < horse.held.len() - end { horse.held.len() } else { end };
        if 0 < end {
            write(&self.out, &horse.held[..end]);
            horse.held.drain(..end);
            horse.until = None;
        }
        if !horse.held.is_empty() {
            horse.until = horse.until.or(Some(Moment::now() + PART_OF_LINE_MAX));
        }
    }

    /// Nobody has the other end any more.
    fn close(&mut self, number: u64) {
        if let Some(horse) = self.horses.remove(&number) {
            lock(&horse.tail).pipe = None;
            write(&self.out, &horse.held);
        }
    }

    /// Reads what a pipe holds now.
    fn catch_up(&mut self, number: u64, buffer: &mut [u8]) {
        for _ in 0..CATCH_UP_READS_MAX {
            let horse = self.horses.get(&number);
            if horse.is_none_or(|horse| lock(&horse.tail).waiting() == 0) {
                return;
            }
            self.read(number, buffer);
        }
    }

    fn pass_on_what_waits(&mut self, all: bool) {
        let waits = |horse: &&mut Passing| horse.until.is_some();
        for horse in self.horses.values_mut().filter(waits) {
            if all || horse.until <= Some(Moment::now()) {
                write(&self.out, &horse.held);
                horse.held.clear();
                horse.until = None;
            }
        }
    }
}

/// Writes all of it, whatever time that takes. What cannot be written is gone: a full log stops no job.
fn write(out: impl AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(&out, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Whoever shares it with us has asked it not to block.
                let _ = poll(&mut [PollFd::new(&out, PollFlags::OUT)], None);
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;

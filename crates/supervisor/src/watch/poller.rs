//! The thread in which a watcher looks at the disk: a slow file system, or one that does not answer,
//! holds nobody else up.
//!
//! A look that finds something is repeated after a short pause, until one finds nothing more: a file
//! that is half written, or a tree that is half checked out, is still moving then. What moves for longer
//! is reported as unfinished.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::pace::{Cost, Pace};
use super::part::Part;
use super::{Drained, Extent, WatchError, Watcher};
use crate::clock::{self, Moment};

/// Between two looks, while things change.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);
/// Looks in a row that may each find something.
const SETTLE_LOOKS_MAX: usize = 10;
/// Looks that tell what one costs.
const MEASURES_MAX: usize = 3;

/// What the thread tells.
#[derive(Debug)]
pub enum Told {
    /// The answer to a look that was asked for.
    Looked(Looked),
    /// It has looked by itself, and something has changed: a look is to be asked for.
    Noticed,
}

/// What a look has found.
#[derive(Debug)]
pub struct Looked {
    /// As a drain reports it.
    pub found: Result<Drained, WatchError>,
    /// What the first look has cost.
    pub cost: Cost,
    /// How many files count.
    pub files: usize,
}

#[derive(Debug)]
enum Order {
    Look,
    Adopt(Vec<Part>),
    AlsoWatch(BTreeSet<PathBuf>),
    Heed(Option<BTreeSet<PathBuf>>),
}

/// The owner of the thread, which ends after its current look when this is dropped. Nobody waits for
/// that: the file system may never answer.
#[derive(Debug)]
pub struct Poller {
    orders: mpsc::Sender<Order>,
}

impl Poller {
    /// Starts the thread, in which `tell` is called. Where it looks by itself, it does so as often as
    /// `interval` says, if that is cheap enough.
    pub fn start(
        mut watcher: Watcher,
        interval: Duration,
        tell: impl Fn(Told) + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        thread::Builder::new().name("watch-poll".to_owned()).spawn(move || {
            let mut hurried = Pace::new(interval);
            loop {
                let pause = if watcher.heeds() { hurried.interval() } else { Duration::MAX };
                let order = match ordered.recv_timeout(pause) {
                    Ok(order) => order,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        let (news, cost) = look_once(&mut watcher, Extent::Heeded);
                        hurried.note(cost);
                        if !matches!(news, Ok(false)) {
                            thread::sleep(SETTLE_PAUSE);
                            tell(Told::Noticed);
                        }
                        continue;
                    }
                };
                match order {
                    Order::Look => tell(Told::Looked(look(&mut watcher))),
                    Order::Adopt(parts) => adopt(&mut watcher, parts),
                    Order::AlsoWatch(files) => watcher.also_watch(files),
                    Order::Heed(files) => watcher.heed(files),
                }
            }
        })?;
        Ok(Self { orders })
    }

    /// Asks for a look. It sees everything that was saved before this call.
    pub fn look(&self) {
        self.order(Order::Look);
    }

    /// Leaves folders to it, from the next look on.
    pub fn adopt(&self, parts: Vec<Part>) {
        self.order(Order::Adopt(parts));
    }

    /// As [`Watcher::also_watch`], from the next look on.
    pub fn also_watch(&self, files: BTreeSet<PathBuf>) {
        self.order(Order::AlsoWatch(files));
    }

    /// It is to look by itself between the looks that are asked for, at what is not passed over
    /// ([`Extent::Heeded`]); or, without files, not to.
    pub fn heed(&self, files: Option<BTreeSet<PathBuf>>) {
        self.order(Order::Heed(files));
    }

    fn order(&self, order: Order) {
        // A thread that is gone gives no answer, which is noticed by who waits for one.
        let _gone = self.orders.send(order);
    }
}

fn adopt(watcher: &mut Watcher, parts: Vec<Part>) {
    for part in parts {
        // What cannot be entered now is tried again by the next look, which tells why it cannot.
        let _later = watcher.adopt(part);
    }
}

/// Finds out what looks cost, more than once if the first may have been disturbed. What they find is for
/// the next.
pub fn measure(watcher: &mut Watcher, pace: &mut Pace) {
    for _ in 0..MEASURES_MAX {
        pace.note(look_once(watcher, Extent::Everything).1);
        if pace.misses().is_none() {
            break;
        }
    }
}

fn look_once(watcher: &mut Watcher, extent: Extent) -> (Result<bool, WatchError>, Cost) {
    let (began, busy) = (Moment::now(), clock::thread_cpu());
    let news = watcher.look_at(extent);
    let cpu = clock::thread_cpu().saturating_sub(busy);
    (news, Cost { took: Moment::now().since(began), cpu })
}

/// Looks at everything, until nothing changes any more.
pub fn look(watcher: &mut Watcher) -> Looked {
    let (mut news, cost) = look_once(watcher, Extent::Everything);
    for _ in 1..SETTLE_LOOKS_MAX {
        if !matches!(news, Ok(true)) {
            break;
        }
        thread::sleep(SETTLE_PAUSE);
        news = watcher.look();
    }
    let found = news.map(|moving| {
        if moving {
            watcher.is_moving();
        }
        watcher.report()
    });
    Looked { found, cost, files: watcher.file_count() }
}

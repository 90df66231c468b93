//! The embedded Redis of a worker (`-u embedded`), and the thread that keeps it alive.
//!
//! A server that dies is started again at once on its data, where its clients look for it: then after pauses,
//! and not for ever. For the worker that is a lost connection which comes back.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use embedded::redis::{Options, RedisServer, ServerBinary, sync, wait_for_end};
use supervisor::clock::Moment;
use supervisor::event::Event;
use supervisor::reload::backoff::{Attempt, Backoff};
use supervisor::settings::Companion;
use tokio::sync::watch;

use crate::console::Console;
use crate::error::Error;

/// One that has answered for so long was sound: its death is the first of a row. All workers wait for it, so
/// that a pause is only for one that does not stay up.
const SOUND_AFTER: Duration = Duration::from_secs(2);
/// How much of what was written may be lost with the power of the machine.
const SYNC_EVERY: Duration = Duration::from_secs(1);
const OPTIONS: Options = Options { append_only: true };

/// A server in use, whoever started it. Left when dropped; the last one to leave stops it.
pub(crate) struct EmbeddedRedis {
    slot: Slot,
    url: String,
    folder: PathBuf,
    lost: watch::Receiver<bool>,
    /// The threads stop when these are dropped.
    stop: Vec<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// The server; empty while it is started again.
type Slot = Arc<Mutex<Option<RedisServer>>>;

impl EmbeddedRedis {
    /// Starts the server of this folder, or joins it.
    pub(crate) fn start(
        binary: ServerBinary,
        folder: &Path,
        restarts_max: u32,
        console: Arc<Console>,
    ) -> Result<Self, Error> {
        let server = RedisServer::start(&binary, folder, OPTIONS)?;
        let (url, folder) = (server.url().to_owned(), server.folder().to_owned());
        let slot = Slot::new(Mutex::new(Some(server)));
        let (stop, stopped) = mpsc::channel();
        let (give_up, lost) = watch::channel(false);
        let keeper = Keeper {
            binary,
            slot: slot.clone(),
            stopped,
            give_up,
            backoff: Backoff::new(restarts_max),
            console,
        };
        let of = folder.clone();
        let keeper = spawn(move || keeper.keep(&of))?;
        let (stop_sync, stopped) = mpsc::channel();
        let of = folder.clone();
        spawn(move || keep_synced(&of, &stopped))?;
        Ok(Self { slot, url, folder, lost, stop: vec![stop, stop_sync], keeper: Some(keeper) })
    }

    /// The address for clients, with the password. It stays the same.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The folder it works in.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the engine is told of it.
    pub(crate) fn companion(&self) -> Companion {
        Companion { name: "the embedded Redis".to_owned(), lost: self.lost.clone() }
    }
}

impl Drop for EmbeddedRedis {
    fn drop(&mut self) {
        self.stop.clear();
        match held(&self.slot).take() {
            // The keeper ends with the server, or with this process if others still use it.
            Some(server) => drop(server),
            // It is being started, and the keeper stops it.
            None => {
                self.keeper.take().map(JoinHandle::join);
            }
        }
    }
}

/// Waits for the end of the server and starts it again.
struct Keeper {
    binary: ServerBinary,
    slot: Slot,
    /// Says nothing; closed when the worker ends.
    stopped: mpsc::Receiver<()>,
    give_up: watch::Sender<bool>,
    backoff: Backoff,
    console: Arc<Console>,
}

impl Keeper {
    fn keep(mut self, folder: &Path) {
        loop {
            let started = Moment::now();
            if let Err(error) = wait_for_end(folder) {
                return self.warn(format!("the embedded Redis is not watched over: {error}"));
            }
            let Some(dead) = held(&self.slot).take() else { return };
            let Some(next) = self.replace(&dead, started) else { return };
            dead.bury();
            let mut slot = held(&self.slot);
            if self.stopped.try_recv() == Err(TryRecvError::Disconnected) {
                // Dropping it stops it.
                return;
            }
            *slot = Some(next);
        }
    }

    /// Starts another; gives none when the worker ends, or when it does not stay up.
    fn replace(&mut self, dead: &RedisServer, started: Moment) -> Option<RedisServer> {
        let mut what = "the embedded Redis has died".to_owned();
        if SOUND_AFTER <= Moment::now().since(started) {
            self.backoff.reset();
        }
        loop {
            let now = Moment::now();
            let pause = match self.backoff.died(now, Duration::ZERO) {
                Attempt::AtOnce => {
                    self.warn(format!("{what}; it is started again"));
                    None
                }
                Attempt::At(at) => {
                    let pause = at.since(now);
                    let seconds = pause.as_secs_f64();
                    self.warn(format!("{what}; the next attempt is in {seconds:.1} s"));
                    Some(pause)
                }
                Attempt::Never => {
                    let deaths = self.backoff.deaths();
                    self.warn(format!(
                        "{what}; that were {deaths} times in a row (--max-restarts)"
                    ));
                    self.give_up.send_replace(true);
                    return None;
                }
            };
            let stopped = match pause {
                Some(pause) => {
                    self.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected)
                }
                None => self.stopped.try_recv() == Err(TryRecvError::Disconnected),
            };
            if stopped {
                return None;
            }
            match dead.start_again(&self.binary, OPTIONS) {
                Ok(next) => return Some(next),
                Err(error) => {
                    what = format!("the embedded Redis could not be started again: {error}");
                }
            }
        }
    }

    fn warn(&self, text: String) {
        self.console.print(&Event::Warning(text));
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let what = "start a thread for the embedded Redis";
    thread::Builder::new()
        .name("embedded-redis".to_owned())
        .spawn(work)
        .map_err(|error| Error::Io { what, error })
}

/// What the server has written is on the disk soon, also if the machine loses its power.
fn keep_synced(folder: &Path, stopped: &mpsc::Receiver<()>) {
    while stopped.recv_timeout(SYNC_EVERY) == Err(RecvTimeoutError::Timeout) {
        // A disk that is full or broken is said by the server, which refuses to write then.
        sync(folder).ok();
    }
}

/// What one of the two threads does with it is never half done.
fn held(slot: &Slot) -> MutexGuard<'_, Option<RedisServer>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

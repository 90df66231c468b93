//! Installed packages change: the base is renewed once that is done, and serves on until then.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::Supervisor;
use crate::clock::Moment;
use crate::event::Event;
use crate::forkserver::readiness;
use crate::reload::learned::LearnedImports;
use crate::reload::machine::{Cause, Input};
use crate::reload::packages::Installed;
use crate::settings::{Isolation, PACKAGES_CHANGE_MAX, PACKAGES_QUIET, Settings};

/// Events that are read at a time; only that there are any counts.
const BUFFER_BYTES: usize = 4096;
/// Folders that packages are installed in, wherever they are.
const PACKAGE_FOLDERS: [&str; 2] = ["site-packages", "dist-packages"];

/// The folders of packages, and what stood in them last.
#[derive(Debug)]
pub(super) struct Environment {
    folders: Vec<PathBuf>,
    installed: Installed,
    /// Tells that something in the folders changed; none where nothing is to be noticed.
    events: Option<AsyncFd<OwnedFd>>,
    /// The change that is going on: when to look, and until when an installer is waited for.
    changing: Option<(Moment, Moment)>,
}

/// A look at a change of the packages.
enum Look {
    /// An installer is not done.
    Unfinished,
    /// This is what changed.
    Over(Vec<String>),
}

impl Environment {
    /// Looks at what is installed for an interpreter with this import path.
    pub(super) fn new(import_path: &[PathBuf]) -> Self {
        let is_for_packages = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| PACKAGE_FOLDERS.iter().any(|known| name == *known))
        };
        let folders: Vec<_> = import_path.iter().filter(is_for_packages).cloned().collect();
        let installed = Installed::look(&folders);
        Self { folders, installed, events: None, changing: None }
    }

    /// Notices changes from now on.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR;
        for folder in self.folders.iter().filter(|folder| folder.is_dir()) {
            inotify::add_watch(&descriptor, folder, flags)?;
        }
        self.events = Some(readiness::register(descriptor)?);
        // What came before the watch was there.
        self.installed = Installed::look(&self.folders);
        Ok(())
    }

    /// The folders of packages.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    pub(super) fn events(&self) -> Option<&AsyncFd<OwnedFd>> {
        self.events.as_ref()
    }

    /// What was learned with these packages, or others.
    pub(super) fn learned(&self, settings: &Settings) -> LearnedImports {
        let interpreter = settings.interpreter.identity();
        let mut learned =
            LearnedImports::load(&settings.project_cache, &interpreter, &settings.preload);
        learned.packages_are(&self.installed.fingerprint());
        learned
    }

    /// Something in the folders changed: what, is looked at when it is over.
    fn note(&mut self, now: Moment) {
        let mut buffer = [0; BUFFER_BYTES];
        while let Some(events) = &self.events
            && rustix::io::read(events.get_ref(), &mut buffer).is_ok_and(|count| 0 < count)
        {
        }
        let until = self.changing.map_or(now + PACKAGES_CHANGE_MAX, |(_, until)| until);
        self.changing = Some((now + PACKAGES_QUIET, until));
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.changing.map(|(look, _)| look)
    }

    /// Looks at a change, if it is time to.
    fn look(&mut self, now: Moment) -> Option<Look> {
        let (_, until) = self.changing.take_if(|(look, _)| *look <= now)?;
        let installed = Installed::look(&self.folders);
        if installed.is_unfinished(&self.installed) && now < until {
            // Its record is written into a folder that is not watched.
            self.changing = Some((now + PACKAGES_QUIET, until));
            return Some(Look::Unfinished);
        }
        let changes = installed.changes_since(&self.installed);
        self.installed = installed;
        Some(Look::Over(changes))
    }
}

impl Supervisor {
    /// With reloading on, notices from now on when packages are installed or removed.
    pub(super) fn watch_packages(&mut self) {
        if self.settings.reload.is_none() {
            return;
        }
        if let Err(error) = self.environment.watch() {
            self.warn(format!("installed packages cannot be watched: {error}"));
        }
    }

    pub(super) fn packages_are_changing(&mut self) {
        self.environment.note(Moment::now());
    }

    /// Renews what was imported of them, once the change is over.
    pub(super) fn take_changed_packages(&mut self, now: Moment) {
        let changes = match self.environment.look(now) {
            None => return,
            Some(Look::Unfinished) => {
                let text = "packages are changing: their installer is not done";
                return self.report(&Event::Detail(text.to_owned()));
            }
            Some(Look::Over(changes)) if changes.is_empty() => return,
            Some(Look::Over(changes)) => changes,
        };
        self.report(&Event::PackagesChanged { changes });
        self.forgive_bases();
        self.learned.packages_are(&self.environment.installed.fingerprint());
        self.save_learned();
        match self.settings.isolation {
            // Its generation follows.
            Isolation::Fork | Isolation::Reuse(_) => self.base_outdated = true,
            Isolation::Spawn => self.drive(Input::Wanted(Cause::learned(now))),
        }
    }
}

//! Reloading when one file changes, and only then.
//!
//! Source files are watched as ever: so it is known what changed, late imports of jobs see the tree as
//! it was, and people who ask for details are told why nothing is reloaded. What is loaded without a
//! change of the file, because something was learned or has died, is the tree as it was when the file
//! had changed. When that is a symlink to a release folder, import paths and watching follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Supervisor;
use super::watching::Watching;
use crate::clock::Moment;
use crate::event::Event;
use crate::forkserver::messages::Release;
use crate::reload::machine::{Cause, Input};
use crate::reload::marker::{MARKER_INTERVAL, Marker};
use crate::reload::relevance;
use crate::reload::sources::Position;
use crate::settings::Settings;
use crate::watch::Change;

/// The file, and what waits for it.
#[derive(Debug)]
pub(super) struct Marked {
    marker: Marker,
    /// The release at the start, if there are such.
    first_release: Option<PathBuf>,
    /// The one that is watched.
    watched_release: Option<PathBuf>,
    next_look: Moment,
    /// Since when it is another; what changed with it may not be at rest yet.
    changed: Option<Moment>,
    /// Source files that changed, and are not loaded.
    left: BTreeSet<PathBuf>,
    /// Where in the manifest the tree was that was loaded last.
    deployed: Option<Position>,
}

impl Marked {
    /// None where every change of code is a reload.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        let path = settings.reload.as_ref().and_then(|reload| reload.on.clone())?;
        let marker = Marker::new(path);
        let release = marker.release().cloned();
        Some(Self {
            first_release: release.clone(),
            watched_release: release,
            next_look: Moment::now() + MARKER_INTERVAL,
            changed: None,
            left: BTreeSet::new(),
            deployed: None,
            marker,
        })
    }

    pub(super) fn next_look(&self) -> Moment {
        self.next_look
    }
}

impl Supervisor {
    pub(super) fn look_at_marker_if_due(&mut self, now: Moment) {
        if self.marked.as_ref().is_some_and(|marked| marked.next_look <= now) {
            self.look_at_marker();
        }
    }

    /// Looks whether the file has changed, if there is one that counts.
    pub(super) fn look_at_marker(&mut self) {
        let Some(marked) = &mut self.marked else { return };
        let now = Moment::now();
        marked.next_look = now + MARKER_INTERVAL;
        if marked.marker.has_changed() {
            marked.changed.get_or_insert(now);
            self.drain_watcher();
            self.watching.look_again(now);
        }
    }

    /// Loads the code for which the file has changed, once nobody writes any of it.
    pub(super) fn take_marker(&mut self) {
        if self.is_writing() {
            return;
        }
        let Some(marked) = &mut self.marked else { return };
        let Some(seen) = marked.changed.take() else { return };
        let itself = BTreeSet::from([marked.marker.path().to_owned()]);
        let saved = relevance::saved(&itself, seen);
        let files: BTreeSet<_> = itself.union(&marked.left).cloned().collect();
        self.follow_release();
        self.report(&Event::ChangeSeen { files: files.clone() });
        self.drive(Input::Wanted(Cause { saved, ..Cause::changed(files, seen) }));
    }

    /// Whether files that are being written do not matter, because nothing is loaded for them.
    pub(super) fn waits_for_marker(&self) -> bool {
        self.marked.as_ref().is_some_and(|marked| marked.changed.is_none())
    }

    /// Whether changed sources are left until the file changes; says so, of each.
    pub(super) fn left_for_marker(&mut self, changed: &BTreeSet<PathBuf>) -> bool {
        let Some(marked) = &mut self.marked else { return false };
        marked.left.extend(changed.iter().cloned());
        let file = marked.marker.path().display().to_string();
        for path in changed {
            let text = format!("no reload for {}: {file} has not changed", path.display());
            self.report(&Event::Detail(text));
        }
        true
    }

    /// All of them; they are loaded now.
    pub(super) fn take_left_for_marker(&mut self) -> BTreeSet<PathBuf> {
        self.marked.as_mut().map(|marked| std::mem::take(&mut marked.left)).unwrap_or_default()
    }

    /// What loads has read the disk, as it is known now.
    pub(super) fn note_deployed(&mut self) {
        let from_disk = self.loading.as_ref().is_some_and(|loading| loading.position.is_none());
        if let (true, Some(marked), Some(sources)) = (from_disk, &mut self.marked, &self.sources) {
            marked.deployed = Some(sources.settled());
        }
    }

    /// Where in the manifest the code is that is to run; none: it is what is on disk.
    pub(super) fn deployed(&self) -> Option<Position> {
        self.marked.as_ref()?.deployed
    }

    /// The release that is to run, and the one that all settings are of.
    pub(super) fn release(&self) -> Option<Release> {
        let marked = self.marked.as_ref()?;
        Some(Release {
            here: self.settings.control.here.clone(),
            link: marked.marker.link()?.to_owned(),
            at: marked.first_release.clone()?,
            now: marked.marker.release()?.clone(),
        })
    }

    /// Says what does not follow a release: code that lies elsewhere, and packages, which are in the base.
    pub(super) fn say_what_stays(&self) {
        let Some(Release { link, at, .. }) = self.release() else { return };
        let within = |path: &&PathBuf| path.starts_with(&at) || path.starts_with(&link);
        let is_marker = self.marked.as_ref().is_some_and(|marked| marked.marker.path() == link);
        if is_marker && !self.settings.roots.iter().any(|root| within(&root)) {
            self.warn(format!(
                "none of your code lies in {}, where {} leads: it is loaded from where it is now; start freshq there, or name it by --path",
                at.display(),
                link.display()
            ));
        }
        if let Some(folder) = self.environment.folders().iter().find(within) {
            self.warn(format!(
                "{} lies in a release: later ones run with its packages, until freshq is restarted; make the environment beside the releases",
                folder.display()
            ));
        }
    }

    /// The folder of the release that is to run.
    pub(super) fn release_now(&self) -> Option<PathBuf> {
        self.release().map(|release| release.now)
    }

    /// The folders of user code, in the release that is to run.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        let roots = self.settings.roots.iter();
        let Some(Release { at, now, .. }) = self.release() else { return roots.cloned().collect() };
        let moved =
            roots.map(|root| root.strip_prefix(&at).map_or(root.clone(), |rest| now.join(rest)));
        moved.collect()
    }

    /// Watches the folders of the release that is to run, and knows what is in them.
    fn follow_release(&mut self) {
        let now = self.release_now();
        let Some(marked) = self.marked.as_mut().filter(|marked| marked.watched_release != now)
        else {
            return;
        };
        marked.watched_release = now;
        let Some(reload) = &self.settings.reload else { return };
        let roots: Vec<_> = self.roots().into_iter().filter(|root| root.is_dir()).collect();
        let mut watching = match Watching::start(&roots, reload, &self.inputs_sender) {
            Ok(watching) => watching,
            Err(error) => return self.warn(format!("the new release is not watched: {error}")),
        };
        let files = watching.take_first_files();
        // They wait for new code in any case.
        for request in std::mem::replace(&mut self.watching, watching).take_waiting() {
            self.barrier.request(request);
        }
        self.take_sources(
            &files.into_iter().map(|file| (file, Change::Created)).collect::<BTreeMap<_, _>>(),
        );
        if let Some(sources) = &mut self.sources {
            sources.settle();
        }
    }
}

//! Reloading when one file changes, and only then.
//!
//! Source files are watched as ever: so it is known what changed, late imports of jobs see the tree as
//! it was, and people who ask for details are told why nothing is reloaded. What is loaded is the tree
//! as it was when the file had changed, also if it is loaded later, because something was learned or
//! has died. When the file is a symlink to a release folder, import paths and watching follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
    /// The one that is to run.
    release: Option<PathBuf>,
    next_look: Moment,
    /// Since when it is another; what changed with it may not be at rest yet.
    changed: Option<Moment>,
    /// Source files that changed, and are not loaded.
    left: BTreeSet<PathBuf>,
    /// Where in the manifest the tree is that is to run, once anything was loaded.
    deployed: Option<Position>,
}

impl Marked {
    /// None where every change of code is a reload.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        let marker = settings.reload.as_ref().and_then(|reload| reload.on.clone())?;
        let release = marker.release().cloned();
        Some(Self {
            first_release: release.clone(),
            release,
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
        self.deploy();
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

    /// All of them, if they are loaded now.
    pub(super) fn take_left_for_marker(&mut self, cause: &Cause) -> BTreeSet<PathBuf> {
        let marked = self.marked.as_mut().filter(|_| cause.concerns_code());
        marked.map(|marked| std::mem::take(&mut marked.left)).unwrap_or_default()
    }

    /// Somebody wants what is on disk to be loaded.
    pub(super) fn deploy_now(&mut self) {
        if self.marked.is_none() {
            return;
        }
        self.look_at_marker();
        self.take_marker();
        self.drain_watcher();
        self.deploy();
    }

    /// The tree as it is known now is to run. Until anything was loaded, that is the disk.
    fn deploy(&mut self) {
        if let (Some(marked), Some(sources)) = (&mut self.marked, &self.sources) {
            marked.deployed = marked.deployed.map(|_| sources.settled());
        }
    }

    /// What loads has read its tree: the disk as it is known now, unless it was told another.
    pub(super) fn note_tree(&mut self) {
        let (Some(loading), Some(sources)) = (&mut self.loading, &self.sources) else { return };
        let tree = loading.position.unwrap_or(sources.settled());
        loading.tree = Some(tree);
        if let Some(marked) = &mut self.marked {
            marked.deployed.get_or_insert(tree);
        }
    }

    /// Where in the manifest the code is that is to be loaded; none: it is what is on disk.
    pub(super) fn deployed(&self) -> Option<Position> {
        self.sources.as_ref().filter(|sources| sources.keeps_all())?;
        self.marked.as_ref()?.deployed
    }

    /// The file whose change is a reload, if there is only one.
    pub(super) fn marker(&self) -> Option<&Path> {
        self.marked.as_ref().map(|marked| marked.marker.path())
    }

    /// The release that is to run, and the one that all settings are of.
    pub(super) fn release(&self) -> Option<Release> {
        let marked = self.marked.as_ref()?;
        Some(Release {
            here: self.settings.control.here.clone(),
            link: marked.marker.link()?.to_owned(),
            at: marked.first_release.clone()?,
            now: marked.release.clone()?,
        })
    }

    /// Says what does not follow a release: code that lies elsewhere, and packages, which are in the base.
    pub(super) fn say_what_stays(&self) {
        let Some(Release { link, at, .. }) = self.release() else { return };
        let within = |path: &&PathBuf| path.starts_with(&at) || path.starts_with(&link);
        if self.marker() == Some(&link) && !self.settings.roots.iter().any(|root| within(&root)) {
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
        let Some(marked) = &mut self.marked else { return };
        let now = marked.marker.release().cloned();
        if now == std::mem::replace(&mut marked.release, now.clone()) {
            return;
        }
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

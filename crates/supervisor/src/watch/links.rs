//! Symlinks in the tree: what each leads to, and every place on the way.
//!
//! A link changes without an event of its own when something it leads through does: this is
//! how Kubernetes swaps a configuration (`settings.py -> ..data/settings.py`,
//! `..data -> ..2024_1`). So for each link all places on the way are remembered, and their
//! folders are watched.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};

use super::tree::below;

/// As many links in a row as the kernel follows.
const LINKS_MAX: usize = 40;

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Each link on the way, and what is at its end; if the way is broken, the place that is
    /// missing. Their folders are canonical.
    pub(super) places: BTreeSet<PathBuf>,
    /// The end of the way, as a canonical path.
    pub(super) end: Option<(PathBuf, Metadata)>,
}

/// Follows a path whose folder is canonical.
pub(super) fn resolve(link: &Path) -> Resolved {
    let mut places = BTreeSet::new();
    let broken = |places| Resolved { places, end: None };
    let (Some(folder), Some(name)) = (link.parent(), link.file_name()) else {
        return broken(places);
    };
    let mut here = folder.to_owned();
    let mut ahead: Vec<OsString> = vec![name.to_owned()];
    let mut followed = 0;
    while let Some(part) = ahead.pop() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(part);
        let Ok(target) = fs_err::read_link(&next) else {
            if next.symlink_metadata().is_err() {
                // What is missing may be the folder: then a file has its name.
                places.insert(if here.is_dir() { next } else { here });
                return broken(places);
            }
            here = next;
            continue;
        };
        places.insert(next);
        followed += 1;
        if followed > LINKS_MAX {
            return broken(places);
        }
        if target.has_root() {
            here = PathBuf::from("/");
        }
        ahead.extend(target.components().rev().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        }));
    }
    places.insert(here.clone());
    match here.symlink_metadata() {
        Ok(metadata) => Resolved { places, end: Some((here, metadata)) },
        Err(_) => broken(places),
    }
}

/// A symlink.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) places: BTreeSet<PathBuf>,
    /// Whether it counts as a file, so that writes to what it leads to are its own.
    pub(super) counts: bool,
    /// The folder it leads to, if it is one that is followed.
    pub(super) folder: Option<PathBuf>,
}

/// All symlinks of the tree.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<PathBuf, Link>,
    /// Which links lead through a place.
    through: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Links {
    pub(super) fn insert(&mut self, path: &Path, link: Link) {
        self.remove(path);
        for place in &link.places {
            self.through.entry(place.clone()).or_default().insert(path.to_owned());
        }
        self.links.insert(path.to_owned(), link);
    }

    pub(super) fn remove(&mut self, path: &Path) -> Option<Link> {
        let link = self.links.remove(path)?;
        for place in &link.places {
            if let Some(links) = self.through.get_mut(place) {
                links.remove(path);
                if links.is_empty() {
                    self.through.remove(place);
                }
            }
        }
        Some(link)
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.links.contains_key(path)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.links.keys()
    }

    /// The folder that a link leads to, if it is one that is followed.
    pub(super) fn folder(&self, link: &Path) -> Option<&Path> {
        self.links.get(link)?.folder.as_deref()
    }

    /// Links that lie in the folder or below it.
    pub(super) fn below(&self, top: &Path) -> Vec<PathBuf> {
        below(&self.links, top).cloned().collect()
    }

    /// Whether a link leads through exactly this place.
    pub(super) fn has_place(&self, place: &Path) -> bool {
        self.through.contains_key(place)
    }

    /// Links that lead through the place or through something below it.
    pub(super) fn through(&self, place: &Path) -> Vec<PathBuf> {
        below(&self.through, place)
            .filter_map(|key| self.through.get(key))
            .flatten()
            .cloned()
            .collect()
    }

    /// The folders in which something can happen to a link, and whether it counts as a file.
    pub(super) fn folders_on_the_way(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.links.values().flat_map(|link| {
            link.places.iter().filter_map(|place| Some((place.parent()?, link.counts)))
        })
    }

    /// The folders that links lead to.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        self.links.values().filter_map(|link| link.folder.clone()).collect()
    }

    /// Whether links lead from the roots to this folder or to one above it. Links in a circle
    /// that nothing leads to do not count.
    pub(super) fn reach(&self, roots: &[PathBuf], dir: &Path) -> bool {
        let mut reached: Vec<&Path> = roots.iter().map(PathBuf::as_path).collect();
        let mut next = 0;
        while let Some(&top) = reached.get(next) {
            next += 1;
            for path in below(&self.links, top) {
                let folder = self.links.get(path).and_then(|link| link.folder.as_deref());
                let Some(folder) = folder.filter(|folder| !reached.contains(folder)) else {
                    continue;
                };
                if dir.starts_with(folder) {
                    return true;
                }
                reached.push(folder);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_place_on_the_way_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs_err::create_dir_all(top.join("..1/deep")).unwrap();
        fs_err::write(top.join("..1/deep/a.py"), "").unwrap();
        symlink("..1", top.join("..data")).unwrap();
        symlink("./..data/deep/../deep/a.py", top.join("a.py")).unwrap();
        symlink(top.join("a.py"), top.join("b.py")).unwrap();
        let resolved = resolve(&top.join("b.py"));
        let places = ["..1/deep/a.py", "..data", "a.py", "b.py"].map(|name| top.join(name));
        assert_eq!(resolved.places, BTreeSet::from(places));
        assert_eq!(resolved.end.unwrap().0, top.join("..1/deep/a.py"));
    }

    #[test]
    fn a_broken_way_ends_at_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        symlink("gone/a.py", top.join("a.py")).unwrap();
        let resolved = resolve(&top.join("a.py"));
        assert_eq!(resolved.places, BTreeSet::from(["a.py", "gone"].map(|name| top.join(name))));
        assert!(resolved.end.is_none());
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        symlink("b", top.join("a")).unwrap();
        symlink("a", top.join("b")).unwrap();
        assert!(resolve(&top.join("a")).end.is_none());
    }

    #[test]
    fn links_in_a_circle_do_not_hold_each_other() {
        let mut links = Links::default();
        let mut lead = |from: &str, to: &str| {
            let link = Link { places: BTreeSet::new(), counts: false, folder: Some(to.into()) };
            links.insert(Path::new(from), link);
        };
        lead("/one/a", "/two");
        lead("/two/b", "/one");
        lead("/app/c", "/three");
        lead("/three/d", "/four");
        let reach = |dir: &str| links.reach(&["/app".into()], Path::new(dir));
        assert!(reach("/three") && reach("/four/deep"));
        assert!(!reach("/one") && !reach("/two"));
    }

    #[test]
    fn what_is_removed_leaves_no_place_behind() {
        let mut links = Links::default();
        let [path, place] = ["/app/a.py", "/data/x/a.py"].map(PathBuf::from);
        let places = BTreeSet::from([path.clone(), place.clone()]);
        links.insert(&path, Link { places, counts: true, folder: None });
        assert!(links.has_place(&place));
        assert_eq!(links.through(Path::new("/data")), std::slice::from_ref(&path));
        assert_eq!(links.below(Path::new("/app")), std::slice::from_ref(&path));
        links.remove(&path);
        assert!(!links.has_place(&place) && links.through(Path::new("/")).is_empty());
        assert_eq!(links.folders_on_the_way().count(), 0);
    }
}

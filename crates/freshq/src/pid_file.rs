//! The file with our process id, which process managers read.

use std::path::{Path, PathBuf};

use crate::env_vars;
use crate::error::Error;

/// Removes the file at the end, unless another process has written its own id there meanwhile.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes it.
    pub(crate) fn write(path: &Path) -> Result<Self, Error> {
        let path = expanded(path);
        fs_err::write(&path, content()).map_err(Error::PidFile)?;
        Ok(Self { path })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if fs_err::read_to_string(&self.path).is_ok_and(|there| there == content()) {
            // Nobody is left to be told.
            drop(fs_err::remove_file(&self.path));
        }
    }
}

/// As RQ writes it: the number alone.
fn content() -> String {
    std::process::id().to_string()
}

/// With the home folder for `~`, which a shell leaves alone in `--pid=~/file`.
fn expanded(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), env_vars::get(env_vars::HOME)) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_path_buf(),
    }
}

//! Where freshq keeps what it can make again: one folder per user, in it one per project.
//!
//! Both are created on demand and private to their owner (mode 0700). [`cache_folder`] cannot fail:
//! where the usual place cannot be used it answers with a private temporary folder, so that a
//! read-only or missing home is no reason not to work.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf, absolute};

use fs_err as fs;
use rustix::fs::{Access, access};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The mode of every folder made here: its owner and nobody else.
const PRIVATE_MODE: u32 = 0o700;
/// Longest part of a project's own name that goes into the name of its folder.
const PROJECT_NAME_BYTES_MAX: usize = 40;

/// Returns the cache folder of this user and creates it.
///
/// The first of these: `FRESHQ_CACHE_DIR`; `freshq` in `XDG_CACHE_HOME`; `.cache/freshq` in `HOME`;
/// a private folder `freshq-<uid>` among the temporary files when there is no home or it cannot be
/// written.
pub fn cache_folder() -> PathBuf {
    choose(&|name| std::env::var_os(name), &std::env::temp_dir())
}

/// Returns the folder of one project, made from its name and its path, and creates it.
///
/// Two names of the same folder (a symbolic link, a relative path) lead to the same project folder.
pub fn project_folder(project: &Path) -> PathBuf {
    let folder = cache_folder().join("projects").join(project_name(project));
    // A failure shows at the first use, with the path in the message.
    create_private(&folder).ok();
    folder
}

/// The folders in which the control sockets of this user's workers may be, the usual one first.
///
/// They are not created. There are several because a worker may run with another environment than
/// whoever looks for it, and because a path that is too long for a socket is of no use.
pub fn socket_folders() -> Vec<PathBuf> {
    let name = format!("freshq-{}", rustix::process::getuid().as_raw());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|folder| folder.is_absolute());
    let mut folders = vec![cache_folder().join("run")];
    folders.extend(runtime.map(|folder| folder.join("freshq")));
    folders.push(std::env::temp_dir().join(name).join("run"));
    folders.dedup();
    folders
}

/// Short name of a project in the names of its control sockets.
pub fn project_mark(project: &Path) -> String {
    hash8(canonical(project).as_os_str().as_bytes())
}

/// Whether a folder belongs to this user, and nobody else may enter it.
pub fn is_private(folder: &Path) -> bool {
    let owner = rustix::process::getuid().as_raw();
    fs::symlink_metadata(folder).is_ok_and(|found| {
        found.is_dir() && found.uid() == owner && found.mode() & 0o777 == PRIVATE_MODE
    })
}

/// Creates a folder and its parents, private to the owner. An existing folder is left as it is.
pub fn create_private(folder: &Path) -> io::Result<()> {
    make_folder(folder, true)
}

/// Creates a new, empty, private folder with a short name among the temporary files.
///
/// Short, because the path of a Unix socket in it may have only about a hundred bytes.
pub fn temporary_folder() -> io::Result<PathBuf> {
    let unique = Uuid::new_v4().simple().to_string();
    let name = format!("freshq-{}", &unique[..12]);
    let folder = std::env::temp_dir().join(name);
    // Not with parents: then it fails if the name is taken, so the folder is certainly ours.
    make_folder(&folder, false)?;
    Ok(folder)
}

/// First 8 hexadecimal digits of a SHA-256, to tell names apart.
pub(crate) fn hash8(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

fn make_folder(folder: &Path, parents: bool) -> io::Result<()> {
    let made = DirBuilder::new().recursive(parents).mode(PRIVATE_MODE).create(folder);
    let named =
        |error: io::Error| format!("failed to create the folder `{}`: {error}", folder.display());
    made.map_err(|error| io::Error::new(error.kind(), named(error)))
}

fn choose(variable: &dyn Fn(&str) -> Option<OsString>, temporary: &Path) -> PathBuf {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = set("FRESHQ_CACHE_DIR") {
        // What the user named is used as it is; if it cannot be, the first write says so.
        create_private(&own).ok();
        return absolute(&own).unwrap_or(own);
    }
    // The XDG specification says to ignore a relative path.
    let xdg = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let home = set("HOME").filter(|path| path.is_absolute());
    let usual = [xdg.map(|xdg| xdg.join("freshq")), home.map(|home| home.join(".cache/freshq"))];
    let usable = |folder: &PathBuf| create_private(folder).is_ok() && is_writable(folder);
    usual.into_iter().flatten().find(usable).unwrap_or_else(|| temporary_cache(temporary))
}

/// The folder for users without a home: always the same one, if it is really theirs.
fn temporary_cache(temporary: &Path) -> PathBuf {
    let folder = temporary.join(format!("freshq-{}", rustix::process::getuid().as_raw()));
    // Anybody can create this name before us: then its owner or mode gives that away.
    if create_private(&folder).is_ok() && is_private(&folder) {
        return folder;
    }
    temporary_folder().unwrap_or(folder)
}

fn is_writable(folder: &Path) -> bool {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

fn canonical(project: &Path) -> PathBuf {
    let whole = absolute(project).unwrap_or_else(|_| project.to_owned());
    fs::canonicalize(&whole).unwrap_or(whole)
}

fn project_name(project: &Path) -> String {
    let canonical = canonical(project);
    let name: String = canonical
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '_' })
        .take(PROJECT_NAME_BYTES_MAX)
        .collect();
    let name = if name.is_empty() { "root" } else { name.as_str() };
    format!("{name}-{}", hash8(canonical.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// What `choose` answers with these variables; `{}` in a value stands for a fresh folder.
    fn check(variables: &[(&str, &str)], expected: &str) {
        let root = tempfile::tempdir().unwrap();
        let fill = |text: &str| text.replace("{}", root.path().to_str().unwrap());
        let lookup = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(fill(value)))
        };
        let folder = choose(&lookup, &root.path().join("tmp"));
        let uid = rustix::process::getuid().as_raw().to_string();
        assert_eq!(folder, PathBuf::from(fill(expected).replace("UID", &uid)));
        assert!(folder.is_dir());
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, PRIVATE_MODE);
    }

    #[test]
    fn the_first_variable_that_helps_is_used() {
        let home = ("HOME", "{}/home");
        let xdg = ("XDG_CACHE_HOME", "{}/xdg");
        check(&[("FRESHQ_CACHE_DIR", "{}/own"), xdg, home], "{}/own");
        check(&[("FRESHQ_CACHE_DIR", ""), xdg, home], "{}/xdg/freshq");
        check(&[("XDG_CACHE_HOME", "relative"), home], "{}/home/.cache/freshq");
        check(&[home], "{}/home/.cache/freshq");
        check(&[], "{}/tmp/freshq-UID");
        // Below a device nothing can be created, not even by root.
        check(&[("HOME", "/dev/null")], "{}/tmp/freshq-UID");
    }

    #[test]
    fn a_temporary_cache_that_others_can_read_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let taken = temporary_cache(root.path());
        fs::set_permissions(&taken, std::fs::Permissions::from_mode(0o755)).unwrap();
        let other = temporary_cache(root.path());
        assert_ne!(other, taken);
        assert!(is_private(&other));
        fs::remove_dir(other).unwrap();
    }

    #[test]
    fn a_project_has_one_folder_whatever_it_is_called() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("my project");
        fs::create_dir(&real).unwrap();
        symlink(&real, root.path().join("link")).unwrap();
        let name = project_name(&real);
        assert!(name.starts_with("my_project-"), "{name}");
        assert_eq!(name.len(), "my_project-".len() + 8);
        assert_eq!(name, project_name(&root.path().join("link")));
        assert_ne!(name, project_name(root.path()));
        assert!(project_name(Path::new("/")).starts_with("root-"));
    }
}

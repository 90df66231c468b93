//! Which file systems are mounted where, as the kernel's table of mounts says it.
//!
//! The name of a file system tells whether events can be trusted there: inotify knows what this
//! kernel does, so it is silent about changes that another machine, or the host of a virtual
//! machine, makes. A name that is not known here counts as one that tells; the sweep
//! (`sweep.rs`) finds out if it does not.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const TABLE: &str = "/proc/self/mountinfo";

/// File systems that change without an event: network, host of a virtual machine, user space.
const SILENT: &[&str] = &[
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "drvfs",
    "fakeowner",
    "fuse",
    "fuseblk",
    "gfs2",
    "glusterfs",
    "gpfs",
    "grpcfuse",
    "hostfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs3",
    "nfs4",
    "ocfs2",
    "orangefs",
    "osxfs",
    "prl_fs",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
    "wslfs",
];

/// Part of the name of a file system in user space; what follows says which one.
const USER_SPACE: &str = "fuse.";

/// Whether events tell of all that happens on a file system of this name.
pub(super) fn tells(kind: &str) -> bool {
    !SILENT.contains(&kind) && !kind.starts_with(USER_SPACE)
}

/// One mount.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    kind: String,
}

/// The table, as it was when it was read. Where several are mounted over each other, the last counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads the table; it is empty where there is none to read.
    pub(super) fn read() -> Self {
        Self::parse(&fs_err::read(TABLE).unwrap_or_default())
    }

    fn parse(table: &[u8]) -> Self {
        Self(table.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// Name of the file system that a canonical path is on, if it is known.
    pub(super) fn kind(&self, path: &Path) -> Option<&str> {
        let over = self.0.iter().enumerate().filter(|(_, mount)| path.starts_with(&mount.point));
        let nearest =
            over.max_by_key(|(index, mount)| (mount.point.components().count(), *index))?;
        Some(&nearest.1.kind)
    }

    /// Mount points below the folder that are no folders.
    pub(super) fn files_below(&self, top: &Path) -> Vec<PathBuf> {
        let points = self.0.iter().map(|mount| &mount.point);
        points.filter(|point| point.starts_with(top) && point.is_file()).cloned().collect()
    }
}

/// One line: numbers, root, mount point, options, some optional fields, a dash, the kind.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = plain(fields.nth(4)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount { point: point.into(), kind: String::from_utf8_lossy(kind).into_owned() })
}

/// The kernel writes spaces, tabs, line ends and backslashes as three octal digits.
fn plain(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:25 / /app rw,relatime shared:7 master:1 - 9p C:\134code rw,trans=fd
31 30 0:26 / /app/my\040data rw - tmpfs none rw
32 30 0:27 /x/settings.py /proc/self/status rw - fakeowner host rw
33 27 0:28 / /srv rw - overlay overlay rw
34 27 0:29 / /srv rw - fuse.sshfs me@there:/code rw
";

    #[test]
    fn the_nearest_and_latest_mount_counts() {
        let mounts = Mounts::parse(EXAMPLE.as_bytes());
        for (path, kind) in [
            ("/home/me", "ext4"),
            ("/app", "9p"),
            ("/app/pkg/a.py", "9p"),
            ("/app2", "ext4"),
            ("/app/my data/x", "tmpfs"),
            ("/srv/code", "fuse.sshfs"),
        ] {
            assert_eq!(mounts.kind(Path::new(path)), Some(kind), "{path}");
        }
        assert_eq!(Mounts::default().kind(Path::new("/")), None);
    }

    #[test]
    fn file_systems_of_others_are_silent() {
        for kind in ["9p", "drvfs", "fuse.grpcfuse", "fuse", "virtiofs", "nfs4", "cifs", "smb3"] {
            assert!(!tells(kind), "{kind}");
        }
        for kind in ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs", "something new"] {
            assert!(tells(kind), "{kind}");
        }
    }

    #[test]
    fn a_mounted_file_is_told_from_a_mounted_folder() {
        let mounts = Mounts::parse(EXAMPLE.as_bytes());
        assert_eq!(mounts.files_below(Path::new("/")), [PathBuf::from("/proc/self/status")]);
        assert!(mounts.files_below(Path::new("/app")).is_empty());
    }

    #[test]
    fn the_table_of_this_machine_can_be_read() {
        assert!(Mounts::read().kind(Path::new("/")).is_some());
    }
}

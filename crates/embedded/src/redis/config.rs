//! The configuration file of a private server.
//!
//! A file and not arguments, because everybody on the machine can read the arguments of a process.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;

use super::Options;
use super::address::Address;

/// Everything a server is told.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) folder: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
    pub(super) address: Address,
    pub(super) options: Options,
}

impl Config {
    /// The text of the file.
    ///
    /// `appendfsync everysec` would answer before it has written anything while a sync goes on, so that a
    /// killed server has lost what it said it had; [`super::sync`] syncs instead.
    pub(super) fn text(&self) -> String {
        let append_only = if self.options.append_only { "yes" } else { "no" };
        let mut text = format!(
            "bind 127.0.0.1\nport {}\nunixsocketperm 700\ndaemonize no\nsave \"\"\n\
             appendonly {append_only}\nappendfsync no\nloglevel notice\n",
            self.address.port,
        );
        let paths = [("unixsocket", &self.socket), ("dir", &self.folder), ("logfile", &self.log)];
        for (directive, path) in paths {
            writeln!(text, "{directive} {}", quoted(path.as_os_str())).ok();
        }
        if let Some(password) = &self.address.password {
            writeln!(text, "requirepass {}", quoted(OsStr::new(password))).ok();
        }
        text
    }
}

/// Writes a file that only its owner can read, as a whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    io::Write::write_all(&mut options.open(&unfinished)?, text.as_bytes())?;
    fs::rename(unfinished, path)
}

/// A value in double quotes, as Redis reads them, whatever bytes it has.
fn quoted(value: &OsStr) -> String {
    let mut text = String::from("\"");
    for &byte in value.as_bytes() {
        match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(byte)).ok(),
            b' '..=b'~' => write!(text, "{}", char::from(byte)).ok(),
            _ => write!(text, "\\x{byte:02x}").ok(),
        };
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(password: Option<&str>) -> Config {
        Config {
            folder: "/a folder".into(),
            socket: "/a folder/redis.sock".into(),
            log: "/a folder/redis.log".into(),
            address: Address { port: 7001, password: password.map(str::to_owned) },
            options: Options { append_only: true },
        }
    }

    #[test]
    fn the_file_names_every_decision() {
        let text = config(Some("secret")).text();
        for line in [
            "bind 127.0.0.1",
            "port 7001",
            "appendonly yes",
            "appendfsync no",
            "save \"\"",
            "unixsocket \"/a folder/redis.sock\"",
            "dir \"/a folder\"",
            "requirepass \"secret\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!config(None).text().contains("requirepass"));
    }

    #[test]
    fn odd_bytes_are_quoted() {
        assert_eq!(
            quoted(OsStr::from_bytes(b"a \"b\" \\ \xc3\xa9\n")),
            r#""a \"b\" \\ \xc3\xa9\x0a""#
        );
    }
}

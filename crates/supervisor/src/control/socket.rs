//! The control socket of a supervisor: a Unix socket in a folder that only its user can enter.
//!
//! A file `<project>-<machine>-<pid>-<number>.sock` for each supervisor. It takes its name when it
//! listens already, so whatever has such a name and refuses a connection is dead, and is removed:
//! unless it may belong to another machine that shares the folder.
//!
//! Limits: the length of a request, how long a client may be silent or not read its answer, and how
//! many there are at a time.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded::cache::{create_private, is_private};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Answer, Asked, Request};
use crate::clock::Moment;
use crate::input::Input;

/// Longest path of a Unix socket.
pub const PATH_BYTES_MAX: usize = 107;
/// Longest request.
pub const REQUEST_BYTES_MAX: usize = 4096;
/// Clients at a time.
pub const CLIENTS_MAX: usize = 16;
/// How long a client may take to say what it wants, and to read the answer.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const EXTENSION: &str = "sock";

/// A socket that listens; its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed it before has done the same.
        drop(fs_err::remove_file(&self.0));
    }
}

impl ControlSocket {
    /// Listens in a folder, which is created and has to be private. Call within a runtime.
    pub fn listen(folder: &Path, project: &str) -> io::Result<Self> {
        // Process ids are used again, also by another container at the same time.
        let number = Moment::now().nanos() & 0xff_ffff;
        let pid = std::process::id();
        let name = format!("{project}-{}-{pid}-{number:06x}.{EXTENSION}", Machine::this().mark());
        create_private(folder)?;
        if !is_private(folder) {
            return Err(io::Error::other("others may enter this folder, or it is not yours"));
        }
        let unnamed = SocketFile(folder.join(format!(".{name}")));
        if PATH_BYTES_MAX < unnamed.0.as_os_str().len() {
            let text = format!("the path {} is too long for a socket", unnamed.0.display());
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, text));
        }
        let listener = UnixListener::bind(&unnamed.0)?;
        let file = SocketFile(folder.join(name));
        fs_err::rename(&unnamed.0, &file.0)?;
        Ok(Self { listener, file })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.file.0
    }

    /// Answers clients for as long as the loop takes requests.
    pub(crate) async fn serve(self, inputs: mpsc::Sender<Input>) {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) if clients.len() < CLIENTS_MAX => {
                        clients.spawn(attend(stream, inputs.clone()));
                    }
                    Ok((stream, _)) => turn_away(&stream),
                    // Out of descriptors, most likely; others close some.
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }
}

/// Says in what fits into an empty buffer that there are too many.
fn turn_away(stream: &UnixStream) {
    let answer = Answer::Error(format!("{CLIENTS_MAX} others are being answered; ask again"));
    drop(stream.try_write(&line(&answer)));
}

/// One client, one request.
async fn attend(stream: UnixStream, inputs: mpsc::Sender<Input>) {
    let (mut from, to) = stream.into_split();
    match tokio::time::timeout(SILENCE_MAX, read_request(&mut from)).await {
        Ok(Ok(Some(request))) => {
            let (reply, answered) = oneshot::channel();
            if inputs.send(Input::Asked(Asked { request, reply })).await.is_err() {
                return;
            }
            tokio::select! {
                // The loop has ended: so does the connection.
                answer = answered => if let Ok(answer) = answer { send(to, &answer).await },
                () = hang_up(&mut from) => {}
            }
        }
        Ok(Ok(None)) => {}
        Ok(Err(why)) => send(to, &Answer::Error(why)).await,
        Err(_) => {
            let limit = SILENCE_MAX.as_secs();
            send(to, &Answer::Error(format!("no request came within {limit} s"))).await;
        }
    }
}

/// The request of a client; none if it hung up without one.
async fn read_request(from: &mut OwnedReadHalf) -> Result<Option<Request>, String> {
    let mut said = Vec::new();
    let mut from = BufReader::new(from.take(REQUEST_BYTES_MAX as u64));
    from.read_until(b'\n', &mut said).await.map_err(|error| error.to_string())?;
    if said.is_empty() {
        return Ok(None);
    }
    if said.len() == REQUEST_BYTES_MAX {
        return Err(format!("a request has fewer than {REQUEST_BYTES_MAX} bytes"));
    }
    serde_json::from_slice(&said).map(Some).map_err(|error| {
        format!("this is no request: {error}; one is a line like {{\"ask\":\"status\"}}")
    })
}

/// Waits until a client has hung up; more that it says is not listened to.
async fn hang_up(from: &mut OwnedReadHalf) {
    let mut buffer = [0; 256];
    while from.read(&mut buffer).await.is_ok_and(|count| 0 < count) {}
}

async fn send(mut to: OwnedWriteHalf, answer: &Answer) {
    // A client that does not read its answer does not get it.
    drop(tokio::time::timeout(SILENCE_MAX, to.write_all(&line(answer))).await);
}

fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The sockets in a folder that may be listened to, of all projects or of one. Those of dead
/// supervisors are removed.
pub fn find(folder: &Path, project: Option<&str>) -> Vec<PathBuf> {
    // Whoever can write there could answer for somebody else.
    if !is_private(folder) {
        return Vec::new();
    }
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        Name::of(path).is_some_and(|name| {
            project.is_none_or(|project| name.project == project) && !is_dead(path, name)
        })
    });
    found.sort();
    found
}

/// Whether nobody listens any more; then the file is removed, if it is certainly of this machine.
fn is_dead(path: &Path, name: Name<'_>) -> bool {
    let refused = StdUnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if refused && Machine::this().is(name.machine) {
        drop(SocketFile(path.to_owned()));
    }
    refused
}

/// The parts of the name of a socket.
#[derive(Clone, Copy, Debug)]
struct Name<'a> {
    project: &'a str,
    machine: &'a str,
    pid: u32,
}

impl<'a> Name<'a> {
    fn of(path: &'a Path) -> Option<Self> {
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            return None;
        }
        let mut parts = path.file_stem()?.to_str()?.split('-');
        let (project, machine, pid) = (parts.next()?, parts.next()?, parts.next()?);
        (!project.starts_with('.')).then_some(Self { project, machine, pid: pid.parse().ok()? })
    }
}

/// The process whose socket this is.
pub fn pid_of(path: &Path) -> Option<u32> {
    Name::of(path).map(|name| name.pid)
}

/// A machine, told by the name of its host and by its start: a container comes back with another
/// name, and a machine after another start.
struct Machine {
    host: String,
    boot: String,
}

impl Machine {
    fn this() -> Self {
        let short = |bytes: &[u8]| {
            let hash = Sha256::digest(bytes);
            format!("{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2])
        };
        let boot = fs_err::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { host: short(rustix::system::uname().nodename().to_bytes()), boot: short(&boot) }
    }

    fn mark(&self) -> String {
        format!("{}{}", self.host, self.boot)
    }

    /// Whether a mark is certainly of this machine.
    fn is(&self, mark: &str) -> bool {
        mark.starts_with(&self.host) || mark.ends_with(&self.boot)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder that only this user can enter, whatever files are made with here.
    fn private() -> tempfile::TempDir {
        let permissions = std::fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().permissions(permissions).tempdir().unwrap()
    }

    #[tokio::test]
    async fn a_socket_is_found_while_it_listens() {
        let folder = private();
        let socket = ControlSocket::listen(folder.path(), "abc").unwrap();
        assert_eq!(find(folder.path(), None), [socket.path()]);
        assert_eq!(find(folder.path(), Some("abc")), [socket.path()]);
        assert!(find(folder.path(), Some("ab")).is_empty());
        assert_eq!(pid_of(socket.path()), Some(std::process::id()));
        drop(socket);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_the_dead_left_is_removed_unless_it_may_be_of_another_machine() {
        let folder = private();
        let socket = ControlSocket::listen(folder.path(), "abc").unwrap();
        let name = socket.path().file_name().unwrap().to_str().unwrap().to_owned();
        let dead = folder.path().join(name.replace("abc", "dead"));
        let mark = Machine::this().mark();
        let far = folder.path().join(name.replace(&mark, "000000000000"));
        let came_back = format!("{}000000", Machine::this().host);
        let rebooted = folder.path().join(name.replace(&mark, &came_back));
        for path in [&dead, &far, &rebooted] {
            drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        }
        fs_err::write(folder.path().join("other"), "").unwrap();
        assert_eq!(find(folder.path(), None), [socket.path()]);
        let left = [&dead, &far, &rebooted].map(|path| path.exists());
        assert_eq!(left, [false, true, false]);
    }

    #[tokio::test]
    async fn a_folder_that_others_can_enter_is_not_used() {
        let folder = private();
        let socket = ControlSocket::listen(folder.path(), "abc").unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(folder.path(), open).unwrap();
        assert!(find(folder.path(), None).is_empty());
        assert!(ControlSocket::listen(folder.path(), "abc").is_err());
        drop(socket);
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_refused() {
        let folder = private();
        let long = folder.path().join("x".repeat(PATH_BYTES_MAX));
        let error = ControlSocket::listen(&long, "abc").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
    }

    #[test]
    fn requests_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<Request>(text).ok();
        assert_eq!(read(r#"{"ask":"status"}"#), Some(Request::Status));
        assert_eq!(read(r#" {"ask":"reload"} "#), Some(Request::Reload));
        for bad in ["", "{}", "status", r#"{"ask":"stop"}"#, r#"{"ask":"status"} x"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}

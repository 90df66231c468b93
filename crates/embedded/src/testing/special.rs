//! Servers that are run in special ways: with TLS, as a replica, as a sentinel.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;

use super::{binary, say};
use crate::cache;

/// How long anything is waited for before the test fails; it is a guard, not an expectation.
const PATIENCE: Duration = Duration::from_mins(1);
const ASK_AGAIN: Duration = Duration::from_millis(5);
const LOG: &str = "server.log";

/// A server process of a test; killed when dropped.
#[derive(Debug)]
pub struct SpecialServer {
    child: Child,
    folder: PathBuf,
    port: u16,
}

/// Who is let in by a server with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Everybody.
    Anyone,
    /// Who has a certificate of its authority.
    Certified,
}

/// Certificates in PEM files: `ca`, `server`, `client`, and `other`, an authority that vouches for nobody.
const CERTIFICATES: &str = r#"
set -e
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
openssl req -x509 $new -keyout ca.key -out ca.crt -subj "/CN=a test's authority"
openssl req -x509 $new -keyout other.key -out other.crt -subj "/CN=another authority"
signed="-CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:FALSE"
openssl req -x509 $new $signed -keyout server.key -out server.crt -subj "/CN=server" \
    -addext subjectAltName=DNS:localhost
openssl req -x509 $new $signed -keyout client.key -out client.crt -subj "/CN=client" \
    -addext subjectAltName=DNS:client -addext extendedKeyUsage=clientAuth
"#;

/// Starts a server with TLS, whose certificate is for `localhost`. None, with a line on standard
/// error that says why the test is skipped, where `openssl` or the server cannot do that.
///
/// # Panics
///
/// If it does not start for another reason.
pub fn tls_server(clients: Clients) -> Option<SpecialServer> {
    let folder = cache::temporary_folder().expect("a temporary folder");
    let made = Command::new("sh")
        .args(["-c", CERTIFICATES])
        .current_dir(&folder)
        .output()
        .expect("sh runs");
    if !made.status.success() {
        say(&format!("SKIPPED: no certificates: {}", String::from_utf8_lossy(&made.stderr)));
        fs::remove_dir_all(&folder).ok();
        return None;
    }
    let port = free_port();
    let tls_port = port.to_string();
    let auth = if clients == Clients::Certified { "yes" } else { "no" };
    let args = [
        &["--port", "0", "--tls-port", &tls_port, "--tls-auth-clients", auth][..],
        &["--tls-cert-file", "server.crt", "--tls-key-file", "server.key"],
        &["--tls-ca-cert-file", "ca.crt"],
    ];
    match SpecialServer::start(folder, port, &args.concat()) {
        Ok(server) => Some(server),
        Err(log) if log.contains("tls-port") || log.contains("TLS") => {
            say(&format!("SKIPPED: this redis-server has no TLS: {}", log.trim()));
            None
        }
        Err(log) => panic!("the tests need a Redis server: {log}"),
    }
}

/// Starts a replica of the server on this port, and waits until it has its data.
///
/// # Panics
///
/// If it does not start.
pub fn replica_of(master: u16) -> SpecialServer {
    // It would wait for more replicas.
    ask(master, "CONFIG SET repl-diskless-sync-delay 0");
    let folder = cache::temporary_folder().expect("a temporary folder");
    let port = free_port();
    let (own, master) = (port.to_string(), master.to_string());
    let args = ["--port", &own, "--replicaof", "127.0.0.1", &master];
    let replica = SpecialServer::start(folder, port, &args)
        .unwrap_or_else(|log| panic!("the tests need a replica: {log}"));
    replica.wait_until("INFO replication", "master_link_status:up");
    replica
}

/// Starts a sentinel that watches the server on this port as `mymaster` and knows its replica.
///
/// # Panics
///
/// If it does not start.
pub fn sentinel_of(master: u16) -> SpecialServer {
    let folder = cache::temporary_folder().expect("a temporary folder");
    let port = free_port();
    let text = format!(
        "port {port}\nsentinel monitor mymaster 127.0.0.1 {master} 1\n\
         sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 3000\n"
    );
    fs::write(folder.join("sentinel.conf"), text).expect("written");
    let sentinel = SpecialServer::start(folder, port, &["sentinel.conf", "--sentinel"])
        .unwrap_or_else(|log| panic!("the tests need a sentinel: {log}"));
    sentinel.wait_until("SENTINEL REPLICAS mymaster", "master-link-status");
    sentinel
}

impl SpecialServer {
    /// Starts it and waits until it accepts connections; the error is its log.
    fn start(folder: PathBuf, port: u16, args: &[&str]) -> Result<Self, String> {
        let log = fs::File::create(folder.join(LOG)).expect("a log");
        let errors = log.try_clone().expect("a log");
        let mut command = Command::new(binary().path);
        command.args(args);
        if !args.contains(&"--sentinel") {
            command.args(["--save", ""]);
        }
        let child = command
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.into_file())
            .stderr(errors.into_file())
            .spawn()
            .expect("the server program can be run");
        let mut server = Self { child, folder, port };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = server.child.try_wait().expect("it can be waited for").is_some();
            if ended || until < Instant::now() {
                return Err(fs::read_to_string(server.file(LOG)).unwrap_or_default());
            }
            std::thread::sleep(ASK_AGAIN);
        }
        Ok(server)
    }

    /// Where it listens, on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name)
    }

    fn wait_until(&self, command: &str, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !ask(self.port, command).contains(text) {
            assert!(Instant::now() < until, "{command} does not come to say {text}");
            std::thread::sleep(ASK_AGAIN);
        }
    }
}

impl Drop for SpecialServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// What a server answers to a command, as it comes.
fn ask(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    write!(stream, "{command}\r\n").expect("it reads");
    stream.shutdown(Shutdown::Write).expect("it is told that nothing follows");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

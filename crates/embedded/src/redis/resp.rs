//! The few words of Redis's protocol that it takes to know whether a server is up.
//!
//! Not a client: one question, one answer, with a time limit on both.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A local server that is up answers a PING at once.
const ANSWER_MS_MAX: u64 = 2000;
/// No answer that is asked for here is longer (INFO server has about 2 kB).
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a server says when asked whether it is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ping {
    /// It answers and takes commands.
    Pong,
    /// It is up and still reading its append-only file.
    Loading,
    /// Something answers, but it is not ours: another password, another protocol.
    Stranger(String),
}

/// One connection that has authenticated itself.
#[derive(Debug)]
pub(super) struct Connection<S: Read + Write> {
    stream: BufReader<S>,
}

impl Connection<UnixStream> {
    pub(super) fn unix(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_millis(ANSWER_MS_MAX)))?;
        stream.set_write_timeout(Some(Duration::from_millis(ANSWER_MS_MAX)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }
}

impl Connection<TcpStream> {
    pub(super) fn loopback(port: u16) -> io::Result<Self> {
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let stream =
            TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self { stream: BufReader::new(stream) })
    }
}

impl<S: Read + Write> Connection<S> {
    /// Authenticates, if there is a password, and pings.
    pub(super) fn ping(&mut self, password: Option<&str>) -> io::Result<Ping> {
        if let Some(password) = password {
            let answer = self.ask(&["AUTH", password])?;
            if answer != "+OK" {
                return Ok(Ping::Stranger(answer));
            }
        }
        let answer = self.ask(&["PING"])?;
        Ok(match answer.as_str() {
            "+PONG" => Ping::Pong,
            loading if loading.starts_with("-LOADING") => Ping::Loading,
            _ => Ping::Stranger(answer),
        })
    }

    /// The number of the server's process, as the server sees it.
    pub(super) fn process_id(&mut self) -> io::Result<Option<i32>> {
        let info = self.ask(&["INFO", "server"])?;
        Ok(info.lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok()))
    }

    /// Asks the server to end. It closes the connection instead of answering.
    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        self.send(&["SHUTDOWN"])
    }

    fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        self.send(words)?;
        self.answer()
    }

    fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            for part in ["$", &word.len().to_string(), "\r\n", word, "\r\n"] {
                request.push_str(part);
            }
        }
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// One answer: a simple line with its first character, or the text of a bulk string.
    fn answer(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(ANSWER_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ));
        }
        let Some(size) = line.strip_prefix('$').and_then(|size| size.parse::<usize>().ok()) else {
            return Ok(line);
        };
        let mut bulk = vec![0; size.min(ANSWER_BYTES_MAX) + "\r\n".len()];
        self.stream.read_exact(&mut bulk)?;
        Ok(String::from_utf8_lossy(&bulk).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Goal: every answer to a PING is understood. Method: the other end is played by a thread.
    fn check(answers: &'static str, password: Option<&str>, expected: Option<&Ping>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            theirs.write_all(answers.as_bytes()).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let mut asked = String::new();
            theirs.read_to_string(&mut asked).unwrap();
            asked
        });
        let mut connection = Connection { stream: BufReader::new(ours) };
        assert_eq!(connection.ping(password).ok().as_ref(), expected);
        drop(connection);
        let asked = server.join().unwrap();
        assert_eq!(asked.starts_with("*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n"), password.is_some());
    }

    #[test]
    fn answers_to_a_ping_are_understood() {
        check("+PONG\r\n", None, Some(&Ping::Pong));
        check("+OK\r\n+PONG\r\n", Some("p"), Some(&Ping::Pong));
        check("-LOADING Redis is loading\r\n", None, Some(&Ping::Loading));
        check("-WRONGPASS no\r\n", Some("p"), Some(&Ping::Stranger("-WRONGPASS no".into())));
        check("HTTP/1.1 400\r\n", None, Some(&Ping::Stranger("HTTP/1.1 400".into())));
        check("", None, None);
    }

    #[test]
    fn a_bulk_answer_is_read_whole() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"$27\r\n# Server\r\nprocess_id:42\r\n\r\n\r\n").unwrap();
        let mut connection = Connection { stream: BufReader::new(ours) };
        assert_eq!(connection.process_id().unwrap(), Some(42));
    }
}

//! Where a private server listens, and by which password.

use std::io;
use std::net::TcpStream;

use uuid::Uuid;

use super::Access;
use super::process::free_port;
use super::resp::{Connection, Ping};

/// A port of the loopback interface, and who may ask there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) port: u16,
    pub(super) password: Option<String>,
}

impl Address {
    /// A free port, and a new password if there is to be one.
    pub(super) fn new(access: Access) -> io::Result<Self> {
        let password = match access {
            Access::Password => Some(Uuid::new_v4().simple().to_string()),
            Access::Open => None,
        };
        Ok(Self { port: free_port()?, password })
    }

    /// What [`Self::url`] gives, taken apart.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let rest = url.trim().strip_prefix("redis://")?;
        let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let port = place.split_once(':')?.1.split('/').next()?.parse().ok()?;
        Some(Self { port, password: user.strip_prefix(':').map(str::to_owned) })
    }

    /// The address for clients.
    pub(super) fn url(&self) -> String {
        let user =
            self.password.as_ref().map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{user}127.0.0.1:{}/0", self.port)
    }

    /// A connection to the server there, if it answers and is the one with this password.
    pub(super) fn connect(&self) -> io::Result<Connection<TcpStream>> {
        let mut connection = Connection::loopback(self.port)?;
        match connection.ping(self.password.as_deref())? {
            Ping::Pong => Ok(connection),
            other => Err(io::Error::other(format!("it answers {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_its_url_says() {
        for (password, url) in [
            (Some("secret"), "redis://:secret@127.0.0.1:7001/0"),
            (None, "redis://127.0.0.1:7001/0"),
        ] {
            let address = Address { port: 7001, password: password.map(str::to_owned) };
            assert_eq!(address.url(), url);
            assert_eq!(Address::parse(&format!("{url}\n")), Some(address));
        }
        assert_eq!(Address::parse("redis://localhost"), None);
        assert_eq!(Address::parse(""), None);
    }
}

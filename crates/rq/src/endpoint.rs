//! One server: where it is, as whom we go there, and how; from options in redis-py's names.

use std::path::PathBuf;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo};
use serde_json::Value;

use crate::error::ConnectError;
use crate::option::{text, truth};
use crate::tls::Tls;

const HOST: &str = "localhost";
const PORT: u16 = 6379;

/// How to reach one server.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    pub(crate) encrypted: bool,
    pub(crate) login: RedisConnectionInfo,
    connect_timeout: Option<Duration>,
    socket_timeout: Option<Duration>,
    tls: Tls,
}

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            address: Address::Tcp(HOST.to_owned(), PORT),
            encrypted: false,
            login: RedisConnectionInfo::default(),
            connect_timeout: None,
            socket_timeout: None,
            tls: Tls::default(),
        }
    }
}

impl Endpoint {
    /// Takes one option; those that concern redis-py alone are passed over. The error says what is
    /// wrong with the value, and never holds a password.
    pub(crate) fn set(&mut self, option: &str, value: &Value) -> Result<(), String> {
        match option {
            "host" | "port" => self.set_address(option, value)?,
            "db" => {
                let number = text(value).map_or(Ok(0), |text| text.parse::<u32>());
                // What stands there may be the end of a password that holds a slash.
                let number = number.map_err(|_| "the database is no number")?;
                self.login = self.login.clone().set_db(number.into());
            }
            "username" => {
                if let Some(user) = text(value) {
                    self.login = self.login.clone().set_username(user);
                }
            }
            "password" => {
                if let Some(password) = text(value) {
                    self.login = self.login.clone().set_password(password);
                }
            }
            "ssl" => self.encrypted = truth(value),
            "socket_connect_timeout" => self.connect_timeout = seconds(value),
            "socket_timeout" => self.socket_timeout = seconds(value),
            _ if option.starts_with("ssl_") => {
                self.tls.set(option, value).map_err(|reason| format!("{option} {reason}"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn set_address(&mut self, option: &str, value: &Value) -> Result<(), String> {
        let Address::Tcp(host, port) = &mut self.address else { return Ok(()) };
        match text(value) {
            None => {}
            Some(name) if option == "host" => *host = name,
            Some(number) => {
                *port = number.parse().map_err(|_| "the port is no number from 0 to 65535")?;
            }
        }
        Ok(())
    }

    /// The same at another address.
    pub(crate) fn at(&self, address: Address) -> Self {
        Self { address, ..self.clone() }
    }

    /// How long a connection may take, if that was said. As in redis-py, the other limit counts
    /// when this one is not given; for requests it does not, as in RQ's worker.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout.or(self.socket_timeout)
    }

    /// What connects there.
    pub(crate) fn client(&self) -> Result<redis::Client, ConnectError> {
        let failed = |error: redis::RedisError| ConnectError::of(&self.shown(), self, &error);
        let address = match &self.address {
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
            Address::Tcp(host, port) if self.encrypted => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: !self.tls.verify,
                tls_params: None,
            },
            Address::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
        };
        let encrypted = matches!(address, ConnectionAddr::TcpTls { .. });
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = address.into_connection_info().map_err(failed)?;
        let info = info.set_redis_settings(self.login.clone()).set_tcp_settings(tcp);
        if !encrypted {
            return redis::Client::open(info).map_err(failed);
        }
        let certificates = self.tls.certificates()?;
        let client = redis::Client::build_with_tls(info, certificates).map_err(failed)?;
        if self.tls.check_hostname {
            return Ok(client);
        }
        let info = client.get_connection_info().clone();
        let mut address = info.addr().clone();
        address.set_danger_accept_invalid_hostnames(true);
        redis::Client::open(info.set_addr(address)).map_err(failed)
    }

    pub(crate) fn db(&self) -> i64 {
        self.login.db()
    }

    /// For people, without the password.
    pub(crate) fn shown(&self) -> String {
        let user = match (self.login.username(), self.login.password()) {
            (user, Some(_)) => format!("{}:***@", user.unwrap_or_default()),
            (Some(user), None) => format!("{user}@"),
            (None, None) => String::new(),
        };
        let db = self.db();
        match &self.address {
            Address::Unix(path) => format!("unix://{user}{}?db={db}", path.display()),
            Address::Tcp(host, port) => {
                let scheme = if self.encrypted { "rediss" } else { "redis" };
                format!("{scheme}://{user}{}/{db}", host_and_port(host, *port))
            }
        }
    }
}

/// The host and port of an address as URLs have them.
pub(crate) fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn seconds(value: &Value) -> Option<Duration> {
    let seconds = text(value)?.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|limit| !limit.is_zero())
}

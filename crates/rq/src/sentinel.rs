//! Sentinels know which server is the master now; they are asked before each connection.

use std::fmt;
use std::time::Duration;

use redis::AsyncConnectionConfig;

use crate::endpoint::{Address, Endpoint, host_and_port};

/// How to find the master.
#[derive(Clone, Debug)]
pub(crate) struct Sentinel {
    /// The name that sentinels know it by.
    pub(crate) master: String,
    /// Whom to ask, in this order.
    pub(crate) instances: Vec<Endpoint>,
    /// How to go to it, but for the address.
    pub(crate) to_master: Endpoint,
}

/// No sentinel named a master.
#[derive(Debug, thiserror::Error)]
#[error("no sentinel knows the master {master:?}: {}", tried.join("; "))]
pub(crate) struct NoMaster {
    pub(crate) master: String,
    /// For each sentinel, why not.
    pub(crate) tried: Vec<String>,
}

impl Sentinel {
    /// The server that is the master now. `limit` is for one sentinel, unless it has its own.
    pub(crate) async fn find(&self, limit: Duration) -> Result<Endpoint, NoMaster> {
        let mut tried = Vec::new();
        for sentinel in &self.instances {
            match self.ask(sentinel, limit).await {
                Ok(Some((host, port))) => {
                    return Ok(self.to_master.at(Address::Tcp(host, port)));
                }
                Ok(None) => tried.push(format!("{} does not know it", sentinel.shown())),
                Err(reason) => tried.push(reason),
            }
        }
        Err(NoMaster { master: self.master.clone(), tried })
    }

    async fn ask(
        &self,
        sentinel: &Endpoint,
        limit: Duration,
    ) -> Result<Option<(String, u16)>, String> {
        let failed = |error: redis::RedisError| format!("{}: {error}", sentinel.shown());
        let limit = sentinel.connect_timeout().unwrap_or(limit);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(limit));
        let client = sentinel.client().map_err(|error| error.to_string())?;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg(&self.master);
        command.query_async(&mut connection).await.map_err(failed)
    }
}

impl fmt::Display for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self
            .instances
            .iter()
            .map(|instance| match &instance.address {
                Address::Tcp(host, port) => host_and_port(host, *port),
                Address::Unix(path) => path.display().to_string(),
            })
            .collect();
        write!(f, "the master {:?} of the sentinels {}", self.master, places.join(", "))
    }
}

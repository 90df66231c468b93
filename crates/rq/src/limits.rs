//! Rate limits, looked after from time to time; `scripts/limiter.lua` is what jobs pass.

use std::sync::LazyLock;

use redis::{RedisError, Script};
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::scripts::script;
use crate::timestamp::Timestamp;

static LIMITS: LazyLock<Script> = LazyLock::new(|| script!("limiter", "limits"));

/// Limits that are mended in one step, so that no script blocks Redis for long.
const MENDED_MAX: usize = 100;

impl Client {
    /// Mends all rate limits: frees slots of jobs that need none, lets the next ones through, and
    /// forgets limits that nobody uses. Returns how many jobs were let through.
    pub async fn mend_rate_limits(&self, now: Timestamp) -> Result<u64, Error> {
        let known = self.keys().rate_limits();
        let limits = self.query(redis::cmd("SMEMBERS").arg(&known)).await?;
        let limits: Vec<Vec<u8>> = redis::from_redis_value(limits).map_err(RedisError::from)?;
        let request = json!({
            "prefix": self.keys().prefix(),
            "now": now.text(),
            "now_seconds": now.seconds(),
        })
        .to_string();
        let mut admitted = 0;
        for some in limits.chunks(MENDED_MAX) {
            let mut args = vec![request.as_bytes()];
            args.extend(some.iter().map(Vec::as_slice));
            let reply = self.run(&LIMITS, std::slice::from_ref(&known), &args).await?;
            admitted += redis::from_redis_value::<u64>(reply).map_err(RedisError::from)?;
        }
        Ok(admitted)
    }
}

//! What clients and strangers write, in every shape: it is read or refused, and nothing else.

use std::path::Path;

use embedded::testing::fuzz;
use serde_json::json;

use crate::commands::Command;
use crate::job::{Job, JobHash};
use crate::names::{JobId, QueueName};
use crate::url;

/// Longest text that is told about what makes no sense.
const TOLD_BYTES_MAX: usize = 4096;
/// The password in the URLs of the corpus.
const SECRET: &str = "hushhush";

fn corpus(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The fields of a hash: a line for each.
fn fields(input: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lines = input.split(|byte| *byte == b'\n');
    lines
        .map(|line| {
            let mut parts = line.splitn(2, |byte| *byte == b'=');
            let mut part = || parts.next().unwrap_or_default().to_vec();
            (part(), part())
        })
        .collect()
}

#[test]
fn job_hashes() {
    let (id, queue) = (JobId::new("j"), QueueName::new("q"));
    fuzz(&corpus("job-hash"), |input| {
        let fields = fields(input);
        let mut hash = JobHash::new(fields.clone());
        assert!(hash.iter().eq(fields.iter().map(|(name, value)| (&name[..], &value[..]))));
        match Job::parse(&id, &queue, &hash) {
            Ok(job) => assert!(!job.origin.as_str().is_empty()),
            Err(refusal) => assert!(refusal.to_string().len() < TOLD_BYTES_MAX),
        }
        for status in ["finished", "failed"] {
            // Others add to it.
            let _ = hash.webhook_time(status);
        }
        hash.set("status", b"queued".to_vec());
        assert_eq!(hash.get("status"), Some(&b"queued"[..]));
        assert_eq!(hash.iter().filter(|(name, _)| *name == b"status").count(), 1);
    });
}

#[test]
fn commands() {
    fuzz(&corpus("command"), |input| match Command::parse(input) {
        Ok(command) => {
            let text = match &command {
                Command::Shutdown => json!({"command": "shutdown"}),
                Command::KillHorse => json!({"command": "kill-horse"}),
                Command::StopJob(id) => json!({"command": "stop-job", "job_id": id.to_string()}),
                Command::StopExecution(id) => {
                    json!({"command": "stop-execution", "execution_id": id.to_string()})
                }
            };
            assert_eq!(Command::parse(text.to_string().as_bytes()), Ok(command));
        }
        Err(error) => assert!(error.to_string().len() < TOLD_BYTES_MAX),
    });
}

#[test]
fn urls() {
    fuzz(&corpus("url"), |input| {
        let text = String::from_utf8_lossy(input);
        let shown = url::redacted(&text);
        let Ok(endpoint) = url::parse(&text) else { return };
        let password = endpoint.login.password().unwrap_or_default();
        if password.contains(SECRET) && text.matches(SECRET).count() == 1 {
            assert!(!shown.contains(SECRET), "{text:?} is shown as {shown:?}");
        }
        // What the jobs are told leads to the same server.
        let again = url::parse(&url::for_redis_py(&text)).unwrap();
        assert_eq!(again.address, endpoint.address, "{text:?}");
        assert_eq!(again.login.password(), endpoint.login.password(), "{text:?}");
    });
}

//! The master is found through sentinels, again at each connection.

use std::time::Duration;

use embedded::testing::{self, replica_of, sentinel_of};
use rq::{Client, Connect, ConnectError, QueueName, Source};
use serde_json::{Value, json};

use crate::common::options;

/// How often a request is tried while another server becomes the master.
const TRIES_MAX: u32 = 600;

fn through(sentinel: &Value) -> Connect {
    let settings = json!({ "SENTINEL": sentinel });
    let source = Source::Settings(settings.as_object().unwrap().clone());
    Connect { source, response_timeout: Duration::from_secs(2), ..options("") }
}

#[tokio::test]
async fn another_master_is_followed() {
    let master = testing::redis();
    let replica = replica_of(master.port());
    let sentinel = sentinel_of(master.port());
    // The first one is asked first, and nobody listens there.
    let instances = json!([["127.0.0.1", 1], ["127.0.0.1", sentinel.port()]]);
    let client =
        Client::connect(through(&json!({ "INSTANCES": instances, "DB": 2 }))).await.unwrap();
    assert!(client.display_url().contains("mymaster"), "{}", client.display_url());
    let queue = QueueName::new("q");
    assert_eq!(client.queue_length(&queue).await.unwrap(), 0);
    drop(master);
    let mut tries = 0;
    while client.queue_length(&queue).await.is_err() {
        tries += 1;
        assert!(tries < TRIES_MAX, "the new master is not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let info = client.local_address().await;
    assert!(info.starts_with("127.0.0.1:"), "{info}");
    let mut peek = client.peek(&queue).await.unwrap();
    let url = format!("redis://127.0.0.1:{}/2", replica.port());
    let direct = redis::Client::open(url).unwrap();
    let mut direct = direct.get_multiplexed_async_connection().await.unwrap();
    let pushed: Result<u32, _> =
        redis::cmd("RPUSH").arg("rq:queue:q").arg("x").query_async(&mut direct).await;
    assert_eq!(pushed.unwrap(), 1, "the replica is the master now");
    assert!(peek.wait(Duration::from_millis(10)).await.unwrap(), "the peek goes there too");
    assert_eq!(client.queue_length(&queue).await.unwrap(), 1);
}

#[tokio::test]
async fn without_a_master_each_sentinel_is_named() {
    let master = testing::redis();
    let sentinel = testing::redis();
    let port = sentinel.port();
    let instances = json!([["127.0.0.1", 1], ["127.0.0.1", port]]);
    let error = Client::connect(through(&json!({ "INSTANCES": instances, "MASTER_NAME": "m" })))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NoMaster { .. }), "{error:?}");
    let said = error.to_string();
    for text in ["\"m\"", "redis://127.0.0.1:1/0", &format!("redis://127.0.0.1:{port}/0")] {
        assert!(said.contains(text), "`{text}` is missing: {said}");
    }
    drop(master);
}

#[tokio::test]
async fn settings_of_no_use_are_named() {
    for (sentinel, text) in [
        (json!({ "INSTANCES": "here" }), "INSTANCES is no list of (host, port)"),
        (json!({ "INSTANCES": [] }), "INSTANCES is no list of (host, port)"),
        (json!({ "INSTANCES": [["h", "many"]] }), "the port is no number"),
        (json!({ "DB": "x" }), "the database is no number"),
        (json!({ "CONNECTION_KWARGS": { "ssl_cert_reqs": "perhaps" } }), "ssl_cert_reqs"),
    ] {
        let error = Client::connect(through(&sentinel)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Setting { .. }), "{sentinel}: {error:?}");
        assert!(error.to_string().contains(text), "{sentinel}: {error}");
    }
}

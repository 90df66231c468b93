//! Encrypted connections: who is believed, who is let in, and what is said when it does not work.

use std::time::Duration;

use embedded::testing::{self, Clients, SpecialServer};
use rq::{Client, Connect, ConnectError, QueueName, Source};
use serde_json::json;

use crate::common::{World, options};

fn url(server: &SpecialServer, query: &str) -> String {
    format!("rediss://localhost:{}/0?{query}", server.port())
}

fn ca(server: &SpecialServer) -> String {
    format!("ssl_ca_certs={}", server.file("ca.crt").display())
}

async fn works(url: &str) {
    let client = Client::connect(options(url)).await.unwrap();
    assert_eq!(client.queue_length(&QueueName::new("q")).await.unwrap(), 0);
    client.peek(&QueueName::new("q")).await.unwrap();
}

async fn trouble(url: &str) -> String {
    let error = Client::connect(options(url)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{url}: {error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_server_is_believed_when_its_authority_is_known() {
    let Some(server) = testing::tls_server(Clients::Anyone) else { return };
    works(&url(&server, &ca(&server))).await;
    let pem = fs_err::read_to_string(server.file("ca.crt")).unwrap();
    let in_url = pem.replace('\n', "%0A").replace('+', "%2B").replace('=', "%3D");
    works(&url(&server, &format!("ssl_ca_data={in_url}"))).await;
    works(&url(&server, "ssl_cert_reqs=none")).await;

    let said = trouble(&url(&server, "")).await;
    assert!(said.contains("not signed by an authority that is known here"), "{said}");
    let other = format!("ssl_ca_certs={}", server.file("other.crt").display());
    let said = trouble(&url(&server, &other)).await;
    assert!(said.contains("ssl_ca_certs"), "{said}");

    // Its certificate is for the name only.
    let by_number =
        |query: &str| format!("rediss://127.0.0.1:{}?{}&{query}", server.port(), ca(&server));
    let said = trouble(&by_number("")).await;
    assert!(said.contains("for another name"), "{said}");
    works(&by_number("ssl_check_hostname=false")).await;
    let unknown = format!("rediss://127.0.0.1:{}?ssl_check_hostname=false", server.port());
    let said = trouble(&unknown).await;
    assert!(said.contains("not signed"), "only the name does not matter: {said}");
}

#[tokio::test]
async fn a_server_may_want_a_certificate_from_us() {
    let Some(server) = testing::tls_server(Clients::Certified) else { return };
    let said = trouble(&url(&server, &ca(&server))).await;
    assert!(said.contains("ssl_certfile"), "{said}");
    let file = |name: &str| server.file(name).display().to_string();
    let own = format!(
        "{}&ssl_certfile={}&ssl_keyfile={}",
        ca(&server),
        file("client.crt"),
        file("client.key")
    );
    works(&url(&server, &own)).await;
    // RQ's settings say the same.
    let settings = json!({
        "REDIS_HOST": "localhost", "REDIS_PORT": server.port(), "REDIS_SSL": "true",
        "REDIS_SSL_CA_CERTS": file("ca.crt"), "REDIS_SSL_CERTFILE": file("client.crt"),
        "REDIS_SSL_KEYFILE": file("client.key"),
    });
    let source = Source::Settings(settings.as_object().unwrap().clone());
    let client = Client::connect(Connect { source, ..options("") }).await.unwrap();
    assert_eq!(client.display_url(), format!("rediss://localhost:{}/0", server.port()));
}

#[tokio::test]
async fn a_file_of_no_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    fs_err::write(&empty, "nothing").unwrap();
    for (query, texts) in [
        ("ssl_ca_certs=/nowhere/ca.pem".to_owned(), ["/nowhere/ca.pem", "no such file"]),
        (format!("ssl_ca_certs={}", empty.display()), ["empty.pem", "no certificate"]),
        (format!("ssl_certfile={}", empty.display()), ["empty.pem", "no certificate"]),
        ("ssl_keyfile=/nowhere/key.pem".to_owned(), ["/nowhere/key.pem", "no such file"]),
        ("ssl_ca_data=x".to_owned(), ["ssl_ca_data", "no certificate"]),
    ] {
        let url = format!("rediss://localhost:1/0?{query}");
        let error = Client::connect(options(&url)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Certificate { .. }), "{query}: {error}");
        for text in texts {
            assert!(error.to_string().contains(text), "{query}: {error}");
        }
    }
}

#[tokio::test]
async fn tls_and_no_tls_are_told_apart() {
    let world = World::new().await;
    let url = format!("rediss://127.0.0.1:{}", world.server.port());
    // It says nothing.
    let connect_timeout = Duration::from_secs(1);
    let error = Client::connect(Connect { connect_timeout, ..options(&url) }).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("redis:// and not rediss://"), "{said}");
    let Some(server) = testing::tls_server(Clients::Anyone) else { return };
    let plain = format!("redis://localhost:{}", server.port());
    let error = Client::connect(options(&plain)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&plain), "{error}");
}

//! Which addresses are understood, and what is said about those that are of no use. No text may show
//! a password.

use std::net::TcpListener;

use rq::{Client, ConnectError, QueueName};

use crate::common::{World, options};

async fn error(url: &str) -> ConnectError {
    let error = Client::connect(options(url)).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("secret"), "{text}");
    }
    error
}

#[tokio::test]
async fn what_is_no_url_is_refused() {
    for url in [
        "",
        "nonsense",
        "http://localhost:6379",
        "redis://localhost:port",
        "redis://localhost:99999",
        "redis://:secret@localhost:port/0",
        "redis://user:secret/with/slashes@localhost:6379/0",
        "redis://user:secret?with=question@localhost:6379/0",
        "redis://user:secret#hash@localhost:6379/0",
        ":secret@localhost:6379",
        "user:secret@localhost",
        "localhost:6379?password=secret",
        "redis:/user:secret@localhost",
        "unix://",
        "unix://:secret@",
        "redis://localhost/db:secret@x",
    ] {
        let error = error(url).await;
        assert!(matches!(error, ConnectError::Url { .. }), "{url}: {error}");
        assert!(error.to_string().contains("redis://host:6379/0"), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    // Nobody listens on the first of all ports.
    let refusal = error("redis://user:secret@127.0.0.1:1/2").await;
    assert!(matches!(refusal, ConnectError::Unreachable { .. }), "{refusal}");
    assert!(refusal.to_string().contains("redis://user:***@127.0.0.1:1/2"), "{refusal}");
    let refusal = error("unix:///nowhere/redis.sock?password=secret").await;
    assert!(matches!(refusal, ConnectError::Unreachable { .. }), "{refusal}");
    assert!(refusal.to_string().contains("/nowhere/redis.sock"), "{refusal}");
}

#[tokio::test]
async fn who_answers_and_is_no_redis_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let error = error(&format!("redis://:secret@127.0.0.1:{port}/0")).await;
    server.join().unwrap();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn a_password_is_needed_and_never_shown() {
    let world = World::new().await;
    if world.is_older_than((6, 0, 0)) {
        return; // it has no users, only a password
    }
    world.send(&["CONFIG SET requirepass secret"]).await;
    let port = world.server.port();
    let socket = world.server.socket().display();
    for url in [
        format!("redis://127.0.0.1:{port}/0"),
        format!("redis://:not-secret@127.0.0.1:{port}/0"),
        format!("redis://nobody:secret@127.0.0.1:{port}/0"),
        format!("redis://127.0.0.1:{port}/0?password=not-secret"),
        format!("unix://{socket}?db=1"),
        format!("unix://{socket}?password=not-secret"),
    ] {
        let error = error(&url).await;
        assert!(matches!(error, ConnectError::Login { .. }), "{url}: {error}");
    }
    for url in [
        format!("redis://:secret@127.0.0.1:{port}/0"),
        format!("redis://default:secret@127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}?password=secret"),
        format!("redis://127.0.0.1:{port}/0?username=default&password=secret"),
        format!("valkey://:secret@127.0.0.1:{port}/0"),
        format!("unix://{socket}?password=secret&db=1"),
        format!("unix://:secret@{socket}?db=1"),
        format!("unix://{socket}?db=0&username=default&password=s%65cret"),
        format!("redis://:s%65cret@127.0.0.1:{port}/0"),
    ] {
        let client = Client::connect(options(&url)).await.unwrap();
        assert!(!client.display_url().contains("cret"), "{}", client.display_url());
        assert!(client.display_url().contains("***"), "{}", client.display_url());
        assert_eq!(client.queue_length(&QueueName::new("q")).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn the_url_selects_the_database() {
    let world = World::new().await;
    for db in 0..4 {
        let elements = vec!["x"; db + 1].join(" ");
        world.send(&[&format!("SELECT {db}"), &format!("RPUSH rq:queue:q {elements}")]).await;
    }
    let (port, socket) = (world.server.port(), world.server.socket().display());
    for (url, db) in [
        (format!("redis://127.0.0.1:{port}"), 0),
        (format!("redis://127.0.0.1:{port}/"), 0),
        (format!("redis://127.0.0.1:{port}/3"), 3),
        (format!("redis://127.0.0.1:{port}?db=3"), 3),
        // As in redis-py, the query goes first.
        (format!("redis://127.0.0.1:{port}/1?db=3"), 3),
        (format!("unix://{socket}"), 0),
        (format!("unix://{socket}?db=2"), 2),
    ] {
        let client = Client::connect(options(&url)).await.unwrap();
        let length = client.queue_length(&QueueName::new("q")).await.unwrap();
        assert_eq!(length, db + 1, "{url}");
        // The connection of a peek goes to the same place.
        let mut peek = client.peek(&QueueName::new("q")).await.unwrap();
        assert!(peek.wait(std::time::Duration::from_millis(1)).await.unwrap());
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said() {
    let world = World::new().await;
    for url in [
        format!("redis://127.0.0.1:{}/99", world.server.port()),
        format!("unix://{}?db=99", world.server.socket().display()),
    ] {
        let error = error(&url).await;
        assert!(matches!(error, ConnectError::Database { db: 99, .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_connection_knows_the_server_and_itself() {
    let world = World::new().await;
    let info: String = world.ask("INFO server").await;
    let (major, minor, patch) = world.client.server().version;
    assert!(info.contains(&format!("_version:{major}.{minor}.{patch}\r\n")), "{info}");
    let address = world.client.local_address().await;
    assert!(
        world.ask::<String>("CLIENT LIST").await.contains(&format!(" addr={address} ")),
        "{address}"
    );
    assert_eq!(world.client.display_url(), world.server.url());
    let unix = format!("unix://{}", world.server.socket().display());
    let client = Client::connect(options(&unix)).await.unwrap();
    assert_eq!(client.display_url(), unix);
    assert!(!client.local_address().await.is_empty());
}

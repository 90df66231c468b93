//! A queue from which nothing can be taken is told from one that is empty.

use rq::{Blocked, QueueName};

use crate::common::World;

#[tokio::test]
async fn the_key_that_blocks_a_queue_is_found() {
    let world = World::new().await;
    world.enqueue("j", "fine", "").await;
    world.send(&["SET rq:queue:text x", "SET rq:wip:odd x"]).await;
    let blocked = async |name: &str| world.client.blocked(&QueueName::new(name)).await.unwrap();
    assert_eq!(blocked("fine").await, None);
    assert_eq!(blocked("empty").await, None);
    let found = "string".to_owned();
    let key = "rq:queue:text".to_owned();
    assert_eq!(blocked("text").await, Some(Blocked { key, found: found.clone(), wanted: "list" }));
    let key = "rq:wip:odd".to_owned();
    assert_eq!(blocked("odd").await, Some(Blocked { key, found, wanted: "zset" }));
}

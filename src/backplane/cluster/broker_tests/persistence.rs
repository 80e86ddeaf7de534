use outrace_testkit::{BrokerKind, BrokerServer};

use super::*;

with_every_broker! {
    a_broker_that_keeps_its_data_says_so
}

async fn a_broker_that_keeps_its_data_says_so(server: BrokerServer) {
    let broker = connect(&server, "a").await;
    for _ in 0..2 {
        assert_eq!(broker.is_persistent().await, Ok(true));
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_redis_without_an_append_only_file_is_not_persistent() {
    run(BrokerKind::RedisWithoutAof, async |server: BrokerServer| {
        let broker = connect(&server, "a").await;
        assert_eq!(broker.is_persistent().await, Ok(false));
        let created = broker.create(&Key::Home(token("c")), "x".into()).await;
        assert!(matches!(created, Ok(Created::Yes(_))), "{created:?}");
    })
    .await;
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn a_nats_without_jetstream_says_how_it_is_started() {
    run(
        BrokerKind::NatsWithoutJetStream,
        async |server: BrokerServer| {
            let (broker, other) = (connect(&server, "a").await, connect(&server, "b").await);
            let key = Key::Home(token("c"));
            let errors = [
                broker.is_persistent().await.unwrap_err(),
                broker.create(&key, "x".into()).await.unwrap_err(),
                broker.read(&key).await.unwrap_err(),
                broker.append(&token("c"), "x".into(), 0).await.unwrap_err(),
            ];
            for error in errors {
                assert!(error.to_string().contains("nats-server -js"), "{error}");
            }
            other.subscribe(&Topic::Everyone).await.unwrap();
            broker.publish(&Topic::Everyone, "x".into()).await.unwrap();
            assert_eq!(message(&other).await.1, "x");
        },
    )
    .await;
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn nats_refuses_what_is_longer_than_its_bound() {
    run(BrokerKind::Nats, async |server: BrokerServer| {
        let broker = connect(&server, "a").await;
        let long = Bytes::from(vec![0; 1024 * 1024 + 1]);
        let refused = |error| matches!(error, BrokerError::Refused(_));
        let key = Key::Home(token("c"));
        assert!(
            broker
                .publish(&blocks_of("c"), long.clone())
                .await
                .is_err_and(refused)
        );
        assert!(
            broker
                .append(&token("c"), long.clone(), 0)
                .await
                .is_err_and(refused)
        );
        assert!(broker.create(&key, long).await.is_err_and(refused));
    })
    .await;
}

/// Starts a broker that asks for a login, and connects with the right one and a wrong one.
async fn login(kind: BrokerKind, arguments: &[&str], right: &str, wrong: &str) {
    let Some(server) = BrokerServer::start_with(kind, arguments).await else {
        return;
    };
    let url = |login: &str| server.url().replace("//", &format!("//{login}@"));
    let (refused, broker) = (
        open_url(&url(wrong), settings("w")),
        open_url(&url(right), settings("a")),
    );
    assert_eq!(broker.next().await, Incoming::Connected { first: true });
    assert_eq!(broker.is_persistent().await, Ok(true));
    let error = refused.is_persistent().await;
    assert_eq!(error, Err(BrokerError::Unreachable));
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn nats_takes_a_password_or_a_token_of_the_url() {
    let user = ["--user", "u", "--pass", "p@s:s"];
    bounded(login(BrokerKind::Nats, &user, "u:p%40s%3As", "u:wrong")).await;
    bounded(login(
        BrokerKind::Nats,
        &["--auth", "t0k3n"],
        "t0k3n",
        "wrong",
    ))
    .await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn redis_takes_a_password_of_the_url() {
    // The test's own question whether it is ready is answered without a password.
    let arguments = "--user default on nopass +ping --user u on >secret ~* &* +@all";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    bounded(login(BrokerKind::Redis, &arguments, "u:secret", "u:wrong")).await;
}

use std::time::Instant;

use outrace_testkit::BrokerServer;

use super::*;

with_every_broker! {
    a_record_is_created_replaced_and_removed_by_its_revision
    of_eight_who_create_a_record_exactly_one_does
    of_eight_who_replace_a_revision_exactly_one_does
    a_session_ends_unless_it_is_renewed
    a_record_with_any_characters_in_its_name_is_one_of_its_own
    records_outlive_the_broker
}

const TTL: Duration = Duration::from_secs(1);

async fn a_record_is_created_replaced_and_removed_by_its_revision(server: BrokerServer) {
    let broker = connect(&server, "a").await;
    for key in [Key::Home(token("c")), Key::Session(node_id("n"))] {
        assert_eq!(broker.read(&key).await, Ok(None));
        assert_eq!(broker.replace(&key, "x".into(), 0).await, Ok(Replaced::No));
        assert_eq!(broker.replace(&key, "x".into(), 1).await, Ok(Replaced::No));
        assert_eq!(broker.remove(&key, 1).await, Ok(()));

        let first = created(&broker, &key, "one:\0\u{e9}").await;
        let found = Created::No {
            value: "one:\0\u{e9}".into(),
            revision: first,
        };
        assert_eq!(broker.create(&key, "no".into()).await, Ok(found));

        let replaced = broker.replace(&key, "two".into(), first).await;
        let Ok(Replaced::Yes(second)) = replaced else {
            panic!("{replaced:?}");
        };
        assert!(second > first);
        assert_eq!(
            broker.replace(&key, "no".into(), first).await,
            Ok(Replaced::No)
        );
        broker.remove(&key, first).await.unwrap();
        assert_eq!(broker.read(&key).await, Ok(Some(("two".into(), second))));

        broker.remove(&key, second).await.unwrap();
        assert_eq!(broker.read(&key).await, Ok(None));
        assert_eq!(
            broker.replace(&key, "no".into(), second).await,
            Ok(Replaced::No)
        );
        // An empty value is a value.
        assert!(created(&broker, &key, "").await > second);
        assert_eq!(broker.read(&key).await.unwrap().unwrap().0, "");
    }
}

async fn created(broker: &Arc<dyn Broker>, key: &Key, value: &'static str) -> u64 {
    let created = broker.create(key, value.into()).await;
    let Ok(Created::Yes(revision)) = created else {
        panic!("{created:?}");
    };
    revision
}

/// Runs the call of each of eight nodes at once, and returns what they got.
async fn race<T: Send + 'static>(
    server: &BrokerServer,
    call: impl AsyncFn(Arc<dyn Broker>, usize) -> T,
) -> Vec<T> {
    let mut nodes = Vec::new();
    for node in 0..8 {
        nodes.push(connect(server, &format!("racer-{node}")).await);
    }
    let calls = nodes.into_iter().enumerate();
    let calls = calls.map(|(number, node)| call(node, number));
    join_all(calls).await
}

/// Polls all at once, so that each call is under way before one is done.
async fn join_all<F: Future>(calls: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(calls).await
}

async fn of_eight_who_create_a_record_exactly_one_does(server: BrokerServer) {
    for name in ["c", "d", "e"] {
        let key = Key::Home(token(name));
        let outcomes = race(&server, async |node, number| {
            node.create(&key, number.to_string().into()).await.unwrap()
        })
        .await;
        let (value, revision) = connect(&server, "z")
            .await
            .read(&key)
            .await
            .unwrap()
            .unwrap();
        let winner: usize = str::from_utf8(&value).unwrap().parse().unwrap();
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let expected = if number == winner {
                Created::Yes(revision)
            } else {
                Created::No {
                    value: value.clone(),
                    revision,
                }
            };
            assert_eq!(outcome, expected);
        }
    }
}

async fn of_eight_who_replace_a_revision_exactly_one_does(server: BrokerServer) {
    let key = Key::Home(token("c"));
    let broker = connect(&server, "z").await;
    let mut revision = created(&broker, &key, "begin").await;
    for _ in 0..3 {
        let outcomes = race(&server, async |node, number| {
            let value = number.to_string().into();
            node.replace(&key, value, revision).await.unwrap()
        })
        .await;
        let (value, now) = broker.read(&key).await.unwrap().unwrap();
        let winner: usize = str::from_utf8(&value).unwrap().parse().unwrap();
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let is_winner = number == winner;
            let expected = if is_winner {
                Replaced::Yes(now)
            } else {
                Replaced::No
            };
            assert_eq!(outcome, expected);
        }
        revision = now;
    }
}

async fn a_session_ends_unless_it_is_renewed(server: BrokerServer) {
    let short = BrokerSettings {
        session_ttl: TTL,
        ..settings("a")
    };
    let broker = connect_with(&server, short).await;
    let (session, home) = (Key::Session(node_id("n")), Key::Home(token("c")));
    created(&broker, &home, "stays").await;
    let mut revision = created(&broker, &session, "session").await;
    let begun = Instant::now();
    let mut renewed = begun;
    // Renewed for longer than it lasts.
    while begun.elapsed() < TTL * 2 {
        if renewed.elapsed() > TTL / 3 {
            renewed = Instant::now();
            let replaced = broker.replace(&session, "renewed".into(), revision).await;
            let Ok(Replaced::Yes(next)) = replaced else {
                panic!("{replaced:?} after {:?}", begun.elapsed());
            };
            revision = next;
        }
        a_moment().await;
    }
    while broker.read(&session).await.unwrap().is_some() {
        a_moment().await;
    }
    // The clocks of the two differ in how they round.
    assert!(renewed.elapsed() > TTL - Duration::from_millis(50));
    assert!(renewed.elapsed() < TTL * 3, "{:?}", renewed.elapsed());
    let late = broker.replace(&session, "late".into(), revision).await;
    assert_eq!(late, Ok(Replaced::No));
    assert!(created(&broker, &session, "next").await > revision);
    assert_eq!(broker.read(&home).await.unwrap().unwrap().0, "stays");
}

async fn a_record_with_any_characters_in_its_name_is_one_of_its_own(server: BrokerServer) {
    let broker = connect(&server, "a").await;
    let mut keys: Vec<Key> = ODD_NAMES
        .iter()
        .map(|name| Key::Home(token(name)))
        .collect();
    keys.extend(["c", "C"].map(|name| Key::Home(token(name))));
    keys.extend(["n", "N", "n.m"].map(|name| Key::Session(node_id(name))));
    let mut revisions = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let created = broker.create(key, number.to_string().into()).await.unwrap();
        let Created::Yes(revision) = created else {
            panic!("{key:?}: {created:?}");
        };
        revisions.push(revision);
    }
    for (number, key) in keys.iter().enumerate() {
        let expected = (number.to_string().into(), revisions[number]);
        assert_eq!(broker.read(key).await, Ok(Some(expected)));
    }
    // The revision of another record removes nothing.
    broker.remove(&keys[0], revisions[1]).await.unwrap();
    assert!(broker.read(&keys[1]).await.unwrap().is_some());
}

async fn records_outlive_the_broker(mut server: BrokerServer) {
    let broker = connect(&server, "a").await;
    let key = Key::Home(token("c"));
    let revision = created(&broker, &key, "kept").await;
    server.stop().await;
    server.start_again().await;
    reconnected(&broker).await;
    assert_eq!(broker.read(&key).await, Ok(Some(("kept".into(), revision))));
    let replaced = broker.replace(&key, "next".into(), revision).await;
    assert!(matches!(replaced, Ok(Replaced::Yes(next)) if next > revision));
}

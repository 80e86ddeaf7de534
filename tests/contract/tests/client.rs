//! With the feature `client` alone.
#![cfg(feature = "client")]

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::test]
async fn a_publisher_is_built_for_an_address_with_a_token() -> Outcome {
    let token = "secret";
    let publisher = outrace::client::Publisher::connect("ws://127.0.0.1:1/ws")
        .token(token)
        .build()?;
    publisher.try_send_line("process:web", "a line")?;
    assert_eq!(publisher.stats().waiting(), 1);
    Ok(())
}

#[tokio::test]
async fn an_address_with_tls_needs_the_feature_tls() {
    let built = outrace::client::Publisher::connect("wss://host/ws")
        .token("secret")
        .build();
    assert!(matches!(
        built,
        Err(outrace::client::WatchError::TlsNotBuiltIn)
    ));
}

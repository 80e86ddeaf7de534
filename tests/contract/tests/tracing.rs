//! With the feature `tracing` alone.
#![cfg(feature = "tracing")]

use outrace::Hub;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[test]
fn events_of_tracing_are_published() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::builder().history(10).build()?;
    tracing_subscriber::registry()
        .with(outrace::tracing::layer(hub.publisher("logs")?))
        .init();
    tracing::warn!(ms = 812, "slow");
    let past = hub.history("logs", 10);
    assert_eq!(past.len(), 1);
    let line: serde_json::Value = serde_json::from_str(past[0].text().ok_or("no line")?)?;
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"WARN".into(), &"slow".into())
    );
    Ok(())
}

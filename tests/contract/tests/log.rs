//! With the feature `log` alone.
#![cfg(feature = "log")]

use outrace::Hub;

#[test]
fn records_of_log_are_published() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::builder().history(10).build()?;
    outrace::log::logger(hub.publisher("logs")?);
    let logger = outrace::log::logger(hub.publisher("logs")?);
    log::set_boxed_logger(Box::new(logger))?;
    log::set_max_level(log::LevelFilter::Info);
    log::warn!("slow");
    log::debug!("too much");
    let past = hub.history("logs", 10);
    assert_eq!(past.len(), 1);
    let line: serde_json::Value = serde_json::from_str(past[0].text().ok_or("no line")?)?;
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"WARN".into(), &"slow".into())
    );
    Ok(())
}

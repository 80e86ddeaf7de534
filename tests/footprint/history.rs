//! The memory that histories take, against the number that the hub reports.

use outrace::{Hub, Lines};
use outrace_testkit::resident_bytes;

pub(crate) fn ten_thousand_channels_of_garbage_take_no_more_memory_than_the_bound_and_half_of_it() {
    const TOTAL: usize = 64 << 20;
    let hub = Hub::builder()
        .history(1000)
        .history_bytes(1 << 20)
        .history_total(TOTAL)
        .build()
        .unwrap();
    let before = resident_bytes(std::process::id());
    let mut most = 0;
    for n in 0..300_000_u32 {
        let id = format!("p{}", n % 10_000);
        match n % 3 {
            0 => hub
                .send_process_output(&id, vec![b'x'; (n % 700) as usize])
                .unwrap(),
            1 => hub
                .send_process_lines(&id, Lines::split(vec![b'\n'; (n % 200) as usize]))
                .unwrap(),
            _ => hub.send_process_status(&id, "running", 0).unwrap(),
        };
        if n % 5000 == 0 {
            most = most.max(hub.stats().history_bytes);
        }
    }
    assert!(
        (TOTAL / 2..=TOTAL + (1 << 20)).contains(&most),
        "{most} bytes were said to be held"
    );
    let grown = resident_bytes(std::process::id()).saturating_sub(before);
    println!("{grown} bytes of memory for {most} of history");
    assert!(
        grown <= TOTAL / 2 * 3,
        "{grown} bytes of memory for {most} of history"
    );
}

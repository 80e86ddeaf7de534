//! The allocations of publishing: none for a delivered line, a constant number for a block.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use outrace::{Hub, Lines};
use outrace_testkit::{Server, until};

/// The system's allocator, with a count of its calls.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator with unchanged arguments. The counter touches
// no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller promises what `System` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the pointer came from `System`, with this layout. The caller promises the rest.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

const SUBSCRIBERS: usize = 10;
const RUNS: usize = 100;

/// Returns the allocations for each run of `lines` lines, from the push until the last byte is
/// written to ten subscribers.
fn allocations_of_a_run(server: &Server, lines: usize) -> f64 {
    let publisher = server.hub.publisher("process:p").unwrap();
    let run = || -> Lines {
        (0..lines)
            .map(|n| format!("line {n} of a run, as long as lines of a log are"))
            .collect()
    };
    let written = || {
        server
            .hub
            .clients()
            .map(|client| client.written())
            .min()
            .unwrap()
    };
    let clients: Vec<_> = server.hub.clients().collect();
    let publish_all = |runs: Vec<Lines>| {
        let mut allocated = 0;
        for run in runs {
            let target = clients[0].written() + lines as u64;
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            publisher.send_lines(run);
            // Each run is written before the next begins, so that each is one block.
            while clients.iter().any(|client| client.queued() > 0) || clients[0].written() < target
            {
                thread::yield_now();
            }
            allocated += ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
        allocated
    };
    publish_all((0..20).map(|_| run()).collect());
    let allocated = publish_all((0..RUNS).map(|_| run()).collect());
    until("all of it is written", || written() >= clients[0].written());
    allocated as f64 / RUNS as f64
}

pub(crate) fn a_delivered_line_allocates_nothing_and_a_block_a_constant() {
    let server = Server::with(
        Hub::builder()
            .queue(1 << 16)
            .max_flush_interval(Duration::ZERO),
    );
    for _ in 0..SUBSCRIBERS {
        let socket = server.subscriber("process:p");
        // The threads that read allocate nothing themselves.
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while matches!(socket.stream().read(&mut buffer), Ok(1..)) {}
        });
    }
    until("all are there", || {
        server.hub.clients().len() == SUBSCRIBERS
    });
    let short = allocations_of_a_run(&server, 64);
    let long = allocations_of_a_run(&server, 1024);
    println!(
        "{short} allocations for a run of 64 lines to {SUBSCRIBERS} subscribers, {long} for one of 1024"
    );
    assert_eq!(server.hub.stats().skipped, 0);
    // A block allocates its run, its frames, their offsets, and a place in each writer's list.
    assert!(
        short < 20.0 + 5.0 * SUBSCRIBERS as f64,
        "{short} allocations for a block"
    );
    // 960 more lines are 9,600 more deliveries. Only a long block that takes more than one write
    // may cost more.
    assert!(
        long - short < 3.0 * SUBSCRIBERS as f64,
        "{short} allocations for 64 lines, {long} for 1024"
    );
}

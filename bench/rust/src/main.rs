//! The peers in Rust, and those of our figures that run in Rust. It reads lines `name n` from
//! standard input and answers each with one number: nanoseconds per operation, of n, unless the
//! function of that name documents another unit.

mod repolled;
mod sending;
mod tasks;

use std::future::poll_fn;
use std::hint::black_box;
use std::io::{stdin, stdout, BufRead, Write};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Instant;

struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// A future sees its waker through a context, so the compiler does not know the vtable: black_box
/// hides it here too.
fn clone_drop(waker: Waker, n: u64) {
    for _ in 0..n {
        drop(black_box(&waker).clone());
    }
}

fn arc_clone_drop(n: u64) {
    clone_drop(Waker::from(Arc::new(Task)), n);
}

fn go_waker_clone_drop(n: u64) {
    let mut raw = MaybeUninit::<ffiwaker::RawWaker>::uninit();
    // SAFETY: Go writes a waker, whose reference is ours.
    let waker = unsafe {
        gofixture::goWaker(raw.as_mut_ptr().cast());
        ffiwaker::waker_from_raw(raw.assume_init())
    };
    clone_drop(waker, n);
}

fn self_waking(n: u64) {
    let mut left = n;
    futures_lite::future::block_on(poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
}

fn timed(f: fn(u64), n: u64) -> f64 {
    let start = Instant::now();
    f(n);
    start.elapsed().as_nanos() as f64 / n as f64
}

fn main() {
    for line in stdin().lock().lines() {
        let line = line.expect("a line");
        let (name, n) = line.split_once(' ').expect("name and count");
        let n: u64 = n.parse().expect("a count");
        let answer = match name {
            "arc_clone_drop" => timed(arc_clone_drop, n),
            "go_waker_clone_drop" => timed(go_waker_clone_drop, n),
            "self_waking" => timed(self_waking, n),
            "tokio_spawn_many" => tasks::spawn_many::<tasks::Tokio>(n),
            "smol_spawn_many" => tasks::spawn_many::<tasks::Smol>(n),
            "tokio_yield_many" => tasks::yield_many::<tasks::Tokio>(n),
            "smol_yield_many" => tasks::yield_many::<tasks::Smol>(n),
            "tokio_ping_pong" => tasks::tokio_ping_pong(n),
            "smol_ping_pong" => tasks::smol_ping_pong(n),
            "tokio_chained_spawn" => tasks::chained_spawn::<tasks::Tokio>(n),
            "smol_chained_spawn" => tasks::chained_spawn::<tasks::Smol>(n),
            "tokio_per_task" => tasks::tokio_per_task(n),
            "tokio_timers" => tasks::tokio_timers(n),
            "asynctask_local" => timed(tasks::asynctask_local, n),
            "join_all" => tasks::join_all_woken(n),
            "atomic_waker" => timed(tasks::atomic_waker, n),
            "tokio_oneshot" => timed(sending::oneshots, n),
            "tokio_oneshot_boxed" => timed(sending::oneshots_boxed, n),
            "tokio_mpsc_alone" => timed(sending::mpsc_alone, n),
            "tokio_mpsc_threads" => timed(sending::mpsc_threads, n),
            "foreign_repolled" => repolled::foreign(n) as f64,
            "asyncffi_repolled" => repolled::asyncffi(n) as f64,
            "rust_repolled_by_go" => repolled::by_go(n) as f64,
            _ => panic!("no peer {name}"),
        };
        println!("{answer}");
        stdout().flush().expect("standard output");
    }
}

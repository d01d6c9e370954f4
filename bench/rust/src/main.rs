//! The peers in Rust. A line `name n` on standard input is answered by the nanoseconds for each of n operations.

use std::future::poll_fn;
use std::hint::black_box;
use std::io::{stdin, stdout, BufRead, Write};
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Instant;

struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// A future sees its waker through a context and cannot know which it is: so black_box on the reference, and no more.
fn arc_clone_drop(n: u64) {
    let waker = Waker::from(Arc::new(Task));
    for _ in 0..n {
        drop(black_box(&waker).clone());
    }
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

fn main() {
    for line in stdin().lock().lines() {
        let line = line.expect("a line");
        let (name, n) = line.split_once(' ').expect("name and count");
        let n: u64 = n.parse().expect("a count");
        let peer = match name {
            "arc_clone_drop" => arc_clone_drop,
            "self_waking" => self_waking,
            _ => panic!("no peer {name}"),
        };
        let start = Instant::now();
        peer(n);
        println!("{}", start.elapsed().as_nanos() as f64 / n as f64);
        stdout().flush().expect("standard output");
    }
}

//! The peers of the oneshot and of the channel, both of tokio.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use tokio::sync::{mpsc, oneshot};

struct NoTask;

impl Wake for NoTask {
    fn wake(self: Arc<Self>) {}
}

/// Makes a oneshot, sends, polls once and drops, n times. The receiver is polled as it is.
pub fn oneshots(n: u64) {
    let waker = Waker::from(Arc::new(NoTask));
    let mut cx = Context::from_waker(&waker);
    for i in 0..n {
        let (tx, mut rx) = oneshot::channel::<u64>();
        tx.send(i).expect("a receiver");
        match Pin::new(black_box(&mut rx)).poll(&mut cx) {
            Poll::Ready(Ok(v)) => assert_eq!(v, i),
            _ => panic!("not ready"),
        }
    }
}

/// The same, and the receiver is a future whose type is erased, as that of every rawwaker_future is.
pub fn oneshots_boxed(n: u64) {
    type Erased = Pin<Box<dyn Future<Output = Result<u64, oneshot::error::RecvError>> + Send>>;
    let waker = Waker::from(Arc::new(NoTask));
    let mut cx = Context::from_waker(&waker);
    for i in 0..n {
        let (tx, rx) = oneshot::channel::<u64>();
        let mut rx: Erased = black_box(Box::pin(rx));
        tx.send(i).expect("a receiver");
        match rx.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(v)) => assert_eq!(v, i),
            _ => panic!("not ready"),
        }
    }
}

const CAPACITY: u64 = 128;
type Item = [u64; 8];

fn item(i: u64) -> Item {
    [i, 0, 0, 0, 0, 0, 0, 0]
}

/// Fills a channel and drains it on one thread, until n items were sent.
pub fn mpsc_alone(n: u64) {
    let waker = Waker::from(Arc::new(NoTask));
    let mut cx = Context::from_waker(&waker);
    let (tx, mut rx) = mpsc::channel::<Item>(CAPACITY as usize);
    for from in (0..n).step_by(CAPACITY as usize) {
        for i in from..from + CAPACITY {
            tx.try_send(black_box(item(i))).expect("room");
        }
        for i in from..from + CAPACITY {
            match rx.poll_recv(&mut cx) {
                Poll::Ready(Some(v)) => assert_eq!(black_box(v)[0], i),
                _ => panic!("not ready"),
            }
        }
    }
}

/// One thread sends n items and this one receives them.
pub fn mpsc_threads(n: u64) {
    let (tx, mut rx) = mpsc::channel::<Item>(CAPACITY as usize);
    let sender = thread::spawn(move || {
        for i in 0..n {
            tx.blocking_send(black_box(item(i))).expect("a receiver");
        }
    });
    let mut received = 0;
    while let Some(v) = rx.blocking_recv() {
        assert_eq!(black_box(v)[0], received);
        received += 1;
    }
    sender.join().expect("the sender");
    assert_eq!(received, n);
}

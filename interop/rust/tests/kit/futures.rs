//! Rust's futures as the kit sees them, through `into_raw`.

use std::ffi::c_long;
use std::future::{poll_fn, Future};
use std::mem::size_of;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ffiwaker::{into_raw, Foreign};
use futures::future::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::sys::{Arg, TestFuture};

struct Operation {
    complete: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    held: Arc<()>, // the future holds the other reference
}

unsafe extern "C" fn complete(arg: Arg) {
    // SAFETY: arg is an Operation until free, here and below.
    let f = unsafe { (*arg.cast::<Operation>()).complete.lock().unwrap().take() };
    f.expect("the kit completes once")();
}
unsafe extern "C" fn live(arg: Arg) -> c_long {
    // SAFETY: as above.
    unsafe { Arc::strong_count(&(*arg.cast::<Operation>()).held) as c_long - 1 }
}
unsafe extern "C" fn free(arg: Arg) {
    // SAFETY: as above. The kit calls it once, after every other function.
    drop(unsafe { Box::from_raw(arg.cast::<Operation>()) });
}

/// A future that becomes ready when `done` is called.
pub fn completed<F>(future: F, done: impl FnOnce() + Send + 'static) -> TestFuture
where
    F: Future<Output = u64> + Send + 'static,
{
    let held = Arc::new(());
    let its = held.clone();
    let future = into_raw(async move {
        let _its = its;
        future.await
    });
    let arg =
        Box::into_raw(Box::new(Operation { complete: Mutex::new(Some(Box::new(done))), held }))
            .cast();
    let (complete, live, free) = (Some(complete as _), Some(live as _), Some(free as _));
    TestFuture { future, arg, size: size_of::<u64>(), complete, live, free, lingers: false }
}

/// A future that becomes ready by itself.
pub fn by_itself<F: Future<Output = u64> + Send + 'static>(future: F) -> TestFuture {
    TestFuture { complete: None, ..completed(future, || {}) }
}

/// A tokio runtime, for futures that need its threads or its clock.
fn tokio() -> &'static tokio::runtime::Runtime {
    static ONE: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    ONE.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
    })
}

pub fn tokio_oneshot() -> TestFuture {
    let (tx, rx) = tokio::sync::oneshot::channel();
    completed(async move { rx.await.unwrap() }, move || _ = tx.send(42))
}
pub fn tokio_notify() -> TestFuture {
    let notify = Arc::new(tokio::sync::Notify::new());
    let n = notify.clone();
    let waits = async move {
        n.notified().await;
        42
    };
    completed(waits, move || notify.notify_one())
}
pub fn tokio_mpsc() -> TestFuture {
    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    completed(async move { rx.recv().await.unwrap() }, move || _ = tx.try_send(42))
}
/// Its task runs inside complete, and wakes there.
pub fn tokio_join_handle() -> TestFuture {
    let (tx, rx) = tokio::sync::oneshot::channel();
    let here = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let task = here.spawn(rx);
    completed(async move { task.await.unwrap().unwrap() }, move || {
        let _ = tx.send(42);
        here.block_on(tokio::task::yield_now());
    })
}
/// Its task wakes on a tokio thread, some time after complete.
pub fn tokio_join_handle_elsewhere() -> TestFuture {
    let (tx, rx) = tokio::sync::oneshot::channel();
    let task = tokio().spawn(rx);
    completed(async move { task.await.unwrap().unwrap() }, move || _ = tx.send(42))
}
/// Each poll enters the runtime, as tokio requires of such a future.
pub fn tokio_sleep() -> TestFuture {
    let mut sleep = None;
    by_itself(poll_fn(move |cx| {
        let _entered = tokio().enter();
        let s = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(2))));
        s.as_mut().poll(cx).map(|()| 42)
    }))
}
pub fn futures_oneshot() -> TestFuture {
    let (tx, rx) = futures::channel::oneshot::channel();
    completed(async move { rx.await.unwrap() }, move || _ = tx.send(42))
}
pub fn futures_mpsc() -> TestFuture {
    let (tx, mut rx) = futures::channel::mpsc::unbounded();
    completed(async move { rx.next().await.unwrap() }, move || _ = tx.unbounded_send(42))
}
pub fn futures_shared() -> TestFuture {
    let (tx, rx) = futures::channel::oneshot::channel::<u64>();
    let one = rx.shared();
    let other = one.clone();
    completed(async move { one.await.unwrap() + other.await.unwrap() }, move || _ = tx.send(21))
}
pub fn futures_unordered() -> TestFuture {
    let (txs, all): (Vec<_>, FuturesUnordered<_>) =
        (0..3).map(|_| tokio::sync::oneshot::channel::<u64>()).unzip();
    let sum = all.fold(0, |sum, v| async move { sum + v.unwrap() });
    completed(sum, move || txs.into_iter().for_each(|tx| _ = tx.send(14)))
}
pub fn select_of_two() -> TestFuture {
    let (tx, rx) = tokio::sync::oneshot::channel();
    let either = async move {
        tokio::select! {
            biased;
            () = std::future::pending() => 0,
            v = rx => v.unwrap(),
        }
    };
    completed(either, move || _ = tx.send(42))
}
pub fn async_executor_task() -> TestFuture {
    static ONE: async_executor::Executor<'static> = async_executor::Executor::new();
    static RUNS: OnceLock<()> = OnceLock::new();
    RUNS.get_or_init(|| {
        std::thread::spawn(|| futures::executor::block_on(ONE.run(std::future::pending::<()>())));
    });
    let (tx, rx) = tokio::sync::oneshot::channel();
    completed(ONE.spawn(async move { rx.await.unwrap_or(0) }), move || _ = tx.send(42))
}
pub fn wakes_itself() -> TestFuture {
    let mut polls = 0;
    by_itself(poll_fn(move |cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        if polls > 3 {
            Poll::Ready(42)
        } else {
            Poll::Pending
        }
    }))
}
/// Rust in C in Rust in C.
pub fn there_and_back() -> TestFuture {
    let (tx, rx) = tokio::sync::oneshot::channel();
    let inner = into_raw(async move { rx.await.unwrap() });
    // SAFETY: inner is a future of a u64, and no other code uses it.
    let foreign = unsafe { Foreign::<u64>::from_raw(inner) };
    completed(async move { foreign.await + 1 }, move || _ = tx.send(41))
}

/// A C future that is polled under another Rust waker each time, as some combinators do.
pub fn relayed() -> TestFuture {
    struct Relay(Waker);
    impl Wake for Relay {
        fn wake(self: Arc<Self>) {
            self.0.wake_by_ref();
        }
    }
    let (tx, rx) = tokio::sync::oneshot::channel();
    // SAFETY: as above.
    let mut foreign =
        unsafe { Foreign::<u64>::from_raw(into_raw(async move { rx.await.unwrap() })) };
    let relayed = poll_fn(move |cx| {
        let own = Waker::from(Arc::new(Relay(cx.waker().clone())));
        Pin::new(&mut foreign).poll(&mut Context::from_waker(&own))
    });
    completed(relayed, move || _ = tx.send(42))
}

// ----------------------------------------------------------------------------- futures with a lock

/// A simple implementation: one lock around all of the state.
#[derive(Default)]
struct Locked {
    waker: Option<Waker>,
    done: bool,
}

struct Waits {
    shared: Arc<Mutex<Locked>>,
    poll: fn(&Mutex<Locked>, &Context<'_>),
}

impl Future for Waits {
    type Output = u64;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        (self.poll)(&self.shared, cx);
        if self.shared.lock().unwrap().done {
            return Poll::Ready(42);
        }
        Poll::Pending
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let kept = self.shared.lock().unwrap().waker.take();
        drop(kept);
    }
}

fn locked(poll: fn(&Mutex<Locked>, &Context<'_>), complete: fn(&Mutex<Locked>)) -> TestFuture {
    let shared = Arc::<Mutex<Locked>>::default();
    completed(Waits { shared: shared.clone(), poll }, move || complete(&shared))
}
fn clones_inside(shared: &Mutex<Locked>, cx: &Context<'_>) {
    let mut s = shared.lock().unwrap();
    s.waker = Some(cx.waker().clone()); // also drops the old one under the lock
}
fn wakes_outside(shared: &Mutex<Locked>) {
    let waker = {
        let mut s = shared.lock().unwrap();
        s.done = true;
        s.waker.take()
    };
    if let Some(w) = waker {
        w.wake();
    }
}

/// Its clone under a lock calls no slot of C: the crate cloned C's waker before the poll, and this
/// clones that clone.
pub fn clones_under_its_lock() -> TestFuture {
    locked(clones_inside, wakes_outside)
}

// ---------------------------------------------------------------------------------- faulty futures

pub fn wakes_under_its_lock() -> TestFuture {
    locked(clones_inside, |shared| {
        let mut s = shared.lock().unwrap();
        s.done = true;
        if let Some(w) = s.waker.take() {
            w.wake();
        }
    })
}
pub fn keeps_the_first_waker() -> TestFuture {
    locked(
        |shared, cx| {
            let fresh = cx.waker().clone();
            shared.lock().unwrap().waker.get_or_insert(fresh);
        },
        wakes_outside,
    )
}
pub fn keeps_no_waker() -> TestFuture {
    locked(|_, _| {}, wakes_outside)
}
pub fn leaks_when_dropped_early() -> TestFuture {
    let (tx, rx) = tokio::sync::oneshot::channel::<u64>();
    let held = Arc::new(());
    let its = held.clone();
    let mut inner = std::mem::ManuallyDrop::new(Box::pin(async move {
        let _its = its;
        rx.await.unwrap()
    }));
    let mut completed = false;
    let future = into_raw(poll_fn(move |cx| {
        assert!(!completed, "polled after it was ready");
        let polled = Pin::as_mut(&mut inner).poll(cx);
        if polled.is_ready() {
            completed = true;
            // SAFETY: once, because completed was false.
            unsafe { std::mem::ManuallyDrop::drop(&mut inner) };
        }
        polled
    }));
    let done = Box::new(move || _ = tx.send(42));
    let arg = Box::into_raw(Box::new(Operation { complete: Mutex::new(Some(done)), held })).cast();
    let (complete, live, free) = (Some(complete as _), Some(live as _), Some(free as _));
    TestFuture { future, arg, size: size_of::<u64>(), complete, live, free, lingers: false }
}

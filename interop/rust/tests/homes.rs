//! Where an exported future may be used: on one thread, or inside a tokio runtime.
#![cfg(not(miri))] // Miri calls no foreign function

use std::future::{pending, poll_fn, Future};
use std::pin::pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cfixture as _;
use ffiwaker::{
    into_raw, into_raw_local, into_raw_on, waker_into_raw, Foreign, RawContext, RawFuture,
    PANICKED, PENDING, READY,
};
use futures::executor::block_on;
use tokio::runtime::{Builder, Handle, Runtime};

extern "C" {
    fn rawwaker_last_panic() -> *const std::ffi::c_char;
}

fn foreign(raw: RawFuture) -> Foreign<u64> {
    // SAFETY: each caller gives a future of a u64 away.
    unsafe { Foreign::from_raw(raw) }
}

/// Polls as C does. Returns the code, the result, and the text of a panic.
fn poll(raw: RawFuture) -> (u8, u64, String) {
    let noop = waker_into_raw(Waker::noop().clone());
    let mut out = 0u64;
    let mut cx = RawContext { waker: &noop };
    // SAFETY: this keeps C's side of the contract.
    let code = unsafe { ((*raw.vtable).poll)(raw.data, &mut cx, (&raw mut out).cast()) };
    // SAFETY: never NULL, and valid until this thread's next poll.
    let text = unsafe { std::ffi::CStr::from_ptr(rawwaker_last_panic()) };
    (code, out, if code == PANICKED { text.to_str().unwrap().to_owned() } else { String::new() })
}

fn drop_raw(raw: RawFuture) {
    // SAFETY: each caller drops the future once.
    unsafe { ((*raw.vtable).drop)(raw.data) }
}

fn on_another_thread<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    std::thread::spawn(f).join().unwrap()
}

struct Counts(Arc<AtomicUsize>);
impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

// -------------------------------------------------------------------------------- into_raw_local

const ELSEWHERE: &str = "a future of into_raw_local is on another thread \
                         (use it on the thread that made it)";

#[test]
fn into_raw_local_runs_a_future_that_is_not_send() {
    let shared = Rc::new(42u64);
    let inner = shared.clone();
    let raw = into_raw_local(async move {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 3 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        *inner
    });
    assert_eq!(block_on(foreign(raw)), 42);
    assert_eq!(Rc::strong_count(&shared), 1);
    // SAFETY: the future is of an Rc<u64>, and this thread made it.
    let same = unsafe { Foreign::<Rc<u64>>::from_raw(into_raw_local(async move { shared })) };
    assert_eq!(*block_on(same), 42);
}

#[test]
fn into_raw_local_polled_on_another_thread_panics_and_stays() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (counts, rc) = (Counts(drops.clone()), Rc::new(42u64));
    let raw = into_raw_local(async move {
        let _counts = counts;
        *rc
    });
    for _ in 0..2 {
        let got = on_another_thread(move || poll(raw));
        assert_eq!(got, (PANICKED, 0, format!("poll: {ELSEWHERE}")));
        assert_eq!(drops.load(SeqCst), 0, "another thread must not drop it");
    }
    assert_eq!(poll(raw), (READY, 42, String::new()));
    assert_eq!(drops.load(SeqCst), 1);
    drop_raw(raw);
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn into_raw_local_completed_may_be_dropped_on_any_thread() {
    let rc = Rc::new(42u64);
    let raw = into_raw_local(async move { *rc });
    assert_eq!(poll(raw).0, READY);
    on_another_thread(move || drop_raw(raw));
    let raw = into_raw_local(async { panic!("why") as u64 });
    assert_eq!(poll(raw), (PANICKED, 0, "why".into()));
    on_another_thread(move || drop_raw(raw));
}

#[test]
fn into_raw_local_is_woken_from_any_thread() {
    let (to, wakers) = mpsc::channel::<Waker>();
    let waking = std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake));
    let to = Rc::new(to);
    let raw = into_raw_local(async move {
        let mut left = 1000;
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            to.send(cx.waker().clone()).unwrap();
            Poll::Pending
        })
        .await;
        42u64
    });
    assert_eq!(block_on(foreign(raw)), 42);
    waking.join().unwrap();
}

#[test]
fn into_raw_local_of_a_thread_that_has_ended_belongs_to_no_thread() {
    let raw = on_another_thread(|| into_raw_local(pending::<u64>()));
    for _ in 0..20 {
        // The system gives a new thread the memory, and perhaps the number, of one that has ended.
        assert_eq!(on_another_thread(move || poll(raw)).0, PANICKED);
    }
    assert_eq!(poll(raw).0, PANICKED);
} // the future is left: only its thread could drop it

/// Runs `abort` in a process of its own, as the test `name`. Returns what that process wrote to
/// standard error before it aborted.
fn aborted(name: &str, abort: impl FnOnce()) -> String {
    if std::env::var_os("HOMES_CHILD").is_some() {
        abort();
        panic!("it did not abort");
    }
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("HOMES_CHILD", "1")
        .output()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&out.status), Some(6), "{out:?}");
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn into_raw_local_dropped_on_another_thread_aborts_with_one_line() {
    let line = aborted("into_raw_local_dropped_on_another_thread_aborts_with_one_line", || {
        let raw = into_raw_local(pending::<u64>());
        assert_eq!(poll(raw).0, PENDING);
        on_another_thread(move || drop_raw(raw));
    });
    assert_eq!(line, format!("rawwaker: drop: {ELSEWHERE}\n"));
}

#[test]
fn into_raw_local_awaited_on_another_thread_aborts_with_one_line() {
    let line = aborted("into_raw_local_awaited_on_another_thread_aborts_with_one_line", || {
        let f = foreign(into_raw_local(pending::<u64>()));
        on_another_thread(move || block_on(f));
    });
    assert_eq!(line, format!("rawwaker: drop: {ELSEWHERE}\n"));
}

struct PanicsInDrop;
impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("two\nlines")
    }
}

#[test]
fn into_raw_whose_drop_panics_aborts_with_one_line() {
    let line = aborted("into_raw_whose_drop_panics_aborts_with_one_line", || {
        std::panic::set_hook(Box::new(|_| ()));
        let guard = PanicsInDrop;
        drop_raw(into_raw(async move {
            let _guard = guard;
            1u64
        }));
    });
    assert_eq!(line, "rawwaker: drop: panic in a Rust future's drop: two lines\n");
}

// ----------------------------------------------------------------------------------- into_raw_on

fn tokio(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

/// Needs the runtime of its thread when it is dropped.
struct NeedsRuntime(Arc<AtomicUsize>);
impl Drop for NeedsRuntime {
    fn drop(&mut self) {
        Handle::current().spawn(async {});
        self.0.fetch_add(1, SeqCst);
    }
}

fn no_runtime() -> bool {
    Handle::try_current().is_err()
}

#[test]
fn into_raw_on_runs_timers_and_tasks_on_a_thread_without_a_runtime() {
    let tokio = tokio(1);
    let raw = into_raw_on(tokio.handle(), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::spawn(async { 41u64 }).await.unwrap() + 1
    });
    assert!(no_runtime());
    assert_eq!(block_on(foreign(raw)), 42);
    assert!(no_runtime());
}

#[test]
fn into_raw_on_enters_the_runtime_in_each_poll() {
    let tokio = tokio(1);
    let mut polls = 0;
    let raw = into_raw_on(
        tokio.handle(),
        poll_fn(move |_| {
            Handle::current();
            polls += 1;
            if polls == 4 {
                Poll::Ready(42u64)
            } else {
                Poll::Pending
            }
        }),
    );
    for _ in 0..3 {
        assert_eq!(on_another_thread(move || (poll(raw).0, no_runtime())), (PENDING, true));
    }
    assert_eq!(poll(raw), (READY, 42, String::new()));
    drop_raw(raw);
}

#[test]
fn into_raw_on_enters_the_runtime_in_the_drop() {
    let tokio = tokio(1);
    let drops = Arc::new(AtomicUsize::new(0));
    let make = |ready: bool| {
        let needs = NeedsRuntime(drops.clone());
        into_raw_on(tokio.handle(), async move {
            let _needs = needs;
            if !ready {
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
            1u64
        })
    };
    drop_raw(make(false)); // never polled
    assert_eq!(drops.load(SeqCst), 1);
    let raw = make(false);
    assert_eq!(poll(raw).0, PENDING);
    on_another_thread(move || {
        drop_raw(raw);
        assert!(no_runtime());
    });
    assert_eq!(drops.load(SeqCst), 2);
    let raw = make(true); // dropped in the poll that is ready
    assert_eq!((poll(raw).0, drops.load(SeqCst)), (READY, 3));
    drop_raw(raw);
    assert_eq!(drops.load(SeqCst), 3);
}

#[test]
fn into_raw_on_drops_a_result_that_nobody_takes_inside_the_runtime() {
    let tokio = tokio(1);
    let drops = Arc::new(AtomicUsize::new(0));
    let needs = NeedsRuntime(drops.clone());
    let raw = into_raw_on(tokio.handle(), async move { needs });
    let noop = waker_into_raw(Waker::noop().clone());
    let mut cx = RawContext { waker: &noop };
    // SAFETY: this keeps C's side of the contract, except for the NULL.
    let code = unsafe { ((*raw.vtable).poll)(raw.data, &mut cx, std::ptr::null_mut()) };
    assert_eq!((code, drops.load(SeqCst)), (PANICKED, 1));
    drop_raw(raw);
}

#[test]
fn into_raw_on_that_panics_leaves_the_runtime() {
    let tokio = tokio(1);
    let raw = into_raw_on(tokio.handle(), async { panic!("why") as u64 });
    assert_eq!(poll(raw), (PANICKED, 0, "why".into()));
    assert!(no_runtime());
    drop_raw(raw);
}

#[test]
fn into_raw_on_inside_another_runtime_uses_its_own() {
    let (own, other) = (tokio(1), tokio(1));
    let id = own.handle().id();
    let raw = into_raw_on(own.handle(), async move { u64::from(Handle::current().id() == id) });
    assert_eq!(other.block_on(foreign(raw)), 1);
}

#[test]
fn into_raw_on_after_the_runtime_has_shut_down_panics_and_drops() {
    let tokio = tokio(1);
    let drops = Arc::new(AtomicUsize::new(0));
    let needs = NeedsRuntime(drops.clone());
    let raw = into_raw_on(tokio.handle(), async move {
        let _needs = needs;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        1u64
    });
    let left = into_raw_on(tokio.handle(), pending::<u64>());
    assert_eq!((poll(raw).0, poll(left).0), (PENDING, PENDING));
    drop(tokio);
    let (code, _, text) = poll(raw);
    assert_eq!(code, PANICKED);
    assert!(text.contains("shutdown"), "{text}");
    assert_eq!(drops.load(SeqCst), 1);
    drop_raw(raw);
    drop_raw(left);
}

/// Futures on one runtime are polled here, and half of them dropped half-way on other threads.
#[test]
fn storm_of_tokio_futures_drops_each_once_inside_the_runtime() {
    let tokio = tokio(2);
    let drops = Arc::new(AtomicUsize::new(0));
    let (threads, rounds) = (8, 100);
    std::thread::scope(|s| {
        for i in 0..threads {
            let (drops, handle) = (drops.clone(), tokio.handle().clone());
            s.spawn(move || {
                for round in 0..rounds {
                    let needs = NeedsRuntime(drops.clone());
                    let mut f = foreign(into_raw_on(&handle, async move {
                        let _needs = needs;
                        tokio::task::yield_now().await;
                        tokio::spawn(async { 1u64 }).await.unwrap()
                    }));
                    if (i + round) % 2 == 0 {
                        assert_eq!(block_on(f), 1);
                        continue;
                    }
                    let waker = futures::task::noop_waker();
                    let _ = pin!(&mut f).poll(&mut Context::from_waker(&waker));
                    std::thread::spawn(move || drop(f)).join().unwrap();
                }
            });
        }
    });
    assert_eq!(drops.load(SeqCst), threads * rounds);
}

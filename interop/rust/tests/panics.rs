//! Panics that cross between Rust and C: what arrives, what is printed, and what is dropped.
#![cfg(not(miri))] // Miri calls no foreign function

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::future::Future;
use std::panic::{catch_unwind, panic_any, set_hook, AssertUnwindSafe};
use std::pin::pin;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::task::{Context, Poll, Waker};

use cfixture as _;
use ffiwaker::{
    into_raw, waker_into_raw, Foreign, ForeignPanic, RawContext, RawFuture, RawFutureVTable,
    PANICKED,
};
use futures::executor::block_on;

const PASS: i32 = 0;
const COPY: i32 = 1;
const OWN: i32 = 2;
const SILENT: i32 = 3;
const RESCUE: i32 = 4;
const AFTER: i32 = 5;
const OLDER: i32 = 6;
const ELSEWHERE: i32 = 7;

extern "C" {
    fn fixture_live() -> usize;
    fn fixture_forward(inner: RawFuture, other: RawFuture, mode: i32) -> RawFuture;
    fn fixture_value(v: u64, out: *mut RawFuture);
    fn rawwaker_last_panic() -> *const std::ffi::c_char;
    fn rawwaker_live() -> usize;
    fn rawwaker_set_panic(msg: *const std::ffi::c_char, len: usize);
}

thread_local!(static PRINTED: Cell<usize> = const { Cell::new(0) });
/// Payloads of the type `Held` that exist.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// A payload that is not a string, and is counted.
struct Held(u64);

impl Held {
    fn new(v: u64) -> Held {
        HELD.fetch_add(1, SeqCst);
        Held(v)
    }
}
impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(1, SeqCst);
    }
}

/// Runs one test at a time, and fails it if it leaves a payload, a C future or a waker behind.
struct Balance(#[allow(dead_code)] MutexGuard<'static, ()>);

fn balance() -> Balance {
    static ONE: Mutex<()> = Mutex::new(());
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        set_hook(Box::new(move |info| {
            PRINTED.set(PRINTED.get() + 1);
            print(info)
        }));
    });
    Balance(ONE.lock().unwrap_or_else(|e| e.into_inner()))
}

impl Drop for Balance {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the calls read counters.
            let live = unsafe { (fixture_live(), rawwaker_live()) };
            assert_eq!((HELD.load(SeqCst), live), (0, (0, 0)), "payloads, C futures and wakers");
        }
    }
}

/// What `f` panics with, and how many messages this thread has printed.
fn caught<R>(f: impl FnOnce() -> R) -> (Box<dyn Any + Send>, usize) {
    let before = PRINTED.get();
    let payload = catch_unwind(AssertUnwindSafe(|| _ = f())).expect_err("it must panic");
    (payload, PRINTED.get() - before)
}

fn foreign(raw: RawFuture) -> Foreign<u64> {
    // SAFETY: each caller gives a future of a u64 away.
    unsafe { Foreign::from_raw(raw) }
}

/// A Rust future that panics with a payload that is not a string.
fn holds(v: u64) -> RawFuture {
    into_raw(async move { panic_any(Held::new(v)) as u64 })
}

fn panics(text: &'static str) -> RawFuture {
    into_raw(async move { panic_any(text) as u64 })
}

const NONE: RawFuture = RawFuture { data: null_mut(), vtable: null() };

fn forward(inner: RawFuture, other: RawFuture, mode: i32) -> RawFuture {
    // SAFETY: C takes both futures over.
    unsafe { fixture_forward(inner, other, mode) }
}

fn string(payload: Box<dyn Any + Send>) -> String {
    *payload.downcast::<String>().expect("the text is a String")
}

fn last_panic() -> String {
    // SAFETY: never NULL, and valid until this thread's next poll.
    unsafe { std::ffi::CStr::from_ptr(rawwaker_last_panic()) }.to_str().unwrap().to_owned()
}

/// Polls as C does. Returns the code, and drops the future.
fn poll_as_c(raw: RawFuture) -> u8 {
    let noop = waker_into_raw(Waker::noop().clone());
    let mut out = 0u64;
    // SAFETY: this keeps C's side of the contract.
    unsafe {
        let code =
            ((*raw.vtable).poll)(raw.data, &mut RawContext { waker: &noop }, (&raw mut out).cast());
        ((*raw.vtable).drop)(raw.data);
        code
    }
}

#[test]
fn payload_that_is_no_string_crosses_as_it_is_and_prints_once() {
    let _balance = balance();
    let (payload, printed) =
        caught(|| block_on(foreign(into_raw(async { panic_any(42u32) as u64 }))));
    assert_eq!((payload.downcast_ref::<u32>(), printed), (Some(&42), 1));
    for mode in [PASS, COPY] {
        let (payload, printed) = caught(|| block_on(foreign(forward(holds(42), NONE, mode))));
        assert_eq!((payload.downcast_ref::<Held>().map(|h| h.0), printed), (Some(42), 1));
    }
}

#[test]
fn payload_crosses_several_boundaries() {
    let _balance = balance();
    let mut raw = holds(42);
    for _ in 0..5 {
        let inner = foreign(forward(raw, NONE, PASS));
        raw = into_raw(async move { inner.await + 1 });
    }
    let (payload, printed) = caught(|| block_on(foreign(raw)));
    assert_eq!(payload.downcast_ref::<Held>().map(|h| h.0), Some(42));
    assert_eq!(printed, 1);
}

#[test]
fn payload_that_c_catches_is_dropped_when_the_poll_returns() {
    let _balance = balance();
    assert_eq!(block_on(foreign(forward(holds(1), NONE, RESCUE))), 7);
    assert_eq!(HELD.load(SeqCst), 0);
    let (payload, printed) = caught(|| block_on(foreign(forward(holds(1), NONE, OWN))));
    assert_eq!((HELD.load(SeqCst), string(payload), printed), (0, "C's own".to_owned(), 2));
    let (payload, printed) = caught(|| block_on(foreign(forward(holds(1), NONE, SILENT))));
    assert_eq!(string(payload), "a foreign future panicked without a message");
    assert_eq!((HELD.load(SeqCst), printed), (0, 2));
    let (payload, printed) = caught(|| block_on(foreign(forward(panics("a"), NONE, OWN))));
    assert_eq!((string(payload), printed), ("C's own".to_owned(), 2));
}

#[test]
fn payload_of_the_wrong_panic_never_arrives() {
    let _balance = balance();
    // Two payloads with one text: which of them C passes on cannot be known.
    for mode in [AFTER, OLDER] {
        let (payload, printed) = caught(|| block_on(foreign(forward(holds(1), holds(2), mode))));
        assert_eq!((HELD.load(SeqCst), string(payload), printed), (0, "Box<dyn Any>".into(), 2));
    }
    // The texts tell strings apart.
    let f = forward(panics("first"), panics("second"), AFTER);
    let (payload, printed) = caught(|| block_on(foreign(f)));
    assert_eq!((string(payload), printed), ("first".into(), 2));
    let f = forward(holds(1), panics("second"), AFTER);
    let (payload, printed) = caught(|| block_on(foreign(f)));
    assert_eq!((payload.downcast_ref::<Held>().map(|h| h.0), printed), (Some(1), 2));
    drop(payload);
    // A poll that failed before leaves nothing to the next one.
    assert_eq!(block_on(foreign(forward(holds(1), NONE, RESCUE))), 7);
    let says_box = into_raw(async { panic_any("Box<dyn Any>") as u64 });
    let (payload, _) = caught(|| block_on(foreign(says_box)));
    assert_eq!(string(payload), "Box<dyn Any>");
}

#[test]
fn payload_that_no_foreign_awaits_is_dropped_in_the_poll_of_c() {
    let _balance = balance();
    assert_eq!(poll_as_c(holds(1)), PANICKED);
    assert_eq!((HELD.load(SeqCst), last_panic()), (0, "Box<dyn Any>".to_owned()));
    std::thread::spawn(|| assert_eq!(poll_as_c(holds(1)), PANICKED)).join().unwrap();
    assert_eq!(HELD.load(SeqCst), 0);
    // Neither does a Foreign on another thread take it.
    let (payload, _) = caught(|| block_on(foreign(forward(holds(1), NONE, ELSEWHERE))));
    assert_eq!((HELD.load(SeqCst), string(payload)), (0, "Box<dyn Any>".to_owned()));
}

/// Panics when it is dropped, with another `Bomb` as the payload, until the count is 0.
struct Bomb(usize);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Bomb(self.0 - 1));
        }
    }
}

#[test]
fn payload_whose_drop_panics_is_dropped_without_an_abort() {
    let _balance = balance();
    for bombs in 0..4 {
        let raw = into_raw(async move { panic_any(Bomb(bombs)) as u64 });
        assert_eq!(block_on(foreign(forward(raw, NONE, RESCUE))), 7);
        let raw = into_raw(async move { panic_any(Bomb(bombs)) as u64 });
        let (payload, _) = caught(|| block_on(foreign(forward(raw, NONE, OWN))));
        assert_eq!(string(payload), "C's own");
        let raw = into_raw(async move { panic_any(Bomb(bombs)) as u64 });
        let (payload, _) = caught(|| block_on(foreign(raw)));
        std::mem::forget(payload.downcast::<Bomb>().expect("the Bomb itself"));
    }
}

/// Polls and drops a future of a Rust payload when it is dropped itself.
struct Nested(u64);
impl Drop for Nested {
    fn drop(&mut self) {
        assert_eq!(poll_as_c(holds(self.0)), PANICKED);
        let mut rescued = pin!(foreign(forward(holds(self.0), NONE, RESCUE)));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(rescued.as_mut().poll(&mut cx), Poll::Ready(7));
    }
}

#[test]
fn payload_whose_drop_polls_disturbs_no_text() {
    let _balance = balance();
    let raw = into_raw(async { panic_any(Nested(1)) as u64 });
    let (payload, _) = caught(|| block_on(foreign(forward(raw, NONE, OWN))));
    assert_eq!(string(payload), "C's own");
    let raw = into_raw(async { panic_any(Nested(1)) as u64 });
    assert_eq!(poll_as_c(raw), PANICKED);
    assert_eq!(last_panic(), "Box<dyn Any>");
    // A future whose drop polls as well.
    let guard = Nested(2);
    let raw = into_raw(async move {
        let _guard = guard;
        panic_any("mine") as u64
    });
    let (payload, _) = caught(|| block_on(foreign(raw)));
    assert_eq!(string(payload), "mine");
}

#[test]
fn text_arrives_whole_and_as_a_string() {
    let _balance = balance();
    let (payload, printed) = caught(|| block_on(foreign(panics("a text"))));
    assert_eq!((string(payload), printed), ("a text".into(), 1));
    for text in ["ä".repeat(5000), "x".repeat(1024), "y".repeat(1025), "a\0b".into(), "".into()] {
        let says = text.clone();
        let raw = forward(into_raw(async move { panic_any(says) as u64 }), NONE, COPY);
        let (payload, printed) = caught(|| block_on(foreign(raw)));
        assert_eq!((string(payload), printed), (text, 1));
    }
}

unsafe extern "C" fn silent_poll(_: *mut c_void, _: *mut RawContext, _: *mut c_void) -> u8 {
    PANICKED
}
unsafe extern "C" fn nine_poll(_: *mut c_void, _: *mut RawContext, _: *mut c_void) -> u8 {
    9
}
unsafe extern "C" fn nothing(_: *mut c_void) {}
static SILENT_FUTURE: RawFutureVTable = RawFutureVTable { poll: silent_poll, drop: nothing };
static NINE: RawFutureVTable = RawFutureVTable { poll: nine_poll, drop: nothing };

unsafe extern "C" fn once_poll(_: *mut c_void, _: *mut RawContext, _: *mut c_void) -> u8 {
    // SAFETY: C copies the bytes.
    unsafe { rawwaker_set_panic(c"once".as_ptr(), 4) };
    PANICKED
}
static ONCE: RawFutureVTable = RawFutureVTable { poll: once_poll, drop: nothing };

#[test]
fn text_that_was_printed_on_another_thread_is_not_printed_again() {
    let _balance = balance();
    let f = foreign(forward(panics("once"), NONE, ELSEWHERE));
    let (payload, printed) = caught(|| block_on(f));
    assert_eq!((string(payload), printed), ("once".into(), 0), "the other thread has printed it");
    let f = foreign(RawFuture { data: null_mut(), vtable: &ONCE });
    let (payload, printed) = caught(|| block_on(f));
    assert_eq!((string(payload), printed), ("once".into(), 1), "another panic with that text");
    assert_eq!(block_on(foreign(forward(panics(""), NONE, RESCUE))), 7);
    let f = foreign(RawFuture { data: null_mut(), vtable: &SILENT_FUTURE });
    assert_eq!(caught(|| block_on(f)).1, 1, "a panic without a text is always printed");
}

#[test]
fn text_of_an_earlier_poll_is_not_that_of_a_future_without_one() {
    let _balance = balance();
    assert_eq!(poll_as_c(panics("before")), PANICKED);
    let f = foreign(RawFuture { data: null_mut(), vtable: &SILENT_FUTURE });
    assert_eq!(block_on(f.outcome()).unwrap_err().message(), "");
}

#[test]
fn outcome_is_a_result_and_prints_nothing() {
    let _balance = balance();
    assert_eq!(block_on(foreign(into_raw(async { 42u64 })).outcome()).unwrap(), 42);
    let before = PRINTED.get();
    let e = block_on(foreign(forward(holds(1), NONE, OWN)).outcome()).unwrap_err();
    assert_eq!((e.message(), e.to_string().as_str()), ("C's own", "C's own"));
    assert_eq!(format!("{e:?}"), r#"ForeignPanic { message: "C's own", has_payload: false }"#);
    assert_eq!(string(e.into_payload()), "C's own");
    let e = block_on(foreign(forward(holds(1), NONE, SILENT)).outcome()).unwrap_err();
    assert_eq!(e.to_string(), "a foreign future panicked without a message");
    let e = block_on(foreign(holds(42)).outcome()).unwrap_err();
    assert_eq!(e.message(), "Box<dyn Any>");
    assert_eq!(e.into_payload().downcast_ref::<Held>().map(|h| h.0), Some(42));
    let nine = foreign(RawFuture { data: null_mut(), vtable: &NINE });
    let e = block_on(nine.outcome()).unwrap_err();
    assert_eq!(e.message(), "slot poll returned 9, which is not a rawwaker_poll");
    assert_eq!(PRINTED.get() - before, 3, "the panics of Rust's own futures");
}

#[test]
fn outcome_error_is_an_error_that_any_thread_may_drop_or_resume() {
    let _balance = balance();
    fn any_error<E: std::error::Error + Send + Sync + 'static>(e: E) -> Box<E> {
        Box::new(e)
    }
    let e: Box<ForeignPanic> = any_error(block_on(foreign(holds(1)).outcome()).unwrap_err());
    std::thread::spawn(|| drop(e)).join().unwrap();
    assert_eq!(HELD.load(SeqCst), 0);
    let e = block_on(foreign(holds(2)).outcome()).unwrap_err();
    let payload = std::thread::spawn(|| e.resume()).join().unwrap_err();
    assert_eq!(payload.downcast_ref::<Held>().map(|h| h.0), Some(2));
    drop(payload);
    let e = block_on(foreign(holds(3)).outcome()).unwrap_err();
    let (payload, printed) = caught(|| e.resume());
    assert_eq!((payload.downcast_ref::<Held>().map(|h| h.0), printed), (Some(3), 0));
    drop(payload);
    let e = block_on(foreign(forward(panics("a"), NONE, OWN)).outcome()).unwrap_err();
    let (payload, printed) = caught(|| e.resume());
    assert_eq!((string(payload), printed), ("C's own".into(), 1), "no hook has run for C's");
}

#[test]
fn outcome_dropped_early_cancels_once() {
    let _balance = balance();
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let guard = Guard(drops.clone());
    let raw = into_raw(async move {
        let _guard = guard;
        std::future::pending::<u64>().await
    });
    let mut outcome = foreign(raw).outcome();
    assert!(pin!(&mut outcome).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(drops.load(SeqCst), 0);
    std::thread::spawn(move || drop(outcome)).join().unwrap();
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn outcome_polled_after_completion_panics() {
    let _balance = balance();
    let mut outcome = foreign(panics("a")).outcome();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(pin!(&mut outcome).poll(&mut cx), Poll::Ready(Err(_))));
    let (payload, _) = caught(|| _ = pin!(&mut outcome).poll(&mut cx));
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"future polled after completion"));
}

#[test]
fn from_fn_takes_the_future_that_c_writes() {
    let _balance = balance();
    // SAFETY: C writes a future of a u64, here and below.
    let f = unsafe { Foreign::<u64>::from_fn(|out| fixture_value(42, out)) };
    assert_eq!(block_on(f), 42);
    // SAFETY: as above.
    drop(unsafe { Foreign::<u64>::from_fn(|out| fixture_value(42, out)) });
    // SAFETY: C writes nothing.
    let (payload, _) = caught(|| unsafe { Foreign::<u64>::from_fn(|out| fixture_value(0, out)) });
    let text = payload.downcast_ref::<&str>().copied();
    assert_eq!(text, Some("ffiwaker: Foreign::from_fn: no future was written"));
}

/// Threads panic through C at the same time, and each receives its own payload.
#[test]
fn storm_of_payloads_gives_each_thread_its_own() {
    let _balance = balance();
    let (threads, rounds) = (8, 200);
    let joins: Vec<_> = (0..threads)
        .map(|i| {
            std::thread::spawn(move || {
                for round in 0..rounds {
                    let v = i * rounds + round;
                    let raw = match round % 4 {
                        0 => holds(v),
                        1 => forward(holds(v), NONE, PASS),
                        2 => forward(holds(v), NONE, COPY),
                        _ => {
                            let inner = foreign(holds(v));
                            into_raw(inner)
                        }
                    };
                    if round % 5 == 0 {
                        assert_eq!(block_on(foreign(forward(holds(v), NONE, RESCUE))), 7);
                    }
                    let e = block_on(foreign(raw).outcome()).unwrap_err();
                    assert_eq!(e.into_payload().downcast_ref::<Held>().map(|h| h.0), Some(v));
                }
            })
        })
        .collect();
    joins.into_iter().for_each(|j| j.join().unwrap());
}

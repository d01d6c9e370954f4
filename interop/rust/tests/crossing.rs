//! Wakers and futures that cross between Rust, C and Go. `gofixture` builds the Go ones.
#![cfg(not(miri))] // Miri calls no foreign function

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::c_void;
use std::future::{poll_fn, Future};
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ffiwaker::{
    into_raw, stream_into_raw, waker_from_raw, waker_into_raw, Foreign, ForeignStream, RawContext,
    RawFuture, RawFutureVTable, RawWaker,
};
use futures::executor::block_on;
use futures::stream::{poll_fn as poll_fn_stream, Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

/// Counts this thread's allocations.
struct Counting;

// SAFETY: System does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller promised it.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller promised it.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

/// Runs one test at a time, and fails it if it leaves a counted C waker behind.
struct Balance(#[allow(dead_code)] MutexGuard<'static, ()>);

fn balance() -> Balance {
    static ONE: Mutex<()> = Mutex::new(());
    Balance(ONE.lock().unwrap_or_else(|e| e.into_inner()))
}

impl Drop for Balance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: the call reads a counter.
        let live = || unsafe { gofixture::rawwaker_live() };
        // Go's dispatcher frees the box of a function's waker some time after the last drop.
        for _ in 0..10_000 {
            if live() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{} counted wakers are left", live());
    }
}

/// The value that `f` writes through the pointer.
fn put<T>(f: impl FnOnce(*mut c_void)) -> T {
    let mut out = MaybeUninit::<T>::uninit();
    f(out.as_mut_ptr().cast());
    // SAFETY: f has written a T.
    unsafe { out.assume_init() }
}

fn go(f: impl FnOnce(*mut c_void)) -> Foreign<u64> {
    // SAFETY: each caller writes a future of a u64.
    unsafe { Foreign::from_raw(put(f)) }
}
fn go_async(v: u64) -> Foreign<u64> {
    // SAFETY: out is memory for a future, here and below.
    go(|out| unsafe { gofixture::goAsync(v, out) })
}
fn go_goroutine(v: u64) -> Foreign<u64> {
    // SAFETY: as above.
    go(|out| unsafe { gofixture::goGoroutine(v, out) })
}
fn go_sleep(ms: u64) -> Foreign<()> {
    // SAFETY: as above; this future has no result.
    unsafe { Foreign::from_raw(put(|out| gofixture::goSleep(ms, out))) }
}

/// Calls Go's BlockOn on this thread. The error is the text of a panic.
fn go_block_on(f: RawFuture) -> Result<u64, String> {
    let (mut v, mut text) = (0, [0u8; 2048]);
    // SAFETY: v and text are memory for what Go writes, and Go takes the future over.
    let code = unsafe {
        gofixture::goBlockOn(
            f.data as usize,
            f.vtable as usize,
            &mut v,
            text.as_mut_ptr(),
            text.len(),
        )
    };
    if code == 0 {
        return Ok(v);
    }
    let end = text.iter().position(|&b| b == 0).expect("Go ends the text with a 0");
    Err(String::from_utf8_lossy(&text[..end]).into_owned())
}

struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

// ----------------------------------------------------------------------------------------- streams

/// Takes a Rust stream through Go, which adds 1 to each item.
fn through_go(s: impl Stream<Item = u64> + Send + 'static) -> ForeignStream<u64> {
    let s = stream_into_raw(s);
    // SAFETY: Go takes s over, and writes a stream of u64 to memory for one.
    unsafe {
        let (data, vtable) = (s.data as usize, s.vtable as usize);
        ForeignStream::from_raw(put(|out| gofixture::goStream(data, vtable, out)))
    }
}

#[test]
fn stream_crosses_from_rust_through_go_to_rust() {
    let _balance = balance();
    for threads in [false, true] {
        let (tx, mut rx) = tokio::sync::mpsc::channel(1);
        let s = through_go(poll_fn_stream(move |cx| rx.poll_recv(cx)));
        let sends = std::thread::spawn(move || {
            for i in 0..200 {
                tx.blocking_send(i).unwrap();
            }
        });
        let all: Vec<_> = if threads {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
            let task = async { tokio::spawn(s.collect()).await.unwrap() };
            runtime.unwrap().block_on(task)
        } else {
            block_on(s.collect())
        };
        sends.join().unwrap();
        assert_eq!(all, (1..=200).collect::<Vec<_>>());
    }
}

#[test]
fn stream_that_ends_early_in_rust_or_go_is_dropped_once() {
    let _balance = balance();
    let held = Arc::new(());
    let its = held.clone();
    let mut s =
        through_go(poll_fn_stream(move |_| Poll::Ready(Some(Arc::strong_count(&its) as u64))));
    assert_eq!(block_on(s.next()), Some(3));
    drop(s);
    assert_eq!(Arc::strong_count(&held), 1);
    let its = held.clone();
    let mut s = through_go(poll_fn_stream(move |_| {
        assert_eq!(Arc::strong_count(&its), 7, "not seven");
        Poll::Pending
    }));
    let panic = catch_unwind(AssertUnwindSafe(|| block_on(s.next()))).unwrap_err();
    let text = panic.downcast_ref::<String>().expect("a text of Go's");
    assert!(text.contains("not seven"), "{text}");
    assert_eq!(Arc::strong_count(&held), 1);
}

// ------------------------------------------------------------------------------------------ wakers

#[test]
fn waker_from_raw_returns_the_original_rust_waker() {
    let _balance = balance();
    let task = Arc::new(CountWakes(AtomicUsize::new(0)));
    let w = Waker::from(task.clone());
    let raw = waker_into_raw(w.clone());
    // SAFETY: each reference is woken by value, dropped or taken over once.
    unsafe {
        let clone = ((*raw.vtable).clone)(raw.data);
        assert_eq!((clone.data, clone.vtable), (raw.data, raw.vtable));
        ((*raw.vtable).wake_by_ref)(raw.data);
        ((*clone.vtable).wake)(clone.data);
        let clone = ((*raw.vtable).clone)(raw.data);
        ((*clone.vtable).drop)(clone.data);
        let back = waker_from_raw(raw);
        assert!(back.will_wake(&w));
        back.wake();
    }
    assert_eq!(task.0.load(SeqCst), 3);
    drop(w);
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn waker_from_raw_takes_a_go_box_without_an_allocation() {
    let _balance = balance();
    // SAFETY: out is memory for a waker, and each reference is consumed once.
    unsafe {
        let raw: RawWaker = put(|out| gofixture::goWaker(out));
        let n = allocations(|| {
            let w = waker_from_raw(raw);
            for _ in 0..1000 {
                let c = w.clone();
                assert!(c.will_wake(&w));
                c.wake_by_ref();
                c.wake();
            }
            let back = waker_into_raw(w);
            assert_eq!((back.data, back.vtable), (raw.data, raw.vtable));
        });
        assert_eq!(n, 0);
        drop(waker_from_raw(raw));
    }
}

/// Counts the references of the C wakers with the vtable `PLAIN`, which are not boxes.
static REFERENCES: AtomicU64 = AtomicU64::new(0);
unsafe extern "C" fn plain_clone(data: *mut c_void) -> RawWaker {
    REFERENCES.fetch_add(1, SeqCst);
    RawWaker { data, vtable: &PLAIN }
}
unsafe extern "C" fn plain_end(_: *mut c_void) {
    REFERENCES.fetch_sub(1, SeqCst);
}
unsafe extern "C" fn plain_wake_by_ref(_: *mut c_void) {}
static PLAIN: ffiwaker::RawWakerVTable = ffiwaker::RawWakerVTable {
    clone: plain_clone,
    wake: plain_end,
    wake_by_ref: plain_wake_by_ref,
    drop: plain_end,
};

#[test]
fn waker_from_raw_does_not_allocate_for_clones_of_a_plain_c_waker() {
    let _balance = balance();
    REFERENCES.store(1, SeqCst);
    let raw = RawWaker { data: 12 as *mut c_void, vtable: &PLAIN };
    // SAFETY: each reference is consumed once.
    unsafe {
        let w = waker_from_raw(raw);
        assert_eq!(allocations(|| drop(w.clone())), 0);
        let c = w.clone();
        assert!(c.will_wake(&w));
        c.wake();
        let back = waker_into_raw(w);
        assert_eq!((back.data, back.vtable), (raw.data, raw.vtable));
        assert_eq!(REFERENCES.load(SeqCst), 1);
        let w = waker_from_raw(back);
        let c = w.clone();
        let shared = waker_into_raw(w); // c is alive, so C's waker is cloned
        assert_eq!(REFERENCES.load(SeqCst), 2);
        drop(waker_from_raw(shared));
        c.wake();
    }
    assert_eq!(REFERENCES.load(SeqCst), 0);
}

// ------------------------------------------------------------------------------- C futures in Rust

/// A C future that keeps its waker as `rawwaker_clone_from` does, and counts what that costs.
#[derive(Default)]
struct Repolled {
    kept: Option<RawWaker>,
    misses: usize,
    clones: usize,
    drops: Arc<AtomicUsize>,
    left: usize,
}
unsafe extern "C" fn repolled_poll(data: *mut c_void, cx: *mut RawContext, out: *mut c_void) -> u8 {
    // SAFETY: data is the test's Repolled, and C lends the context for this call.
    let (this, waker) = unsafe { (&mut *data.cast::<Repolled>(), *(*cx).waker) };
    if !this.kept.is_some_and(|k| k.data == waker.data && k.vtable == waker.vtable) {
        this.misses += 1;
        this.clones += 1;
        // SAFETY: the waker is lent for the poll, and kept owns the clone.
        let new = unsafe { ((*waker.vtable).clone)(waker.data) };
        if let Some(old) = this.kept.replace(new) {
            // SAFETY: kept owned this reference.
            unsafe { ((*old.vtable).drop)(old.data) };
        }
    }
    if this.left == 0 {
        // SAFETY: out is memory for a u64.
        unsafe { out.cast::<u64>().write(42) };
        return ffiwaker::READY;
    }
    this.left -= 1;
    ffiwaker::PENDING
}
unsafe extern "C" fn repolled_drop(data: *mut c_void) {
    // SAFETY: data is the test's Repolled.
    let this = unsafe { &mut *data.cast::<Repolled>() };
    if let Some(old) = this.kept.take() {
        // SAFETY: kept owned this reference.
        unsafe { ((*old.vtable).drop)(old.data) };
    }
    this.drops.fetch_add(1, SeqCst);
}
static REPOLLED: RawFutureVTable = RawFutureVTable { poll: repolled_poll, drop: repolled_drop };

#[test]
fn foreign_shows_c_one_waker_and_allocates_once_in_a_thousand_polls() {
    let _balance = balance();
    let mut state = Repolled { left: 1000, ..Default::default() };
    let task = Arc::new(CountWakes(AtomicUsize::new(0)));
    let waker = Waker::from(task.clone());
    // SAFETY: a future with the vtable REPOLLED has a u64.
    let mut f = unsafe {
        Foreign::<u64>::from_raw(RawFuture { data: (&raw mut state).cast(), vtable: &REPOLLED })
    };
    let n = allocations(|| {
        for _ in 0..1000 {
            let again = waker.clone(); // executors often pass another clone to each poll
            assert!(pin!(&mut f).poll(&mut Context::from_waker(&again)).is_pending());
        }
    });
    assert_eq!((n, state.clones, state.misses), (1, 1, 1));
    assert_eq!(pin!(&mut f).poll(&mut Context::from_waker(&waker)), Poll::Ready(42));
    assert_eq!(state.drops.load(SeqCst), 1, "with the result, and not again");
    let again =
        catch_unwind(AssertUnwindSafe(|| pin!(&mut f).poll(&mut Context::from_waker(&waker))))
            .unwrap_err();
    assert!(again
        .downcast_ref::<&str>()
        .is_some_and(|t| t.contains("future polled after completion")));
    drop(f);
    assert_eq!(state.drops.load(SeqCst), 1);
    drop(waker);
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn foreign_polled_by_another_task_shows_another_waker() {
    let _balance = balance();
    let mut state = Repolled { left: 9, ..Default::default() };
    // SAFETY: a future with the vtable REPOLLED has a u64.
    let mut f = unsafe {
        Foreign::<u64>::from_raw(RawFuture { data: (&raw mut state).cast(), vtable: &REPOLLED })
    };
    for _ in 0..3 {
        let task = Arc::new(CountWakes(AtomicUsize::new(0)));
        let _ = pin!(&mut f).poll(&mut Context::from_waker(&Waker::from(task.clone())));
        let kept = state.kept.expect("it keeps one");
        // SAFETY: state owns the reference, which is borrowed here.
        unsafe { ((*kept.vtable).wake_by_ref)(kept.data) };
        assert_eq!(task.0.load(SeqCst), 1);
    }
    assert_eq!(state.misses, 3);
    drop(f);
    assert_eq!(state.drops.load(SeqCst), 1, "dropped early, it is cancelled");
}

unsafe extern "C" fn nine_poll(_: *mut c_void, _: *mut RawContext, _: *mut c_void) -> u8 {
    9
}
unsafe extern "C" fn nothing(_: *mut c_void) {}
static NINE: RawFutureVTable = RawFutureVTable { poll: nine_poll, drop: nothing };

fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it must panic");
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| payload.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn foreign_panics_with_an_unknown_poll_code() {
    let _balance = balance();
    // SAFETY: NINE never returns READY.
    let f = unsafe {
        Foreign::<u64>::from_raw(RawFuture { data: std::ptr::null_mut(), vtable: &NINE })
    };
    assert_eq!(panic_of(|| _ = block_on(f)), "slot poll returned 9, which is not a rawwaker_poll");
}

// ------------------------------------------------------------------------------ Go futures in Rust

#[test]
fn foreign_runs_go_futures_on_three_executors() {
    let _balance = balance();
    async fn sum() -> u64 {
        go_sleep(1).await;
        go_async(40).await + go_goroutine(2).await
    }
    assert_eq!(block_on(sum()), 42);
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    assert_eq!(tokio.block_on(async { tokio::spawn(sum()).await.unwrap() }), 42);
    let all = tokio.block_on(async {
        let tasks: Vec<_> = (0..200).map(|i| tokio::spawn(go_async(i))).collect();
        let mut all = 0;
        for t in tasks {
            all += t.await.unwrap();
        }
        all
    });
    assert_eq!(all, 199 * 200 / 2);
    let smol = async_executor::Executor::new();
    assert_eq!(block_on(smol.run(smol.spawn(sum()))), 42);
}

#[test]
fn foreign_dropped_by_select_cancels_its_go_future_once() {
    let _balance = balance();
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // SAFETY: the call only waits and counts.
    let before = unsafe { gofixture::goAwaitCancelled(0) };
    tokio.block_on(async {
        let (polled, go_on) = tokio::sync::oneshot::channel();
        // SAFETY: out is memory for a future.
        let mut never = go(|out| unsafe { gofixture::goNever(out) });
        let mut polled = Some(polled);
        let never = poll_fn(move |cx| {
            let p = pin!(&mut never).poll(cx);
            if let Some(polled) = polled.take() {
                polled.send(()).unwrap();
            }
            p
        });
        tokio::select! {
            _ = never => panic!("it is never ready"),
            r = go_on => r.unwrap(),
        }
    });
    // SAFETY: the call only waits, until the context has ended and the deferred call has run.
    let after = unsafe { gofixture::goAwaitCancelled(before / 2 + 1) };
    assert_eq!(after - before, 2);
}

// ------------------------------------------------------------------------ Rust futures in C and Go

#[test]
fn into_raw_lets_go_await_tokio_timers_and_sockets() {
    let _balance = balance();
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = tokio.enter();
    let slept = into_raw(async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        7u64
    });
    assert_eq!(go_block_on(slept), Ok(7));
    let echoed = into_raw(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client =
            tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let echo = tokio::spawn(async move {
            let mut bytes = [0; 8];
            server.read_exact(&mut bytes).await.unwrap();
            server.write_all(&bytes).await.unwrap();
        });
        client.write_all(&42u64.to_le_bytes()).await.unwrap();
        let mut bytes = [0; 8];
        client.read_exact(&mut bytes).await.unwrap();
        echo.await.unwrap();
        u64::from_le_bytes(bytes)
    });
    assert_eq!(go_block_on(echoed), Ok(42));
}

#[test]
fn into_raw_polled_a_thousand_times_by_go_clones_its_waker_once() {
    let _balance = balance();
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = counts.clone();
    let mut kept: Option<Waker> = None;
    let f = into_raw(poll_fn(move |cx| {
        match &mut kept {
            Some(k) => {
                if !k.will_wake(cx.waker()) {
                    seen.1.fetch_add(1, SeqCst);
                }
                k.clone_from(cx.waker());
            }
            None => {
                seen.0.fetch_add(1, SeqCst);
                kept = Some(cx.waker().clone());
            }
        }
        Poll::<u64>::Pending
    }));
    // SAFETY: Go takes the future over.
    unsafe { gofixture::goRepoll(f.data as usize, f.vtable as usize, 1000) };
    assert_eq!((counts.0.load(SeqCst), counts.1.load(SeqCst)), (1, 0), "clones, missed will_wake");
    assert_eq!(Arc::strong_count(&counts), 1, "dropped, once");
}

#[test]
fn panics_cross_with_their_text_both_ways() {
    let _balance = balance();
    // SAFETY: out is memory for a future.
    let f = go(|out| unsafe { gofixture::goPanics(out) });
    assert_eq!(panic_of(|| _ = block_on(f)), "a panic of Go's");
    let f = into_raw(async {
        if true {
            panic!("a panic of {}", "Rust's")
        } else {
            1u64
        }
    });
    assert_eq!(go_block_on(f), Err("rawwaker: a C future panicked: a panic of Rust's".into()));
    // From Rust through Go to Rust.
    let f = into_raw(async {
        if true {
            panic!("there and back")
        } else {
            1u64
        }
    });
    // SAFETY: Go takes one future over and writes another.
    let f = go(|out| unsafe { gofixture::goThrough(f.data as usize, f.vtable as usize, out) });
    assert_eq!(panic_of(|| _ = block_on(f)), "there and back");
}

/// How many messages the process has printed during `f`. The caller holds the balance, so no other
/// test runs.
fn messages(f: impl FnOnce()) -> usize {
    static PRINTED: AtomicUsize = AtomicUsize::new(0);
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PRINTED.fetch_add(1, SeqCst);
            print(info)
        }));
    });
    let before = PRINTED.load(SeqCst);
    f();
    PRINTED.load(SeqCst) - before
}

#[test]
fn panic_of_go_prints_one_message_in_rust_and_none_as_an_outcome() {
    let _balance = balance();
    // SAFETY: out is memory for a future.
    let panics = || go(|out| unsafe { gofixture::goPanics(out) });
    let printed = messages(|| assert_eq!(panic_of(|| _ = block_on(panics())), "a panic of Go's"));
    assert_eq!(printed, 1);
    let printed = messages(|| {
        let e = block_on(panics().outcome()).unwrap_err();
        assert_eq!(e.message(), "a panic of Go's");
    });
    assert_eq!(printed, 0);
    assert_eq!(block_on(go_goroutine(42).outcome()).unwrap(), 42);
}

/// Go polls the Rust future on a thread of its own, so only the text comes back.
#[test]
fn panic_from_rust_through_go_to_rust_prints_one_message() {
    let _balance = balance();
    let through = |f: RawFuture| {
        // SAFETY: Go takes one future over and writes another.
        go(|out| unsafe { gofixture::goThrough(f.data as usize, f.vtable as usize, out) })
    };
    let printed = messages(|| {
        let f = through(into_raw(async { std::panic::panic_any("there and back") as u64 }));
        assert_eq!(panic_of(|| _ = block_on(f)), "there and back");
        let f = through(into_raw(async { std::panic::panic_any(42u32) as u64 }));
        let payload = catch_unwind(AssertUnwindSafe(|| block_on(f))).unwrap_err();
        assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("Box<dyn Any>"));
    });
    assert_eq!(printed, 2, "for two panics");
}

#[test]
fn into_raw_polled_after_completion_reports_a_panic() {
    let _balance = balance();
    let raw = into_raw(async { 1u64 });
    let noop = waker_into_raw(Waker::noop().clone());
    let mut cx = RawContext { waker: &noop };
    let mut out = 0u64;
    // SAFETY: this keeps C's side of the contract, except for the polls after READY, under test.
    unsafe {
        let mut poll = || ((*raw.vtable).poll)(raw.data, &mut cx, (&raw mut out).cast());
        assert_eq!(
            (poll(), poll(), poll()),
            (ffiwaker::READY, ffiwaker::PANICKED, ffiwaker::PANICKED)
        );
        ((*raw.vtable).drop)(raw.data);
    }
    assert_eq!(out, 1);
}

#[test]
fn futures_that_pass_through_come_back_unchanged() {
    let _balance = balance();
    let raw = into_raw(async { 42u64 });
    // SAFETY: Go takes the future over and writes it back.
    let again: RawFuture =
        put(|out| unsafe { gofixture::goAgain(raw.data as usize, raw.vtable as usize, out) });
    assert_eq!((again.data, again.vtable), (raw.data, raw.vtable));
    // SAFETY: again is a future of a u64.
    let f = unsafe { Foreign::<u64>::from_raw(again) };
    let raw = f.into_raw();
    assert_eq!(raw.data, again.data);
    assert_eq!(go_block_on(raw), Ok(42));
    let f = into_raw(async { go_async(41).await + 1 });
    // SAFETY: Go takes one future over and writes another.
    let f = go(|out| unsafe { gofixture::goThrough(f.data as usize, f.vtable as usize, out) });
    assert_eq!(block_on(f), 42, "Go in Rust in Go in Rust");
}

#[test]
fn into_raw_clones_a_lent_c_waker_once_for_many_polls() {
    let _balance = balance();
    REFERENCES.store(1, SeqCst);
    let mut kept = Waker::noop().clone();
    let mut polls = 0;
    let raw = into_raw(poll_fn(move |cx| {
        polls += 1;
        assert_eq!(kept.will_wake(cx.waker()), polls > 1);
        kept.clone_from(cx.waker());
        Poll::<u64>::Pending
    }));
    let waker = RawWaker { data: 7 as *mut c_void, vtable: &PLAIN };
    let mut cx = RawContext { waker: &waker };
    // SAFETY: this keeps C's side of the contract.
    unsafe {
        for _ in 0..100 {
            assert_eq!(
                ((*raw.vtable).poll)(raw.data, &mut cx, std::ptr::null_mut()),
                ffiwaker::PENDING
            );
        }
        assert_eq!(REFERENCES.load(SeqCst), 2);
        ((*raw.vtable).drop)(raw.data);
    }
    assert_eq!(REFERENCES.load(SeqCst), 1, "the reference that was lent");
}

/// Polls a Rust future as C does, under a C waker that is neither a box nor a Rust waker.
///
/// # Safety
///
/// That of the poll slot.
unsafe fn poll_plain(raw: RawFuture, out: *mut c_void) -> u8 {
    let waker = RawWaker { data: 7 as *mut c_void, vtable: &PLAIN };
    let mut cx = RawContext { waker: &waker };
    // SAFETY: the caller promised it.
    unsafe { ((*raw.vtable).poll)(raw.data, &mut cx, out) }
}

#[test]
fn into_raw_keeps_no_waker_that_its_future_has_dropped() {
    let _balance = balance();
    REFERENCES.store(1, SeqCst);
    let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
    let of_future = slot.clone();
    let raw = into_raw(poll_fn(move |cx| -> Poll<()> {
        *of_future.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
    for how in 0..4 {
        // SAFETY: this keeps C's side of the contract.
        assert_eq!(unsafe { poll_plain(raw, std::ptr::null_mut()) }, ffiwaker::PENDING);
        assert_eq!(REFERENCES.load(SeqCst), 2, "the operation can wake the task");
        let kept = slot.lock().unwrap().take().unwrap();
        match how {
            0 => drop(kept),
            1 => kept.wake(),
            2 => drop((kept.clone(), kept)),
            _ => {
                // SAFETY: each reference is consumed once.
                unsafe { drop(waker_from_raw(waker_into_raw(kept))) }
            }
        }
        assert_eq!(REFERENCES.load(SeqCst), 1, "only the lent reference is left");
    }
    // SAFETY: the test owns the future.
    unsafe { ((*raw.vtable).drop)(raw.data) };
    assert_eq!(REFERENCES.load(SeqCst), 1);
}

#[test]
fn foreign_keeps_no_waker_that_its_future_has_dropped() {
    let _balance = balance();
    let mut state = Repolled { left: 9, ..Default::default() };
    // SAFETY: a future with the vtable REPOLLED has a u64.
    let mut f = unsafe {
        Foreign::<u64>::from_raw(RawFuture { data: (&raw mut state).cast(), vtable: &REPOLLED })
    };
    for wakes in [false, true, false] {
        let task = Arc::new(CountWakes(AtomicUsize::new(0)));
        assert!(pin!(&mut f)
            .poll(&mut Context::from_waker(&Waker::from(task.clone())))
            .is_pending());
        assert_eq!(Arc::strong_count(&task), 2, "the operation can wake the task");
        let kept = state.kept.take().expect("it keeps one");
        // SAFETY: state owned this reference, which is consumed once.
        unsafe { (if wakes { (*kept.vtable).wake } else { (*kept.vtable).drop })(kept.data) };
        assert_eq!(Arc::strong_count(&task), 1, "no operation can wake the task any more");
        assert_eq!(task.0.load(SeqCst), usize::from(wakes));
    }
    drop(f);
    assert_eq!(state.drops.load(SeqCst), 1);
}

/// A guard with fields. It counts its drops.
struct Counted<T>(#[allow(dead_code)] T, &'static AtomicUsize);
/// A guard of size zero. It counts its drops.
struct Empty;
static EMPTY_DROPPED: AtomicUsize = AtomicUsize::new(0);
impl Drop for Empty {
    fn drop(&mut self) {
        EMPTY_DROPPED.fetch_add(1, SeqCst);
    }
}
impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.1.fetch_add(1, SeqCst);
    }
}

#[test]
fn results_are_dropped_once_by_the_caller_that_awaits_them() {
    let _balance = balance();
    // SAFETY: each future has the result type that is named, here and below.
    drop(block_on(unsafe { Foreign::<Empty>::from_raw(into_raw(async { Empty })) }));
    assert_eq!(EMPTY_DROPPED.swap(0, SeqCst), 1);
    // SAFETY: as above.
    let held = block_on(unsafe { Foreign::<Empty>::from_raw(into_raw(async { Empty })) });
    assert_eq!(EMPTY_DROPPED.load(SeqCst), 0, "while it is held");
    drop(held);
    assert_eq!(EMPTY_DROPPED.swap(0, SeqCst), 1);
    // With memory for the result, which a type of size zero does not need.
    let mut byte = 9u8;
    let raw = into_raw(async { Empty });
    // SAFETY: this keeps C's side of the contract.
    assert_eq!(unsafe { poll_plain(raw, (&raw mut byte).cast()) }, ffiwaker::READY);
    // SAFETY: as above.
    unsafe { ((*raw.vtable).drop)(raw.data) };
    assert_eq!((byte, EMPTY_DROPPED.load(SeqCst)), (9, 0), "the caller owns the result");
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: as above.
    let held = block_on(unsafe { Foreign::from_raw(into_raw(async { Counted(1u64, &DROPPED) })) });
    let held: Counted<u64> = held;
    assert_eq!(DROPPED.load(SeqCst), 0);
    drop(held);
    assert_eq!(DROPPED.load(SeqCst), 1);
}

#[test]
fn into_raw_given_null_for_a_result_panics_and_drops_it() {
    let _balance = balance();
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let raw = into_raw(async { Counted(7u64, &DROPPED) });
    // SAFETY: this keeps C's side of the contract, except for the NULL, under test.
    unsafe {
        assert_eq!(poll_plain(raw, std::ptr::null_mut()), ffiwaker::PANICKED);
        assert_eq!(gofixture::last_panic(), "poll: out is NULL (give poll memory for the result)");
        assert_eq!(DROPPED.load(SeqCst), 1);
        assert_eq!(poll_plain(raw, std::ptr::null_mut()), ffiwaker::PANICKED);
        assert_eq!(gofixture::last_panic(), "future polled after completion");
        ((*raw.vtable).drop)(raw.data);
    }
    assert_eq!(DROPPED.load(SeqCst), 1);
}

/// Panics when it is dropped, with another `Bomb` as the payload, until the count is 0.
struct Bomb(usize);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Bomb(self.0 - 1));
        }
    }
}

#[test]
fn into_raw_does_not_abort_on_any_panic_payload() {
    let _balance = balance();
    for bombs in 0..4 {
        let raw = into_raw(async move { std::panic::panic_any(Bomb(bombs)) as u64 });
        let mut out = 0u64;
        // SAFETY: this keeps C's side of the contract.
        unsafe {
            assert_eq!(poll_plain(raw, (&raw mut out).cast()), ffiwaker::PANICKED);
            assert_eq!(gofixture::last_panic(), "Box<dyn Any>");
            ((*raw.vtable).drop)(raw.data);
        }
    }
    // A result whose drop panics, and that no caller takes.
    let raw = into_raw(async { Bomb(1) });
    // SAFETY: this keeps C's side of the contract, except for the NULL.
    unsafe {
        assert_eq!(poll_plain(raw, std::ptr::null_mut()), ffiwaker::PANICKED);
        ((*raw.vtable).drop)(raw.data);
    }
}

/// Threads wake clones of Go and Rust wakers while the futures that keep them complete and drop.
#[test]
fn storm_of_wakes_and_drops_ends_with_exact_counts() {
    let _balance = balance();
    let (rounds, threads) = (200, 8);
    let ended = Arc::new(AtomicUsize::new(0));
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    for round in 0..rounds {
        let slot: Arc<Mutex<Vec<Waker>>> = Arc::default();
        let done = Arc::new(AtomicUsize::new(0));
        let (s, d, e) = (slot.clone(), done.clone(), Ends(ended.clone()));
        let f = into_raw(poll_fn(move |cx| {
            let _held = &e;
            if d.load(SeqCst) == threads {
                return Poll::Ready(round);
            }
            let mut all = s.lock().unwrap();
            all.clear();
            all.extend((0..threads).map(|_| cx.waker().clone()));
            drop(all);
            if d.load(SeqCst) == threads {
                return Poll::Ready(round);
            }
            Poll::Pending
        }));
        let joins: Vec<_> = (0..threads)
            .map(|i| {
                let (slot, done) = (slot.clone(), done.clone());
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        let w = slot.lock().unwrap().get(i).cloned();
                        if let Some(w) = w {
                            if i % 2 == 0 {
                                w.wake()
                            } else {
                                w.wake_by_ref()
                            }
                        }
                    }
                    done.fetch_add(1, SeqCst);
                    let mut all = slot.lock().unwrap();
                    let rest: Vec<_> = all.drain(..).collect();
                    drop(all);
                    rest.into_iter().for_each(Waker::wake);
                })
            })
            .collect();
        if round % 2 == 0 {
            assert_eq!(go_block_on(f), Ok(round));
        } else {
            // SAFETY: f is a future of a u64.
            let f = unsafe { Foreign::<u64>::from_raw(f) };
            assert_eq!(block_on(f), round);
        }
        joins.into_iter().for_each(|j| j.join().unwrap());
    }
    assert_eq!(ended.load(SeqCst), rounds as usize);
}

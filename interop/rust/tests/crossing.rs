//! Rust, C and Go across the border. Futures of Go come from the archive that `gofixture` builds.

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

use ffiwaker::{into_raw, waker_from_raw, waker_into_raw, Foreign, RawContext, RawFuture, RawFutureVTable, RawWaker};
use futures::executor::block_on;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

/// Counts this thread's allocations.
struct Counting;

// SAFETY: System does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as the caller has promised.
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

/// One test at a time, and no counted waker of C left at the end.
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
        // SAFETY: it reads a counter.
        let live = || unsafe { gofixture::rawwaker_live() };
        // Go frees the box of a function's waker when its dispatcher comes to it.
        for _ in 0..10_000 {
            if live() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{} counted wakers are left", live());
    }
}

/// What Go writes through a pointer.
fn put<T>(f: impl FnOnce(*mut c_void)) -> T {
    let mut out = MaybeUninit::<T>::uninit();
    f(out.as_mut_ptr().cast());
    // SAFETY: f has written it.
    unsafe { out.assume_init() }
}

fn go(f: impl FnOnce(*mut c_void)) -> Foreign<u64> {
    // SAFETY: gofixture's futures are of a u64.
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
    // SAFETY: as above; this one has no result.
    unsafe { Foreign::from_raw(put(|out| gofixture::goSleep(ms, out))) }
}

/// BlockOn in Go, on this thread.
fn go_block_on(f: RawFuture) -> Result<u64, String> {
    let (mut v, mut text) = (0, [0u8; 2048]);
    // SAFETY: both are memory for what Go writes.
    let code =
        unsafe { gofixture::goBlockOn(f.data as usize, f.vtable as usize, &mut v, text.as_mut_ptr(), text.len()) };
    if code == 0 {
        return Ok(v);
    }
    let end = text.iter().position(|&b| b == 0).expect("Go has put a 0 there");
    Err(String::from_utf8_lossy(&text[..end]).into_owned())
}

struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

// ------------------------------------------------------------------------------------------------------- wakers

#[test]
fn a_rust_waker_comes_back_from_c_as_itself() {
    let _balance = balance();
    let task = Arc::new(CountWakes(AtomicUsize::new(0)));
    let w = Waker::from(task.clone());
    let raw = waker_into_raw(w.clone());
    // SAFETY: raw is ours; each reference is used once.
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
fn a_box_of_go_costs_no_allocation_and_comes_back_as_itself() {
    let _balance = balance();
    // SAFETY: out is memory for a waker; then each reference is used once.
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

/// A C waker that is no box; its data counts references.
static REFERENCES: AtomicU64 = AtomicU64::new(0);
unsafe extern "C" fn plain_clone(data: *mut c_void) -> RawWaker {
    REFERENCES.fetch_add(1, SeqCst);
    RawWaker { data, vtable: &PLAIN }
}
unsafe extern "C" fn plain_end(_: *mut c_void) {
    REFERENCES.fetch_sub(1, SeqCst);
}
unsafe extern "C" fn plain_wake_by_ref(_: *mut c_void) {}
static PLAIN: ffiwaker::RawWakerVTable =
    ffiwaker::RawWakerVTable { clone: plain_clone, wake: plain_end, wake_by_ref: plain_wake_by_ref, drop: plain_end };

#[test]
fn any_other_waker_of_c_costs_one_allocation_and_its_clones_none() {
    let _balance = balance();
    REFERENCES.store(1, SeqCst);
    let raw = RawWaker { data: 12 as *mut c_void, vtable: &PLAIN };
    // SAFETY: each reference is used once.
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
        let shared = waker_into_raw(w); // another one lives: so this is a clone of C's own
        assert_eq!(REFERENCES.load(SeqCst), 2);
        drop(waker_from_raw(shared));
        c.wake();
    }
    assert_eq!(REFERENCES.load(SeqCst), 0);
}

// -------------------------------------------------------------------------------------------- futures of C in Rust

/// Keeps its waker as rawwaker_clone_from does, and counts what that costs.
#[derive(Default)]
struct Repolled {
    kept: Option<RawWaker>,
    misses: usize,
    clones: usize,
    drops: Arc<AtomicUsize>,
    left: usize,
}
unsafe extern "C" fn repolled_poll(data: *mut c_void, cx: *mut RawContext, out: *mut c_void) -> u8 {
    // SAFETY: the test's own; C's rules.
    let (this, waker) = unsafe { (&mut *data.cast::<Repolled>(), *(*cx).waker) };
    if !this.kept.is_some_and(|k| k.data == waker.data && k.vtable == waker.vtable) {
        this.misses += 1;
        this.clones += 1;
        // SAFETY: lent for the poll; the clone is ours.
        let new = unsafe { ((*waker.vtable).clone)(waker.data) };
        if let Some(old) = this.kept.replace(new) {
            // SAFETY: our own reference.
            unsafe { ((*old.vtable).drop)(old.data) };
        }
    }
    if this.left == 0 {
        // SAFETY: memory for a u64.
        unsafe { out.cast::<u64>().write(42) };
        return ffiwaker::READY;
    }
    this.left -= 1;
    ffiwaker::PENDING
}
unsafe extern "C" fn repolled_drop(data: *mut c_void) {
    // SAFETY: the test's own.
    let this = unsafe { &mut *data.cast::<Repolled>() };
    if let Some(old) = this.kept.take() {
        // SAFETY: our own reference.
        unsafe { ((*old.vtable).drop)(old.data) };
    }
    this.drops.fetch_add(1, SeqCst);
}
static REPOLLED: RawFutureVTable = RawFutureVTable { poll: repolled_poll, drop: repolled_drop };

#[test]
fn a_c_future_polled_a_thousand_times_sees_one_waker_for_one_allocation() {
    let _balance = balance();
    let mut state = Repolled { left: 1000, ..Default::default() };
    let task = Arc::new(CountWakes(AtomicUsize::new(0)));
    let waker = Waker::from(task.clone());
    // SAFETY: REPOLLED's future of a u64.
    let mut f = unsafe { Foreign::<u64>::from_raw(RawFuture { data: (&raw mut state).cast(), vtable: &REPOLLED }) };
    let n = allocations(|| {
        for _ in 0..1000 {
            let again = waker.clone(); // another Waker each time, as executors do it
            assert!(pin!(&mut f).poll(&mut Context::from_waker(&again)).is_pending());
        }
    });
    assert_eq!((n, state.clones, state.misses), (1, 1, 1));
    assert_eq!(pin!(&mut f).poll(&mut Context::from_waker(&waker)), Poll::Ready(42));
    assert_eq!(state.drops.load(SeqCst), 1, "with the result, and not again");
    let again = catch_unwind(AssertUnwindSafe(|| pin!(&mut f).poll(&mut Context::from_waker(&waker)))).unwrap_err();
    assert!(again.downcast_ref::<&str>().is_some_and(|t| t.contains("future polled after completion")));
    drop(f);
    assert_eq!(state.drops.load(SeqCst), 1);
    drop(waker);
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn another_task_gets_another_waker() {
    let _balance = balance();
    let mut state = Repolled { left: 9, ..Default::default() };
    // SAFETY: REPOLLED's future of a u64.
    let mut f = unsafe { Foreign::<u64>::from_raw(RawFuture { data: (&raw mut state).cast(), vtable: &REPOLLED }) };
    for _ in 0..3 {
        let task = Arc::new(CountWakes(AtomicUsize::new(0)));
        let _ = pin!(&mut f).poll(&mut Context::from_waker(&Waker::from(task.clone())));
        let kept = state.kept.expect("it keeps one");
        // SAFETY: the state's own reference, borrowed.
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
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| payload.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn an_unknown_code_panics_and_names_it() {
    let _balance = balance();
    // SAFETY: NINE never writes.
    let f = unsafe { Foreign::<u64>::from_raw(RawFuture { data: std::ptr::null_mut(), vtable: &NINE }) };
    assert_eq!(panic_of(|| _ = block_on(f)), "slot poll gave 9, which is no code");
}

// ------------------------------------------------------------------------------------------- Go's futures in Rust

#[test]
fn futures_of_go_are_awaited_by_three_executors() {
    let _balance = balance();
    async fn sum() -> u64 {
        go_sleep(1).await;
        go_async(40).await + go_goroutine(2).await
    }
    assert_eq!(block_on(sum()), 42);
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
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
fn a_select_that_drops_a_go_future_half_way_cancels_it_once() {
    let _balance = balance();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // SAFETY: it waits for a count.
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
            _ = never => panic!("it never is"),
            r = go_on => r.unwrap(),
        }
    });
    // SAFETY: it waits until the context has ended and the deferred call has run.
    let after = unsafe { gofixture::goAwaitCancelled(before / 2 + 1) };
    assert_eq!(after - before, 2);
}

// ------------------------------------------------------------------------------------------- Rust's futures in Go

#[test]
fn timers_and_sockets_of_tokio_are_awaited_by_go() {
    let _balance = balance();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = tokio.enter();
    let slept = into_raw(async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        7u64
    });
    assert_eq!(go_block_on(slept), Ok(7));
    let echoed = into_raw(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
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
fn a_rust_future_polled_a_thousand_times_by_go_clones_its_waker_once() {
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
    // And through Go, from Rust to Rust.
    let f = into_raw(async {
        if true {
            panic!("there and back")
        } else {
            1u64
        }
    });
    // SAFETY: Go takes the one over and gives the other.
    let f = go(|out| unsafe { gofixture::goThrough(f.data as usize, f.vtable as usize, out) });
    assert_eq!(panic_of(|| _ = block_on(f)), "there and back");
}

#[test]
fn a_rust_future_polled_after_completion_says_so() {
    let _balance = balance();
    let raw = into_raw(async { 1u64 });
    let noop = waker_into_raw(Waker::noop().clone());
    let mut cx = RawContext { waker: &noop };
    let mut out = 0u64;
    // SAFETY: C's side of the contract, but for the polls after READY, which are the test.
    unsafe {
        let mut poll = || ((*raw.vtable).poll)(raw.data, &mut cx, (&raw mut out).cast());
        assert_eq!((poll(), poll(), poll()), (ffiwaker::READY, ffiwaker::PANICKED, ffiwaker::PANICKED));
        ((*raw.vtable).drop)(raw.data);
    }
    assert_eq!(out, 1);
}

#[test]
fn a_future_that_was_only_carried_through_goes_back_as_it_was() {
    let _balance = balance();
    let raw = into_raw(async { 42u64 });
    // SAFETY: Go takes it over and gives it back.
    let again: RawFuture = put(|out| unsafe { gofixture::goAgain(raw.data as usize, raw.vtable as usize, out) });
    assert_eq!((again.data, again.vtable), (raw.data, raw.vtable));
    // SAFETY: of a u64.
    let f = unsafe { Foreign::<u64>::from_raw(again) };
    let raw = f.into_raw();
    assert_eq!(raw.data, again.data);
    assert_eq!(go_block_on(raw), Ok(42));
    let f = into_raw(async { go_async(41).await + 1 });
    // SAFETY: Go takes it over and gives another.
    let f = go(|out| unsafe { gofixture::goThrough(f.data as usize, f.vtable as usize, out) });
    assert_eq!(block_on(f), 42, "Rust in Go in Rust, with Go inside");
}

#[test]
fn a_foreign_waker_that_c_lends_is_cloned_once_for_many_polls() {
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
    // SAFETY: C's side of the contract.
    unsafe {
        for _ in 0..100 {
            assert_eq!(((*raw.vtable).poll)(raw.data, &mut cx, std::ptr::null_mut()), ffiwaker::PENDING);
        }
        assert_eq!(REFERENCES.load(SeqCst), 2);
        ((*raw.vtable).drop)(raw.data);
    }
    assert_eq!(REFERENCES.load(SeqCst), 1, "the one that was lent");
}

/// Polls a future of Rust as C does, under a waker of C's that is neither a box nor of Rust.
///
/// # Safety
/// As the poll slot.
unsafe fn poll_plain(raw: RawFuture, out: *mut c_void) -> u8 {
    let waker = RawWaker { data: 7 as *mut c_void, vtable: &PLAIN };
    let mut cx = RawContext { waker: &waker };
    // SAFETY: as the caller has promised.
    unsafe { ((*raw.vtable).poll)(raw.data, &mut cx, out) }
}

#[test]
fn an_exported_future_keeps_no_waker_that_its_future_has_given_up() {
    let _balance = balance();
    REFERENCES.store(1, SeqCst);
    let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
    let of_future = slot.clone();
    let raw = into_raw(poll_fn(move |cx| -> Poll<()> {
        *of_future.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
    for how in 0..4 {
        // SAFETY: C's side of the contract.
        assert_eq!(unsafe { poll_plain(raw, std::ptr::null_mut()) }, ffiwaker::PENDING);
        assert_eq!(REFERENCES.load(SeqCst), 2, "the operation can wake the task");
        let kept = slot.lock().unwrap().take().unwrap();
        match how {
            0 => drop(kept),
            1 => kept.wake(),
            2 => drop((kept.clone(), kept)),
            _ => {
                // SAFETY: each reference is used once.
                unsafe { drop(waker_from_raw(waker_into_raw(kept))) }
            }
        }
        assert_eq!(REFERENCES.load(SeqCst), 1, "the one that was lent: nobody waits for the task any more");
    }
    // SAFETY: the future is ours.
    unsafe { ((*raw.vtable).drop)(raw.data) };
    assert_eq!(REFERENCES.load(SeqCst), 1);
}

#[test]
fn a_foreign_future_keeps_no_waker_that_its_future_has_given_up() {
    let _balance = balance();
    let mut state = Repolled { left: 9, ..Default::default() };
    // SAFETY: REPOLLED's future of a u64.
    let mut f = unsafe { Foreign::<u64>::from_raw(RawFuture { data: (&raw mut state).cast(), vtable: &REPOLLED }) };
    for wakes in [false, true, false] {
        let task = Arc::new(CountWakes(AtomicUsize::new(0)));
        assert!(pin!(&mut f).poll(&mut Context::from_waker(&Waker::from(task.clone()))).is_pending());
        assert_eq!(Arc::strong_count(&task), 2, "the operation can wake the task");
        let kept = state.kept.take().expect("it keeps one");
        // SAFETY: the state's own reference, used once.
        unsafe { (if wakes { (*kept.vtable).wake } else { (*kept.vtable).drop })(kept.data) };
        assert_eq!(Arc::strong_count(&task), 1, "nobody waits for the task any more");
        assert_eq!(task.0.load(SeqCst), usize::from(wakes));
    }
    drop(f);
    assert_eq!(state.drops.load(SeqCst), 1);
}

/// Stands for something by being there, or counts too: with a field, or of no bytes.
struct Counted<T>(#[allow(dead_code)] T, &'static AtomicUsize);
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
fn a_result_is_dropped_once_by_whoever_awaits_it() {
    let _balance = balance();
    // SAFETY: the futures are of what is said, here and below.
    drop(block_on(unsafe { Foreign::<Empty>::from_raw(into_raw(async { Empty })) }));
    assert_eq!(EMPTY_DROPPED.swap(0, SeqCst), 1);
    // SAFETY: as above.
    let held = block_on(unsafe { Foreign::<Empty>::from_raw(into_raw(async { Empty })) });
    assert_eq!(EMPTY_DROPPED.load(SeqCst), 0, "while it is held");
    drop(held);
    assert_eq!(EMPTY_DROPPED.swap(0, SeqCst), 1);
    // With memory for it, which is not needed.
    let mut byte = 9u8;
    let raw = into_raw(async { Empty });
    // SAFETY: C's side of the contract.
    assert_eq!(unsafe { poll_plain(raw, (&raw mut byte).cast()) }, ffiwaker::READY);
    // SAFETY: as above.
    unsafe { ((*raw.vtable).drop)(raw.data) };
    assert_eq!((byte, EMPTY_DROPPED.load(SeqCst)), (9, 0), "it is the caller's");
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: as above.
    let held = block_on(unsafe { Foreign::from_raw(into_raw(async { Counted(1u64, &DROPPED) })) });
    let held: Counted<u64> = held;
    assert_eq!(DROPPED.load(SeqCst), 0);
    drop(held);
    assert_eq!(DROPPED.load(SeqCst), 1);
}

#[test]
fn a_null_for_a_result_is_a_panic_and_the_result_is_dropped() {
    let _balance = balance();
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let raw = into_raw(async { Counted(7u64, &DROPPED) });
    // SAFETY: C's side of the contract, but for the NULL, which is the test.
    unsafe {
        assert_eq!(poll_plain(raw, std::ptr::null_mut()), ffiwaker::PANICKED);
        assert_eq!(gofixture::last_panic(), "NULL for the memory of a result");
        assert_eq!(DROPPED.load(SeqCst), 1);
        assert_eq!(poll_plain(raw, std::ptr::null_mut()), ffiwaker::PANICKED);
        assert_eq!(gofixture::last_panic(), "future polled after completion");
        ((*raw.vtable).drop)(raw.data);
    }
    assert_eq!(DROPPED.load(SeqCst), 1);
}

/// Panics when it is dropped, with another one.
struct Bomb(usize);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Bomb(self.0 - 1));
        }
    }
}

#[test]
fn whatever_a_panic_is_made_of_does_not_abort() {
    let _balance = balance();
    for bombs in 0..4 {
        let raw = into_raw(async move { std::panic::panic_any(Bomb(bombs)) as u64 });
        let mut out = 0u64;
        // SAFETY: C's side of the contract.
        unsafe {
            assert_eq!(poll_plain(raw, (&raw mut out).cast()), ffiwaker::PANICKED);
            assert_eq!(gofixture::last_panic(), "");
            ((*raw.vtable).drop)(raw.data);
        }
    }
    // A result whose drop panics, and that has nowhere to go.
    let raw = into_raw(async { Bomb(1) });
    // SAFETY: C's side of the contract, but for the NULL.
    unsafe {
        assert_eq!(poll_plain(raw, std::ptr::null_mut()), ffiwaker::PANICKED);
        ((*raw.vtable).drop)(raw.data);
    }
}

// Threads wake clones of Go's and of Rust's wakers while the futures that keep them are finished and dropped.
#[test]
fn a_storm_of_wakes_against_drops_ends_with_exact_counts() {
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
            // SAFETY: of a u64.
            let f = unsafe { Foreign::<u64>::from_raw(f) };
            assert_eq!(block_on(f), round);
        }
        joins.into_iter().for_each(|j| j.join().unwrap());
    }
    assert_eq!(ended.load(SeqCst), rounds as usize);
}

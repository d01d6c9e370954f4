//! Streams that cross between Rust and C, in both directions.
#![cfg(not(miri))] // Miri calls no foreign function

use std::collections::VecDeque;
use std::ffi::c_void;
use std::future::Future;
use std::panic::{catch_unwind, panic_any, AssertUnwindSafe};
use std::pin::Pin;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use cfixture as _;
use ffiwaker::{
    stream_into_raw, waker_into_raw, Foreign, ForeignStream, RawContext, RawFuture, RawStream,
    RawStreamVTable, DONE, PANICKED, PENDING, READY,
};
use futures::channel::mpsc;
use futures::executor::{block_on, block_on_stream};
use futures::stream::{self, FusedStream, Stream, StreamExt};
use futures::SinkExt;

extern "C" {
    fn fixture_live() -> usize;
    fn fixture_count(n: u64, last: u8, out: *mut RawStream);
    fn fixture_produce(
        n: u64,
        fails: bool,
        wait: unsafe extern "C" fn(*mut c_void, RawFuture),
        arg: *mut c_void,
        out: *mut RawStream,
    ) -> *mut c_void;
    fn fixture_join(producer: *mut c_void, counts: *mut Counts);
    fn fixture_read(s: RawStream, items: *mut u64, n: *mut usize) -> u8;
    fn rawwaker_last_panic() -> *const std::ffi::c_char;
    fn rawwaker_live() -> usize;
}

/// Runs one test at a time, and fails it if it leaves a C stream or waker behind.
struct Balance(#[allow(dead_code)] MutexGuard<'static, ()>);

fn balance() -> Balance {
    static ONE: Mutex<()> = Mutex::new(());
    Balance(ONE.lock().unwrap_or_else(|e| e.into_inner()))
}

impl Drop for Balance {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the calls read counters.
            assert_eq!(unsafe { (fixture_live(), rawwaker_live()) }, (0, 0), "streams, wakers");
        }
    }
}

fn foreign<T>(raw: RawStream) -> ForeignStream<T> {
    // SAFETY: each caller gives a stream of T away.
    unsafe { ForeignStream::from_raw(raw) }
}

fn count(n: u64, last: u8) -> ForeignStream<u64> {
    // SAFETY: C writes a stream of u64.
    unsafe { ForeignStream::from_fn(|out| fixture_count(n, last, out)) }
}

/// Polls as C does. Returns the code, and the item if there is one.
fn next(raw: RawStream) -> (u8, Option<u64>) {
    let noop = waker_into_raw(Waker::noop().clone());
    let mut out = u64::MAX;
    let mut cx = RawContext { waker: &noop };
    // SAFETY: this keeps C's side of the contract.
    let code = unsafe { ((*raw.vtable).poll_next)(raw.data, &mut cx, (&raw mut out).cast()) };
    (code, (code == READY).then_some(out))
}

fn drop_raw(raw: RawStream) {
    // SAFETY: each caller drops the stream once.
    unsafe { ((*raw.vtable).drop)(raw.data) }
}

fn last_panic() -> String {
    // SAFETY: never NULL, and valid until this thread's next poll.
    unsafe { std::ffi::CStr::from_ptr(rawwaker_last_panic()) }.to_str().unwrap().to_owned()
}

fn poll_once<S: Stream + Unpin>(s: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(s).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn caught<R>(f: impl FnOnce() -> R) -> Box<dyn std::any::Any + Send> {
    catch_unwind(AssertUnwindSafe(|| _ = f())).expect_err("it must panic")
}

/// Gives what `steps` hold, and counts its drops. It is not fused: after the last step it panics.
struct Script {
    steps: VecDeque<Step>,
    drops: Arc<AtomicUsize>,
}
#[derive(Clone, Copy)]
enum Step {
    Item(u64),
    Pending,
    End,
    Panic,
}
use Step::{End, Item, Panic, Pending};

impl Stream for Script {
    type Item = u64;
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u64>> {
        match self.steps.pop_front().expect("polled after its end") {
            Item(v) => Poll::Ready(Some(v)),
            Pending => Poll::Pending,
            End => Poll::Ready(None),
            Panic => panic_any(42u32),
        }
    }
}
impl Drop for Script {
    fn drop(&mut self) {
        self.drops.fetch_add(1, SeqCst);
    }
}

fn script<const N: usize>(steps: [Step; N]) -> (RawStream, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    (stream_into_raw(Script { steps: steps.into(), drops: drops.clone() }), drops)
}

// ---------------------------------------------------------------------------- Rust streams in C

#[test]
fn stream_into_raw_repeats_done_and_drops_its_stream_once() {
    let _balance = balance();
    let (raw, drops) = script([Item(1), Pending, Item(2), End]);
    let got: Vec<_> = (0..3).map(|_| next(raw)).collect();
    assert_eq!(got, [(READY, Some(1)), (PENDING, None), (READY, Some(2))]);
    assert_eq!(drops.load(SeqCst), 0);
    for _ in 0..3 {
        assert_eq!((next(raw), drops.load(SeqCst)), ((DONE, None), 1));
    }
    std::thread::spawn(move || drop_raw(raw)).join().unwrap();
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn stream_into_raw_that_panics_drops_its_stream_and_is_done() {
    let _balance = balance();
    let (raw, drops) = script([Item(1), Panic]);
    assert_eq!(next(raw), (READY, Some(1)));
    assert_eq!(next(raw), (PANICKED, None));
    assert_eq!((last_panic().as_str(), drops.load(SeqCst)), ("Box<dyn Any>", 1));
    assert_eq!((next(raw), next(raw)), ((DONE, None), (DONE, None)));
    drop_raw(raw);
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn stream_into_raw_dropped_early_cancels_once_on_any_thread() {
    let _balance = balance();
    let (raw, drops) = script([Item(1), Pending]);
    assert_eq!((next(raw), next(raw)), ((READY, Some(1)), (PENDING, None)));
    std::thread::spawn(move || drop_raw(raw)).join().unwrap();
    assert_eq!(drops.load(SeqCst), 1);
    let (raw, drops) = script([]); // never polled
    drop_raw(raw);
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn stream_into_raw_given_null_for_an_item_panics_and_drops_it() {
    let _balance = balance();
    let item = Arc::new(());
    let raw = stream_into_raw(stream::iter([item.clone(), item.clone()]));
    let noop = waker_into_raw(Waker::noop().clone());
    let mut cx = RawContext { waker: &noop };
    // SAFETY: this keeps C's side of the contract, except for the NULL, under test.
    assert_eq!(unsafe { ((*raw.vtable).poll_next)(raw.data, &mut cx, null_mut()) }, PANICKED);
    assert_eq!(last_panic(), "poll_next: out is NULL (give poll memory for the result)");
    assert_eq!(Arc::strong_count(&item), 1, "the item and the rest are dropped");
    drop_raw(raw);
}

// --------------------------------------------------------------------------- C streams in Rust

#[test]
fn foreign_stream_reads_a_stream_of_c_to_its_end() {
    let _balance = balance();
    let mut s = count(1000, DONE);
    let all: Vec<_> = block_on(s.by_ref().collect());
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    assert!(s.is_terminated());
    // SAFETY: it reads a counter.
    assert_eq!(unsafe { fixture_live() }, 0, "dropped with its end");
    assert_eq!((poll_once(&mut s), poll_once(&mut s)), (Poll::Ready(None), Poll::Ready(None)));
}

#[test]
fn foreign_stream_dropped_early_cancels() {
    let _balance = balance();
    let mut s = count(1000, DONE);
    assert_eq!(block_on(s.next()), Some(0));
    assert!(poll_once(&mut s).is_pending());
    std::thread::spawn(move || drop(s)).join().unwrap();
    drop(count(1, DONE)); // never polled
}

#[test]
fn foreign_stream_panics_once_and_has_ended_then() {
    let _balance = balance();
    let mut s = count(1, PANICKED);
    assert_eq!(block_on(s.next()), Some(0));
    let payload = caught(|| block_on(s.next()));
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "C's stream");
    // SAFETY: it reads a counter.
    assert_eq!(unsafe { fixture_live() }, 0, "dropped with its panic");
    assert!(s.is_terminated());
    assert_eq!((poll_once(&mut s), poll_once(&mut s)), (Poll::Ready(None), Poll::Ready(None)));
}

#[test]
fn foreign_stream_panics_with_an_unknown_poll_code() {
    let _balance = balance();
    let mut s = count(0, 9);
    let payload = caught(|| block_on(s.next()));
    let text = "slot poll_next returned 9, which is not a rawwaker_poll";
    assert_eq!(payload.downcast_ref::<String>().unwrap(), text);
    assert_eq!(poll_once(&mut s), Poll::Ready(None));
}

#[test]
fn foreign_stream_from_fn_needs_a_stream() {
    let _balance = balance();
    // SAFETY: the function writes nothing.
    let payload = caught(|| unsafe { ForeignStream::<u64>::from_fn(|_| ()) });
    let text = payload.downcast_ref::<&str>().copied();
    assert_eq!(text, Some("ffiwaker: ForeignStream::from_fn: no stream was written"));
}

#[test]
fn foreign_stream_into_raw_gives_the_same_words_back() {
    let _balance = balance();
    let (raw, drops) = script([Item(1), End]);
    let mut s = foreign::<u64>(raw);
    assert_eq!(poll_once(&mut s), Poll::Ready(Some(1)));
    let same = s.into_raw();
    assert_eq!((same.data, same.vtable), (raw.data, raw.vtable));
    assert_eq!(drops.load(SeqCst), 0);
    let mut s = foreign::<u64>(same);
    assert_eq!(poll_once(&mut s), Poll::Ready(None));
    assert_eq!(drops.load(SeqCst), 1);
    let payload = caught(|| s.into_raw());
    let text = payload.downcast_ref::<&str>().copied();
    assert_eq!(text, Some("ffiwaker: ForeignStream::into_raw: the stream has ended"));
}

#[test]
fn foreign_stream_outcomes_ends_with_the_error() {
    let _balance = balance();
    let mut s = count(2, PANICKED).outcomes();
    let all: Vec<_> = block_on(s.by_ref().map(|r| r.map_err(|e| e.to_string())).collect());
    assert_eq!(all, [Ok(0), Ok(1), Err("C's stream".to_owned())]);
    assert!(s.is_terminated());
    assert!(matches!(poll_once(&mut s), Poll::Ready(None)));
    let all: Vec<_> = block_on(count(2, DONE).outcomes().map(Result::unwrap).collect());
    assert_eq!(all, [0, 1]);
}

/// A C stream that counts the wakers it is shown and keeps the last one.
#[derive(Default)]
struct Keeps {
    kept: Option<ffiwaker::RawWaker>,
    clones: usize,
}
unsafe extern "C" fn keeps_poll(data: *mut c_void, cx: *mut RawContext, _: *mut c_void) -> u8 {
    // SAFETY: data is the test's Keeps, and C lends the context for this call.
    let (this, waker) = unsafe { (&mut *data.cast::<Keeps>(), *(*cx).waker) };
    if !this.kept.is_some_and(|k| k.data == waker.data && k.vtable == waker.vtable) {
        this.clones += 1;
        // SAFETY: the waker is lent for the poll, and kept owns the clone.
        this.kept = Some(unsafe { ((*waker.vtable).clone)(waker.data) });
    }
    PENDING
}
unsafe extern "C" fn keeps_drop(data: *mut c_void) {
    // SAFETY: data is the test's Keeps.
    if let Some(kept) = unsafe { &mut *data.cast::<Keeps>() }.kept.take() {
        // SAFETY: kept owned this reference.
        unsafe { ((*kept.vtable).drop)(kept.data) };
    }
}
static KEEPS: RawStreamVTable = RawStreamVTable { poll_next: keeps_poll, drop: keeps_drop };

#[test]
fn foreign_stream_shows_c_one_waker_for_many_polls() {
    let _balance = balance();
    let mut state = Keeps::default();
    let mut s = foreign::<u64>(RawStream { data: (&raw mut state).cast(), vtable: &KEEPS });
    struct Task;
    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let task = Arc::new(Task);
    for _ in 0..1000 {
        let waker = Waker::from(task.clone());
        assert!(Pin::new(&mut s).poll_next(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(state.clones, 1);
    drop(s);
    assert_eq!(Arc::strong_count(&task), 1);
}

// ------------------------------------------------------------------- a channel of C in Rust

#[repr(C)]
#[derive(Default)]
struct Counts {
    sent: u64,
    full: u64,
    destroyed: u64,
    released: u64,
}

/// A thread of C that fills a channel of capacity 4. It awaits room in Rust.
struct Producer {
    raw: *mut c_void,
    waits: Box<Waits>,
    first_full: std::sync::mpsc::Receiver<()>,
}
struct Waits {
    full: std::sync::mpsc::Sender<()>,
    block_on: fn(Foreign<()>),
}

fn produce(n: u64, fails: bool, block_on: fn(Foreign<()>)) -> (ForeignStream<u64>, Producer) {
    unsafe extern "C" fn wait(arg: *mut c_void, room: RawFuture) {
        // SAFETY: arg is the Waits below until join.
        let waits = unsafe { &*arg.cast::<Waits>() };
        _ = waits.full.send(());
        // SAFETY: C gives the room away. It is a future of nothing.
        (waits.block_on)(unsafe { Foreign::from_raw(room) });
    }
    let (full, first_full) = std::sync::mpsc::channel();
    let waits = Box::new(Waits { full, block_on });
    let arg = (&raw const *waits).cast_mut().cast();
    let mut raw = null_mut();
    // SAFETY: C writes a stream of u64. Waits lives until join.
    let stream =
        unsafe { ForeignStream::from_fn(|out| raw = fixture_produce(n, fails, wait, arg, out)) };
    (stream, Producer { raw, waits, first_full })
}

impl Producer {
    fn wait_until_full(&self) {
        self.first_full.recv().expect("the channel is full");
    }
    fn join(self) -> Counts {
        let mut counts = Counts::default();
        // SAFETY: once, and every caller has dropped the stream.
        unsafe { fixture_join(self.raw, &mut counts) };
        drop(self.waits);
        counts
    }
}

fn tokio_here() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}
fn tokio_threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

/// How a stream is read to its end, with how C's thread awaits room.
type Way = (fn(ForeignStream<u64>) -> Vec<u64>, fn(Foreign<()>));
const WAYS: [Way; 3] = [
    (|s| block_on(s.collect()), |room| block_on(room)),
    (|s| tokio_here().block_on(s.collect()), |room| tokio_here().block_on(room)),
    (
        |s| tokio_threads().block_on(async { tokio::spawn(s.collect()).await.unwrap() }),
        |room| tokio_threads().block_on(async { tokio::spawn(room).await.unwrap() }),
    ),
];

#[test]
fn channel_of_c_gives_every_item_in_order() {
    let _balance = balance();
    for (read, await_room) in WAYS {
        let (s, producer) = produce(200, false, await_room);
        producer.wait_until_full();
        assert_eq!(read(s), (0..200).collect::<Vec<_>>());
        let c = producer.join();
        assert!(c.full >= 1);
        assert_eq!((c.sent, c.destroyed, c.released), (200, 0, 1));
    }
}

#[test]
fn channel_of_c_dropped_early_destroys_the_rest_once() {
    let _balance = balance();
    for (_, await_room) in WAYS {
        for taken in [0, 1, 3, 4] {
            let (mut s, producer) = produce(200, false, await_room);
            producer.wait_until_full();
            for i in 0..taken {
                assert_eq!(block_on(s.next()), Some(i));
            }
            drop(s); // C's thread awaits room, or is about to send
            let c = producer.join();
            assert!(c.sent >= 4 && c.sent < 200, "{} were sent", c.sent);
            assert_eq!((taken + c.destroyed, c.released), (c.sent, 1));
        }
    }
}

#[test]
fn channel_of_c_that_fails_panics_after_its_items() {
    let _balance = balance();
    for (_, await_room) in WAYS {
        let (mut s, producer) = produce(10, true, await_room);
        producer.wait_until_full();
        for i in 0..10 {
            assert_eq!(block_on(s.next()), Some(i));
        }
        let payload = caught(|| block_on(s.next()));
        assert_eq!(payload.downcast_ref::<String>().unwrap(), "C's producer");
        assert!(s.is_terminated());
        let c = producer.join();
        assert_eq!((c.sent, c.destroyed, c.released), (10, 0, 1));

        let (s, producer) = produce(10, true, await_room);
        let all = s.outcomes().map(|r| r.map_err(|e| e.to_string()));
        let mut want: Vec<_> = (0..10).map(Ok).collect();
        want.push(Err("C's producer".to_owned()));
        assert_eq!(block_on(all.collect::<Vec<_>>()), want);
        assert_eq!(producer.join().released, 1);
    }
}

#[test]
fn room_of_c_may_be_dropped_while_pending() {
    /// Gives each room up after one poll, so C asks for another one.
    fn poll_and_drop(mut room: Foreign<()>) {
        _ = Pin::new(&mut room).poll(&mut Context::from_waker(Waker::noop()));
        drop(room);
        std::thread::yield_now();
    }
    let _balance = balance();
    let (s, producer) = produce(200, false, poll_and_drop);
    producer.wait_until_full();
    assert_eq!(block_on(s.collect::<Vec<_>>()), (0..200).collect::<Vec<_>>());
    let c = producer.join();
    assert_eq!((c.sent, c.destroyed, c.released), (200, 0, 1));
}

// ----------------------------------------------------------------------- Rust streams read by C

/// What C has read, with the code of the end.
fn read(s: impl Stream<Item = u64> + Send + 'static, most: usize) -> (u8, Vec<u64>) {
    let mut items = vec![0; most + 1];
    let mut n = 0;
    // SAFETY: items has room for what s gives, and for one more.
    let code = unsafe { fixture_read(stream_into_raw(s), items.as_mut_ptr(), &mut n) };
    items.truncate(n);
    (code, items)
}

#[test]
fn stream_into_raw_is_read_by_c_on_its_own_semaphore() {
    let _balance = balance();
    let (mut tx, rx) = mpsc::channel(1);
    let sends = std::thread::spawn(move || (0..1000).for_each(|i| block_on(tx.send(i)).unwrap()));
    assert_eq!(read(rx, 1000), (READY, (0..1000).collect()));
    sends.join().unwrap();

    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    let runtime = tokio_threads();
    let sends = runtime.spawn(async move {
        for i in 0..1000 {
            tx.send(i).await.unwrap();
        }
    });
    assert_eq!(
        read(stream::poll_fn(move |cx| rx.poll_recv(cx)), 1000),
        (READY, (0..1000).collect())
    );
    runtime.block_on(sends).unwrap();

    let drops = Arc::new(AtomicUsize::new(0));
    let steps = [Item(7), Item(8), Panic].into();
    assert_eq!(read(Script { steps, drops: drops.clone() }, 2), (PANICKED, vec![7, 8]));
    assert_eq!((last_panic().as_str(), drops.load(SeqCst)), ("Box<dyn Any>", 1));
}

// ------------------------------------------------------------------- Rust through C to Rust

#[test]
fn stream_crosses_from_rust_through_the_c_abi_to_rust() {
    let _balance = balance();
    let raw = stream_into_raw(stream::iter(0u64..100).filter(|v| std::future::ready(v % 2 == 0)));
    let all: Vec<_> = block_on_stream(foreign::<u64>(raw)).collect();
    assert_eq!(all, (0..100).step_by(2).collect::<Vec<_>>());
    // Twice, and a C stream in the middle of it.
    let raw = stream_into_raw(foreign::<u64>(stream_into_raw(count(100, DONE).map(|v| v + 1))));
    let all: Vec<_> = block_on_stream(foreign::<u64>(raw)).collect();
    assert_eq!(all, (1..=100).collect::<Vec<_>>());
}

#[test]
fn stream_crosses_with_items_that_own_memory_or_have_no_size() {
    let _balance = balance();
    let boxes = stream_into_raw(stream::iter((0..10u64).map(Box::new)));
    let mut s = foreign::<Box<u64>>(boxes);
    assert_eq!(block_on(s.next()), Some(Box::new(0)));
    drop(s); // nine are left in the Rust stream
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Empty;
    impl Drop for Empty {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    let raw = stream_into_raw(stream::iter([(), (), ()]).map(|()| Empty));
    assert_eq!(block_on(foreign::<Empty>(raw).count()), 3);
    assert_eq!(DROPPED.load(SeqCst), 3);
}

#[test]
fn stream_panic_crosses_with_its_payload_once() {
    let _balance = balance();
    let (raw, drops) = script([Item(1), Panic]);
    let mut s = foreign::<u64>(raw);
    assert_eq!(block_on(s.next()), Some(1));
    assert_eq!(caught(|| block_on(s.next())).downcast_ref::<u32>(), Some(&42));
    assert_eq!((drops.load(SeqCst), poll_once(&mut s)), (1, Poll::Ready(None)));
    let (raw, _) = script([Panic]);
    let e = block_on(foreign::<u64>(raw).outcomes().next()).unwrap().unwrap_err();
    assert_eq!(e.into_payload().downcast_ref::<u32>(), Some(&42));
}

/// Threads send into a channel whose receiver crosses through the C ABI. It is read on changing
/// threads, and in half of the rounds dropped on another thread before its end. Each item is
/// dropped once.
#[test]
fn storm_of_streams_drops_each_item_once() {
    let _balance = balance();
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let (rounds, senders, items) = (100, 4, 25);
    for round in 0..rounds {
        let (tx, rx) = mpsc::channel(2);
        let (made, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let sending: Vec<_> = (0..senders)
            .map(|_| {
                let (mut tx, made, dropped) = (tx.clone(), made.clone(), dropped.clone());
                std::thread::spawn(move || {
                    for _ in 0..items {
                        made.fetch_add(1, SeqCst);
                        if block_on(tx.send(Counted(dropped.clone()))).is_err() {
                            return; // the receiver is gone
                        }
                    }
                })
            })
            .collect();
        drop(tx);
        let mut s = foreign::<Counted>(stream_into_raw(rx));
        let wanted = if round % 2 == 0 { senders * items } else { 10 };
        let mut got = 0;
        while got < wanted {
            s = std::thread::spawn(move || {
                assert!(block_on(s.next()).is_some());
                s
            })
            .join()
            .unwrap();
            got += 1;
        }
        if round % 2 == 0 {
            assert!(block_on(s.next()).is_none());
        }
        std::thread::spawn(move || drop(s)).join().unwrap();
        sending.into_iter().for_each(|j| j.join().unwrap());
        assert_eq!(made.load(SeqCst), dropped.load(SeqCst));
        if round % 2 == 0 {
            assert_eq!(made.load(SeqCst), senders * items);
        }
    }
}

#[test]
fn foreign_stream_is_send_and_unpin() {
    fn check<S: Stream + Send + Unpin>(s: S) -> S {
        s
    }
    let _balance = balance();
    drop(check(count(1, DONE)));
    drop(check(count(1, DONE).outcomes()));
}

//! The crate under Miri, which checks it for undefined behaviour. Miri calls no foreign function,
//! so the functions of `rawwaker.c` that the crate needs are written in Rust here:
//!
//!     cargo +nightly miri test --manifest-path interop/rust/Cargo.toml --test miri
//!
//! `internal/proof/rust` runs it under both models of borrows, with strict provenance, and checks
//! that the ignored tests, each of which has a fault, are reported.
#![cfg(miri)]
#![allow(clippy::undocumented_unsafe_blocks)] // most of it plays the part of C

use std::cell::RefCell;
use std::ffi::{c_char, c_void, CStr, CString};
use std::future::{poll_fn, Future};
use std::panic::{catch_unwind, panic_any, AssertUnwindSafe};
use std::pin::{pin, Pin};
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use ffiwaker::{
    into_raw, into_raw_local, into_raw_on, stream_into_raw, waker_from_raw, waker_into_raw,
    Foreign, ForeignStream, RawContext, RawFuture, RawFutureVTable, RawWaker, RawWakerVTable, DONE,
    PANICKED, PENDING, READY,
};
use futures::stream::{self, Stream};

unsafe extern "C" fn noop_clone(_: *mut c_void) -> RawWaker {
    rawwaker_noop()
}
unsafe extern "C" fn nothing(_: *mut c_void) {}
static NOOP: RawWakerVTable =
    RawWakerVTable { clone: noop_clone, wake: nothing, wake_by_ref: nothing, drop: nothing };
#[no_mangle]
extern "C" fn rawwaker_noop() -> RawWaker {
    RawWaker { data: null_mut(), vtable: &NOOP }
}
#[no_mangle]
unsafe extern "C" fn rawwaker_clone(w: *const RawWaker) -> RawWaker {
    unsafe { ((*(*w).vtable).clone)((*w).data) }
}
#[no_mangle]
unsafe extern "C" fn rawwaker_drop(w: RawWaker) {
    unsafe { ((*w.vtable).drop)(w.data) }
}
#[no_mangle]
unsafe extern "C" fn rawwaker_is_box(w: *const RawWaker) -> bool {
    unsafe { (*w).vtable == &raw const BOX }
}
#[no_mangle]
extern "C" fn rawwaker_from_boxed(b: *const c_void) -> RawWaker {
    RawWaker { data: b.cast_mut(), vtable: &BOX }
}
thread_local!(static TEXT: RefCell<CString> = RefCell::default());
#[no_mangle]
unsafe extern "C" fn rawwaker_set_panic(msg: *const c_char, len: usize) {
    let text = unsafe { std::slice::from_raw_parts(msg.cast::<u8>(), len) };
    TEXT.set(CString::new(text).unwrap());
}
#[no_mangle]
extern "C" fn rawwaker_last_panic() -> *const c_char {
    TEXT.with_borrow(|t| t.as_ptr())
}
fn last_panic() -> String {
    unsafe { CStr::from_ptr(rawwaker_last_panic()) }.to_str().unwrap().to_owned()
}

/// A C waker whose data is an `Arc` of the number of its wakes. The `Arc` counts its references.
unsafe extern "C" fn plain_clone(data: *mut c_void) -> RawWaker {
    unsafe { Arc::increment_strong_count(data.cast::<AtomicUsize>()) };
    RawWaker { data, vtable: &PLAIN }
}
unsafe extern "C" fn plain_wake(data: *mut c_void) {
    unsafe {
        plain_wake_by_ref(data);
        plain_drop(data)
    }
}
unsafe extern "C" fn plain_wake_by_ref(data: *mut c_void) {
    unsafe { (*data.cast::<AtomicUsize>()).fetch_add(1, SeqCst) };
}
unsafe extern "C" fn plain_drop(data: *mut c_void) {
    unsafe { Arc::decrement_strong_count(data.cast::<AtomicUsize>()) }
}
static PLAIN: RawWakerVTable = RawWakerVTable {
    clone: plain_clone,
    wake: plain_wake,
    wake_by_ref: plain_wake_by_ref,
    drop: plain_drop,
};

/// A box of the C library: its first word is the address of its slots. An `Arc` counts its
/// references, as of `PLAIN`.
#[repr(C)]
struct Boxed {
    slots: &'static BoxSlots,
    wakes: AtomicUsize,
}
#[repr(C)]
struct BoxSlots {
    clone: unsafe extern "C" fn(*const c_void) -> *const c_void,
    wake: unsafe extern "C" fn(*const c_void),
    wake_by_ref: unsafe extern "C" fn(*const c_void),
    drop: unsafe extern "C" fn(*const c_void),
}
static BOX_SLOTS: BoxSlots =
    BoxSlots { clone: box_clone, wake: box_wake, wake_by_ref: box_wake_by_ref, drop: box_drop };
unsafe extern "C" fn box_clone(b: *const c_void) -> *const c_void {
    unsafe { Arc::increment_strong_count(b.cast::<Boxed>()) };
    b
}
unsafe extern "C" fn box_wake(b: *const c_void) {
    unsafe {
        box_wake_by_ref(b);
        box_drop(b)
    }
}
unsafe extern "C" fn box_wake_by_ref(b: *const c_void) {
    unsafe { (*b.cast::<Boxed>()).wakes.fetch_add(1, SeqCst) };
}
unsafe extern "C" fn box_drop(b: *const c_void) {
    unsafe { Arc::decrement_strong_count(b.cast::<Boxed>()) }
}
unsafe extern "C" fn raw_box_clone(data: *mut c_void) -> RawWaker {
    RawWaker { data: unsafe { box_clone(data) }.cast_mut(), vtable: &BOX }
}
unsafe extern "C" fn raw_box_wake(data: *mut c_void) {
    unsafe { box_wake(data) }
}
unsafe extern "C" fn raw_box_wake_by_ref(data: *mut c_void) {
    unsafe { box_wake_by_ref(data) }
}
unsafe extern "C" fn raw_box_drop(data: *mut c_void) {
    unsafe { box_drop(data) }
}
static BOX: RawWakerVTable = RawWakerVTable {
    clone: raw_box_clone,
    wake: raw_box_wake,
    wake_by_ref: raw_box_wake_by_ref,
    drop: raw_box_drop,
};

struct Count(AtomicUsize);
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Wakes a waker three times, of which two are by value, on three threads at once.
fn storm(w: Waker) {
    let (a, b) = (w.clone(), w.clone());
    let threads = [
        std::thread::spawn(move || a.wake()),
        std::thread::spawn(move || {
            b.wake_by_ref();
            drop(b)
        }),
    ];
    w.wake();
    for t in threads {
        t.join().unwrap();
    }
}

#[test]
fn references_end_once_on_any_threads() {
    let plain = Arc::new(AtomicUsize::new(0));
    let data = Arc::into_raw(plain.clone()).cast_mut().cast();
    storm(unsafe { waker_from_raw(RawWaker { data, vtable: &PLAIN }) });
    assert_eq!((plain.load(SeqCst), Arc::strong_count(&plain)), (3, 1));

    let boxed = Arc::new(Boxed { slots: &BOX_SLOTS, wakes: AtomicUsize::new(0) });
    let data = Arc::into_raw(boxed.clone()).cast_mut().cast();
    let w = unsafe { waker_from_raw(RawWaker { data, vtable: &BOX }) };
    assert_eq!(waker_into_raw(w.clone()).data, data);
    unsafe { box_drop(data) }; // the two words just returned were a reference
    storm(w);
    assert_eq!((boxed.wakes.load(SeqCst), Arc::strong_count(&boxed)), (3, 1));
    assert!(std::ptr::eq(boxed.slots, &BOX_SLOTS));

    let count = Arc::new(Count(AtomicUsize::new(0)));
    let raw = waker_into_raw(Waker::from(count.clone()));
    let slots = unsafe { &*raw.vtable };
    let clone = unsafe { (slots.clone)(raw.data) };
    let other = std::thread::spawn(move || {
        let clone = clone; // all of it, which is Send
        unsafe { ((*clone.vtable).wake)(clone.data) }
    });
    unsafe { (slots.wake_by_ref)(raw.data) };
    storm(unsafe { waker_from_raw(raw) });
    other.join().unwrap();
    assert_eq!((count.0.load(SeqCst), Arc::strong_count(&count)), (5, 1));
}

/// A result whose memory needs more than malloc's alignment.
#[repr(C, align(256))]
struct Wide([u8; 256]);

#[test]
fn results_of_any_alignment_cross() {
    with_each_waker(|w| {
        let mut cx = Context::from_waker(w);
        let f = unsafe { Foreign::<Wide>::from_raw(into_raw(async { Wide([7; 256]) })) };
        let Poll::Ready(wide) = pin!(f).poll(&mut cx) else { panic!() };
        assert_eq!(wide.0, [7; 256]);
        let items = stream::iter([Wide([8; 256])]);
        let mut s = unsafe { ForeignStream::<Wide>::from_raw(stream_into_raw(items)) };
        let Poll::Ready(Some(wide)) = Pin::new(&mut s).poll_next(&mut cx) else { panic!() };
        assert_eq!(wide.0, [8; 256]);
    });
}

/// A future that is polled on one thread and woken on another, which publishes its result.
#[test]
fn polls_see_what_another_thread_wrote_before_its_wake() {
    let boxed = Arc::new(Boxed { slots: &BOX_SLOTS, wakes: AtomicUsize::new(0) });
    let shared: Arc<Mutex<(Option<u64>, Option<Waker>)>> = Arc::default();
    let inner = shared.clone();
    let raw = into_raw(poll_fn(move |cx| {
        let mut s = inner.lock().unwrap();
        if let Some(v) = s.0 {
            return Poll::Ready(v);
        }
        s.1 = Some(cx.waker().clone());
        Poll::Pending
    }));
    let waker = RawWaker { data: Arc::as_ptr(&boxed).cast_mut().cast(), vtable: &BOX };
    let mut cx = RawContext { waker: &waker };
    let mut out = 0u64;
    let mut poll = || unsafe { ((*raw.vtable).poll)(raw.data, &mut cx, (&raw mut out).cast()) };
    assert_eq!(poll(), PENDING);
    let other = std::thread::spawn(move || {
        let waker = {
            let mut s = shared.lock().unwrap();
            s.0 = Some(7);
            s.1.take().unwrap()
        };
        waker.wake();
    });
    while boxed.wakes.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(poll(), READY);
    other.join().unwrap();
    unsafe { ((*raw.vtable).drop)(raw.data) };
    assert_eq!((out, Arc::strong_count(&boxed)), (7, 1));
}

// ---- Faults, which Miri must report

#[test]
#[ignore = "a fault"]
fn fault_a_dropped_waker_is_woken() {
    let plain = Arc::new(AtomicUsize::new(0));
    let data = Arc::into_raw(plain).cast_mut().cast();
    let w = unsafe { waker_from_raw(RawWaker { data, vtable: &PLAIN }) };
    unsafe { plain_drop(data) };
    w.wake();
}

#[test]
#[ignore = "a fault"]
fn fault_two_threads_poll_at_once() {
    let mut polls = 0;
    let raw = into_raw(poll_fn(move |_| {
        polls += 1;
        Poll::<()>::Pending
    }));
    let other = std::thread::spawn(move || poll_elsewhere(raw));
    poll_elsewhere(raw);
    other.join().unwrap();
    unsafe { ((*raw.vtable).drop)(raw.data) };
}

struct Task;
impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// Calls `f` with the no-op, then with a Rust waker, and checks that `f` leaves no clone of that.
fn with_each_waker(mut f: impl FnMut(&Waker)) {
    f(Waker::noop());
    let task = Arc::new(Task);
    f(&Waker::from(task.clone()));
    assert_eq!(Arc::strong_count(&task), 1);
}

struct Empty;
static DROPPED: AtomicUsize = AtomicUsize::new(0);
impl Drop for Empty {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

#[test]
fn results_cross_once_and_are_dropped_once() {
    with_each_waker(|w| {
        let f = unsafe { Foreign::<Box<u64>>::from_raw(into_raw(async { Box::new(7u64) })) };
        assert_eq!(pin!(f).poll(&mut Context::from_waker(w)), Poll::Ready(Box::new(7)));
        let mut f = pin!(unsafe { Foreign::<Empty>::from_raw(into_raw(async { Empty })) });
        let Poll::Ready(held) = f.as_mut().poll(&mut Context::from_waker(w)) else { panic!() };
        assert_eq!(DROPPED.load(SeqCst), 0);
        drop(held);
        assert_eq!(DROPPED.swap(0, SeqCst), 1);
    });
}

#[test]
fn wakers_are_kept_only_while_an_operation_can_wake() {
    let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
    let keeps = slot.clone();
    let raw = into_raw(poll_fn(move |cx| -> Poll<()> {
        let mut kept = keeps.lock().unwrap();
        match &mut *kept {
            Some(k) => k.clone_from(cx.waker()),
            None => *kept = Some(cx.waker().clone()),
        }
        Poll::Pending
    }));
    let plain = Arc::new(AtomicUsize::new(0));
    let waker = RawWaker { data: Arc::as_ptr(&plain).cast_mut().cast(), vtable: &PLAIN };
    let mut cx = RawContext { waker: &waker };
    for by_value in [false, true] {
        for _ in 0..3 {
            assert_eq!(unsafe { ((*raw.vtable).poll)(raw.data, &mut cx, null_mut()) }, PENDING);
            assert_eq!(Arc::strong_count(&plain), 2);
        }
        let kept = slot.lock().unwrap().take().unwrap();
        if by_value {
            std::thread::spawn(move || kept.wake()).join().unwrap();
        } else {
            drop(unsafe { waker_from_raw(waker_into_raw(kept)) });
        }
        assert_eq!(Arc::strong_count(&plain), 1);
    }
    assert_eq!(plain.load(SeqCst), 1);
    let mut f = pin!(unsafe { Foreign::<()>::from_raw(raw) });
    with_each_waker(|w| {
        for _ in 0..3 {
            assert!(f.as_mut().poll(&mut Context::from_waker(w)).is_pending());
        }
        slot.lock().unwrap().take();
    });
}

struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any(0u8)
    }
}

#[test]
fn panics_cross_with_their_text() {
    with_each_waker(|w| {
        let f = unsafe { Foreign::<u64>::from_raw(into_raw(async { panic!("why") })) };
        let f = AssertUnwindSafe(f);
        let payload =
            catch_unwind(|| _ = pin!({ f }.0).poll(&mut Context::from_waker(w))).unwrap_err();
        assert_eq!(payload.downcast_ref::<String>().unwrap(), "why");
    });
    let noop = rawwaker_noop();
    let mut cx = RawContext { waker: &noop };
    let mut poll = |raw: RawFuture, out: *mut c_void| unsafe {
        let code = ((*raw.vtable).poll)(raw.data, &mut cx, out);
        ((*raw.vtable).drop)(raw.data);
        code
    };
    assert_eq!(poll(into_raw(async { panic_any(Bomb) as () }), null_mut()), PANICKED);
    assert_eq!(poll(into_raw(async { Box::new(7u64) }), null_mut()), PANICKED);
    assert_eq!(last_panic(), "poll: out is NULL (give poll memory for the result)");
    let mut out = 0u64;
    assert_eq!(poll(into_raw(async { 7u64 }), (&raw mut out).cast()), READY);
    assert_eq!(out, 7);
}

/// A C future that awaits another one, and after a panic of that one gives the code `given`.
struct Forward {
    inner: RawFuture,
    given: u8,
}
static FORWARD: RawFutureVTable = RawFutureVTable { poll: forward_poll, drop: forward_drop };
unsafe extern "C" fn forward_poll(data: *mut c_void, cx: *mut RawContext, out: *mut c_void) -> u8 {
    unsafe {
        let this = &*data.cast::<Forward>();
        match ((*this.inner.vtable).poll)(this.inner.data, cx, out) {
            PANICKED if this.given == READY => {
                out.cast::<u64>().write(7);
                READY
            }
            code => code,
        }
    }
}
unsafe extern "C" fn forward_drop(data: *mut c_void) {
    unsafe {
        let this = Box::from_raw(data.cast::<Forward>());
        ((*this.inner.vtable).drop)(this.inner.data)
    }
}
fn forward(inner: RawFuture, given: u8) -> Foreign<u64> {
    let data = Box::into_raw(Box::new(Forward { inner, given })).cast();
    unsafe { Foreign::from_raw(RawFuture { data, vtable: &FORWARD }) }
}

#[test]
fn payloads_cross_or_are_dropped_in_the_poll() {
    let held = Arc::new(());
    let panics = || {
        let held = held.clone();
        into_raw(async move { panic_any(held) as u64 })
    };
    with_each_waker(|w| {
        let mut cx = Context::from_waker(w);
        let Poll::Ready(Err(e)) = pin!(forward(panics(), PANICKED).outcome()).poll(&mut cx) else {
            panic!()
        };
        assert_eq!((e.message(), Arc::strong_count(&held)), ("Box<dyn Any>", 2));
        let payload = std::thread::spawn(|| e.resume()).join().unwrap_err();
        assert!(payload.downcast::<Arc<()>>().is_ok());
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(pin!(forward(panics(), READY)).poll(&mut cx), Poll::Ready(7));
        assert_eq!(Arc::strong_count(&held), 1);
        let bomb = into_raw(async { panic_any(Bomb) as u64 });
        assert_eq!(pin!(forward(bomb, READY)).poll(&mut cx), Poll::Ready(7));
    });
}

#[test]
fn streams_cross_in_both_directions() {
    with_each_waker(|w| {
        let mut cx = Context::from_waker(w);
        let boxes = stream::iter((0..3u64).map(Box::new));
        let mut s = unsafe { ForeignStream::<Box<u64>>::from_raw(stream_into_raw(boxes)) };
        for v in 0..2 {
            assert_eq!(Pin::new(&mut s).poll_next(&mut cx), Poll::Ready(Some(Box::new(v))));
        }
        let mut s = unsafe { ForeignStream::<Box<u64>>::from_raw(s.into_raw()) }.outcomes();
        let Poll::Ready(Some(Ok(last))) = Pin::new(&mut s).poll_next(&mut cx) else { panic!() };
        assert_eq!(last, Box::new(2));
        for _ in 0..2 {
            assert!(matches!(Pin::new(&mut s).poll_next(&mut cx), Poll::Ready(None)));
        }
    });
    let noop = rawwaker_noop();
    let mut cx = RawContext { waker: &noop };
    let raw = stream_into_raw(stream::iter([(), ()]));
    let mut next = || unsafe { ((*raw.vtable).poll_next)(raw.data, &mut cx, null_mut()) };
    assert_eq!([next(), next(), next(), next()], [READY, READY, DONE, DONE]);
    std::thread::spawn(move || {
        let raw = raw; // all of it, which is Send
        unsafe { ((*raw.vtable).drop)(raw.data) }
    })
    .join()
    .unwrap();
}

/// The code of a poll on another thread.
fn poll_elsewhere(raw: RawFuture) -> u8 {
    std::thread::spawn(move || {
        let raw = raw; // all of it, which is Send
        let noop = rawwaker_noop();
        unsafe { ((*raw.vtable).poll)(raw.data, &mut RawContext { waker: &noop }, null_mut()) }
    })
    .join()
    .unwrap()
}

#[test]
fn local_futures_stay_on_their_thread() {
    let rc = Rc::new(());
    let inner = rc.clone();
    let raw = into_raw_local(async move { drop(inner) });
    assert_eq!(poll_elsewhere(raw), PANICKED);
    assert_eq!(Rc::strong_count(&rc), 2);
    let mut f = unsafe { Foreign::<()>::from_fn(|out| out.write(raw)) };
    assert_eq!(pin!(&mut f).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
    assert_eq!(Rc::strong_count(&rc), 1);
    std::thread::spawn(move || drop(f)).join().unwrap();
}

#[test]
fn tokio_futures_enter_their_runtime() {
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let raw = into_raw_on(tokio.handle(), async { tokio::runtime::Handle::current().id() });
    let moved = into_raw_on(tokio.handle(), async {});
    assert_eq!(poll_elsewhere(moved), READY);
    unsafe { ((*moved.vtable).drop)(moved.data) };
    let mut f = pin!(unsafe { Foreign::<tokio::runtime::Id>::from_raw(raw) });
    let got = f.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(got, Poll::Ready(tokio.handle().id()));
}

//! Wakers in both directions.
//!
//! A C waker becomes one of three kinds of `Waker`, known by their static vtables:
//!
//! - `BOX`: a box of the C library, used as it is;
//! - `PAIR`: an `Arc` around the two words of any other C waker;
//! - std's no-op, for the no-op of C.
//!
//! A Rust waker becomes a C waker with the vtable `ADAPTER`: an `Arc` around the `Waker`.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Weak};
use std::task::{RawWaker as StdRawWaker, RawWakerVTable as StdVTable, Waker};

use crate::sys::{self, Boxed, BoxedVTable, RawWaker, RawWakerVTable};

// ------------------------------------------------------------------------------ a C box as a Waker

static BOX: StdVTable = StdVTable::new(box_clone, box_wake, box_wake_by_ref, box_drop);

/// # Safety
///
/// `data` is a box of the C library.
unsafe fn slots(data: *const ()) -> &'static BoxedVTable {
    // SAFETY: a box begins with the address of a static vtable.
    unsafe { &*(*data.cast::<Boxed>()).vtable }
}
unsafe fn box_clone(data: *const ()) -> StdRawWaker {
    // SAFETY: BOX is used only with a box as its data, here and below.
    let clone = unsafe { (slots(data).clone)(data.cast()) };
    StdRawWaker::new(clone.cast(), &BOX)
}
unsafe fn box_wake(data: *const ()) {
    // SAFETY: as above; this reference is consumed.
    unsafe { (slots(data).wake)(data.cast()) }
}
unsafe fn box_wake_by_ref(data: *const ()) {
    // SAFETY: as above.
    unsafe { (slots(data).wake_by_ref)(data.cast()) }
}
unsafe fn box_drop(data: *const ()) {
    // SAFETY: as above; this reference is consumed.
    unsafe { (slots(data).drop)(data.cast()) }
}

// -------------------------------------------------------------------- any other C waker as a Waker

/// Owns one reference to a C waker's task.
pub(crate) struct Pair(RawWaker);

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: self owns the reference, and this consumes it.
        unsafe { sys::rawwaker_drop(self.0) }
    }
}

impl Pair {
    fn into_waker(self: Arc<Self>) -> Waker {
        // SAFETY: PAIR keeps Waker's contract because C keeps its own, and takes over one reference
        // of the Arc.
        unsafe { Waker::from_raw(StdRawWaker::new(Arc::into_raw(self).cast(), &PAIR)) }
    }

    /// The `Pair` inside `w`; an empty `Weak` if `w` is of another kind.
    fn of(w: &Waker) -> Weak<Pair> {
        if !std::ptr::eq(w.vtable(), &PAIR) {
            return Weak::new();
        }
        // SAFETY: with this vtable, data is an Arc<Pair>, alive while w is. w keeps its reference:
        // ManuallyDrop releases none.
        Arc::downgrade(&ManuallyDrop::new(unsafe { Arc::from_raw(w.data().cast::<Pair>()) }))
    }

    fn wake_by_ref(&self) {
        // SAFETY: the reference is alive, and its vtable lives as long as the process.
        unsafe { ((*self.0.vtable).wake_by_ref)(self.0.data) }
    }
}

static PAIR: StdVTable = StdVTable::new(pair_clone, pair_wake, pair_wake_by_ref, pair_drop);

unsafe fn pair_clone(data: *const ()) -> StdRawWaker {
    // SAFETY: data is an Arc<Pair> with a live reference, here and below.
    unsafe { Arc::increment_strong_count(data.cast::<Pair>()) };
    StdRawWaker::new(data, &PAIR)
}
unsafe fn pair_wake(data: *const ()) {
    // SAFETY: as above; this reference is consumed.
    let pair = unsafe { Arc::from_raw(data.cast::<Pair>()) };
    match Arc::try_unwrap(pair) {
        Ok(last) => {
            let raw = ManuallyDrop::new(last).0;
            // SAFETY: this was the only owner of the reference, and wake consumes it.
            unsafe { ((*raw.vtable).wake)(raw.data) }
        }
        Err(shared) => shared.wake_by_ref(),
    }
}
unsafe fn pair_wake_by_ref(data: *const ()) {
    // SAFETY: as above.
    unsafe { (*data.cast::<Pair>()).wake_by_ref() }
}
unsafe fn pair_drop(data: *const ()) {
    // SAFETY: as above; this reference is consumed.
    drop(unsafe { Arc::from_raw(data.cast::<Pair>()) })
}

fn is_noop(raw: &RawWaker) -> bool {
    // SAFETY: it takes nothing and returns two words.
    let noop = unsafe { sys::rawwaker_noop() };
    raw.vtable == noop.vtable
}

/// Turns a waker of C or Go into a `Waker`.
///
/// Takes one reference over, which the `Waker` releases when it is woken by value or dropped. A
/// waker that [`waker_into_raw`] made from a `Waker` becomes that `Waker` again. A box of the C
/// library costs no allocation, any other C waker one. Its clones cost none, and `will_wake` holds
/// between them.
///
/// Any thread may call this. It does not fail.
///
/// # Safety
///
/// `raw` keeps the contract of `rawwaker.h`, and the caller gives its reference away.
///
/// # Example
///
/// A C waker that counts its wakes; here its four slots are written in Rust:
///
#[cfg_attr(feature = "bundled", doc = "```")]
#[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
/// use std::ffi::c_void;
/// use std::ptr::null_mut;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use ffiwaker::{waker_from_raw, RawWaker, RawWakerVTable};
///
/// static WAKES: AtomicUsize = AtomicUsize::new(0);
/// static COUNTS: RawWakerVTable = RawWakerVTable { clone, wake, wake_by_ref: wake, drop };
///
/// unsafe extern "C" fn clone(data: *mut c_void) -> RawWaker {
///     RawWaker { data, vtable: &COUNTS }
/// }
/// unsafe extern "C" fn wake(_: *mut c_void) {
///     WAKES.fetch_add(1, Ordering::Relaxed);
/// }
/// unsafe extern "C" fn drop(_: *mut c_void) {}
///
/// // SAFETY: COUNTS keeps the contract: there is nothing to release.
/// let waker = unsafe { waker_from_raw(RawWaker { data: null_mut(), vtable: &COUNTS }) };
/// waker.wake_by_ref();
/// waker.clone().wake();
/// assert_eq!(WAKES.load(Ordering::Relaxed), 2);
/// ```
pub unsafe fn waker_from_raw(raw: RawWaker) -> Waker {
    if is_noop(&raw) {
        return Waker::noop().clone();
    }
    if raw.vtable == &raw const ADAPTER {
        // SAFETY: with this vtable, data is an Arc<Adapter>, whose reference the caller gave away.
        let adapter = unsafe { Arc::from_raw(raw.data.cast::<Adapter>()) };
        return match Arc::try_unwrap(adapter) {
            Ok(last) => last.waker,
            Err(shared) => shared.waker.clone(),
        };
    }
    // SAFETY: it reads two words.
    if !unsafe { sys::rawwaker_is_box(&raw) } {
        return Arc::new(Pair(raw)).into_waker();
    }
    // SAFETY: BOX keeps Waker's contract because C keeps its own, and takes over one reference.
    unsafe { Waker::from_raw(StdRawWaker::new(raw.data.cast(), &BOX)) }
}

/// Calls `f` with a `Waker` for `raw`, which C lends for one poll.
///
/// `kept` belongs to the future that is polled. It refers to the clone of a foreign waker as long
/// as a `Waker` made of that clone is alive, so that C's waker is cloned once while C lends the
/// same one. It is weak because the task often owns the future, and its wakers own the task.
///
/// # Safety
///
/// `raw` is a waker that stays alive until `f` returns.
pub(crate) unsafe fn with_lent<R>(
    raw: &RawWaker,
    kept: &mut Weak<Pair>,
    f: impl FnOnce(&Waker) -> R,
) -> R {
    if is_noop(raw) {
        return f(Waker::noop());
    }
    if raw.vtable == &raw const ADAPTER {
        // SAFETY: with this vtable, data is an Adapter, alive while raw is.
        return f(unsafe { &(*raw.data.cast::<Adapter>()).waker });
    }
    // SAFETY: it reads two words.
    if unsafe { sys::rawwaker_is_box(raw) } {
        let lent = StdRawWaker::new(raw.data.cast(), &BOX);
        // SAFETY: a borrowed box. ManuallyDrop leaves its reference to its owner.
        return f(&ManuallyDrop::new(unsafe { Waker::from_raw(lent) }));
    }
    // Equal words mean the same task only while a reference to it is alive, so compare the clone.
    let waker = match kept.upgrade().filter(|pair| pair.0.will_wake(raw)) {
        Some(pair) => pair.into_waker(),
        None => {
            // SAFETY: raw is alive, and waker_from_raw consumes the clone.
            let waker = unsafe { waker_from_raw(sys::rawwaker_clone(raw)) };
            *kept = Pair::of(&waker);
            waker
        }
    };
    f(&waker)
}

/// The two words inside a `Waker` that came from C, borrowed; `None` for any other `Waker`.
pub(crate) fn raw_ref(w: &Waker) -> Option<RawWaker> {
    if std::ptr::eq(w.vtable(), &BOX) {
        // SAFETY: with this vtable, data is a box, alive while w is.
        return Some(unsafe { sys::rawwaker_from_boxed(w.data().cast()) });
    }
    if std::ptr::eq(w.vtable(), &PAIR) {
        // SAFETY: with this vtable, data is a Pair, alive while w is.
        return Some(unsafe { (*w.data().cast::<Pair>()).0 });
    }
    // std's vtable of the no-op may have several addresses. A no-op that is not recognised gets an
    // adapter, which is harmless.
    if w.will_wake(Waker::noop()) {
        // SAFETY: it takes nothing and returns two words.
        return Some(unsafe { sys::rawwaker_noop() });
    }
    None
}

// ---------------------------------------------------------------------------- a Waker as a C waker

/// A Rust waker in C; an `Arc` counts C's references. It begins like a box, for async-ffi.
#[repr(C)]
pub(crate) struct Adapter {
    boxed: Boxed,
    pub(crate) waker: Waker,
}

// SAFETY: the vtable is static, and a Waker is Send and Sync.
unsafe impl Send for Adapter {}
// SAFETY: as above.
unsafe impl Sync for Adapter {}

pub(crate) static ADAPTER: RawWakerVTable = RawWakerVTable {
    clone: adapter_clone,
    wake: adapter_wake,
    wake_by_ref: adapter_wake_by_ref,
    drop: adapter_drop,
};
static ADAPTER_BOXED: BoxedVTable = BoxedVTable {
    clone: adapter_boxed_clone,
    wake: adapter_boxed_wake,
    wake_by_ref: adapter_boxed_wake_by_ref,
    drop: adapter_boxed_drop,
};

// If the Waker panics in one of these, the process aborts, as for any panic in an extern "C"
// function.

unsafe extern "C" fn adapter_clone(data: *mut c_void) -> RawWaker {
    // SAFETY: data is an Arc<Adapter> with a live reference, here and below.
    unsafe { Arc::increment_strong_count(data.cast::<Adapter>()) };
    RawWaker { data, vtable: &ADAPTER }
}
unsafe extern "C" fn adapter_wake(data: *mut c_void) {
    // SAFETY: as above; this reference is consumed.
    let adapter = unsafe { Arc::from_raw(data.cast::<Adapter>()) };
    match Arc::try_unwrap(adapter) {
        Ok(last) => last.waker.wake(),
        Err(shared) => shared.waker.wake_by_ref(),
    }
}
unsafe extern "C" fn adapter_wake_by_ref(data: *mut c_void) {
    // SAFETY: as above.
    unsafe { (*data.cast::<Adapter>()).waker.wake_by_ref() }
}
unsafe extern "C" fn adapter_drop(data: *mut c_void) {
    // SAFETY: as above; this reference is consumed.
    drop(unsafe { Arc::from_raw(data.cast::<Adapter>()) })
}
unsafe extern "C" fn adapter_boxed_clone(b: *const Boxed) -> *const Boxed {
    // SAFETY: an Adapter begins with its Boxed, here and below.
    unsafe { Arc::increment_strong_count(b.cast::<Adapter>()) };
    b
}
unsafe extern "C" fn adapter_boxed_wake(b: *const Boxed) {
    // SAFETY: as above.
    unsafe { adapter_wake(b.cast_mut().cast()) }
}
unsafe extern "C" fn adapter_boxed_wake_by_ref(b: *const Boxed) {
    // SAFETY: as above.
    unsafe { adapter_wake_by_ref(b.cast_mut().cast()) }
}
unsafe extern "C" fn adapter_boxed_drop(b: *const Boxed) {
    // SAFETY: as above.
    unsafe { adapter_drop(b.cast_mut().cast()) }
}

impl Adapter {
    pub(crate) fn new(waker: Waker) -> Arc<Adapter> {
        Arc::new(Adapter { boxed: Boxed { vtable: &ADAPTER_BOXED }, waker })
    }

    /// The adapter as a C waker, borrowed from this reference.
    pub(crate) fn lend(self: &Arc<Adapter>) -> RawWaker {
        debug_assert!(std::ptr::eq(self.boxed.vtable, &ADAPTER_BOXED));
        RawWaker { data: Arc::as_ptr(self).cast_mut().cast(), vtable: &ADAPTER }
    }
}

/// Turns a `Waker` into a waker of C or Go.
///
/// Takes the `Waker` over. The caller owns the one reference that it returns, and must wake it by
/// value or drop it, once. A `Waker` that came from C becomes the same two words again. Any other
/// costs one allocation. Its clones in C cost none, and `rawwaker_will_wake` holds between them.
///
/// Any thread may call this. It does not fail.
///
/// # Example
///
/// What C does with such a waker:
///
#[cfg_attr(feature = "bundled", doc = "```")]
#[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::sync::Arc;
/// use std::task::{Wake, Waker};
///
/// use ffiwaker::waker_into_raw;
///
/// struct Task(AtomicUsize);
/// impl Wake for Task {
///     fn wake(self: Arc<Self>) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let task = Arc::new(Task(AtomicUsize::new(0)));
/// let raw = waker_into_raw(Waker::from(task.clone()));
/// // SAFETY: each reference is woken or dropped once.
/// unsafe {
///     let clone = ((*raw.vtable).clone)(raw.data);
///     ((*clone.vtable).wake)(clone.data);
///     ((*raw.vtable).drop)(raw.data);
/// }
/// assert_eq!(task.0.load(Ordering::Relaxed), 1);
/// ```
pub fn waker_into_raw(w: Waker) -> RawWaker {
    if std::ptr::eq(w.vtable(), &PAIR) {
        let w = ManuallyDrop::new(w);
        // SAFETY: with this vtable, data is an Arc<Pair>, whose reference w gives away.
        let pair = unsafe { Arc::from_raw(w.data().cast::<Pair>()) };
        return match Arc::try_unwrap(pair) {
            Ok(last) => ManuallyDrop::new(last).0,
            // SAFETY: the pair is alive, and the caller owns the clone.
            Err(shared) => unsafe { sys::rawwaker_clone(&shared.0) },
        };
    }
    match raw_ref(&w) {
        Some(raw) => {
            std::mem::forget(w); // the caller owns its reference now; a no-op has none
            raw
        }
        None => {
            RawWaker { data: Arc::into_raw(Adapter::new(w)).cast_mut().cast(), vtable: &ADAPTER }
        }
    }
}

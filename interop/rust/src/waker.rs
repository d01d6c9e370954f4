//! Wakers both ways.
//!
//! Three kinds of `Waker` are ours, each with one static vtable: `BOX`, a box of the C library itself; `PAIR`, an `Arc`
//! around the two words of any other C waker; and the no-op, which Rust has too. One kind of C waker is ours: an `Arc`
//! around a Rust `Waker`, with the vtable `ADAPTER`.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Weak};
use std::task::{RawWaker as StdRawWaker, RawWakerVTable as StdVTable, Waker};

use crate::sys::{self, Boxed, BoxedVTable, RawWaker, RawWakerVTable};

// ------------------------------------------------------------------------------------------ a box of C as a Waker

static BOX: StdVTable = StdVTable::new(box_clone, box_wake, box_wake_by_ref, box_drop);

/// # Safety
/// `data` is a box of the C library.
unsafe fn slots(data: *const ()) -> &'static BoxedVTable {
    // SAFETY: a box begins with the address of a static vtable.
    unsafe { &*(*data.cast::<Boxed>()).vtable }
}
unsafe fn box_clone(data: *const ()) -> StdRawWaker {
    // SAFETY: data is the box that the vtable BOX was given with, here and below.
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

// --------------------------------------------------------------------------------- any other waker of C as a Waker

/// Owns one reference.
pub(crate) struct Pair(RawWaker);

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and this is its end.
        unsafe { sys::rawwaker_drop(self.0) }
    }
}

impl Pair {
    fn into_waker(self: Arc<Self>) -> Waker {
        // SAFETY: the vtable keeps Waker's contract by C's own, and owns one reference of the Arc.
        unsafe { Waker::from_raw(StdRawWaker::new(Arc::into_raw(self).cast(), &PAIR)) }
    }

    /// What `w` is made of, where that is a `Pair`.
    fn of(w: &Waker) -> Weak<Pair> {
        if !std::ptr::eq(w.vtable(), &PAIR) {
            return Weak::new();
        }
        // SAFETY: with this vtable data is of an Arc<Pair>, alive while w is; ManuallyDrop keeps w's reference w's.
        Arc::downgrade(&ManuallyDrop::new(unsafe { Arc::from_raw(w.data().cast::<Pair>()) }))
    }

    fn wake_by_ref(&self) {
        // SAFETY: a waker that lives has its vtable.
        unsafe { ((*self.0.vtable).wake_by_ref)(self.0.data) }
    }
}

static PAIR: StdVTable = StdVTable::new(pair_clone, pair_wake, pair_wake_by_ref, pair_drop);

unsafe fn pair_clone(data: *const ()) -> StdRawWaker {
    // SAFETY: data is of an Arc<Pair> that lives, here and below.
    unsafe { Arc::increment_strong_count(data.cast::<Pair>()) };
    StdRawWaker::new(data, &PAIR)
}
unsafe fn pair_wake(data: *const ()) {
    // SAFETY: as above; this reference is consumed.
    let pair = unsafe { Arc::from_raw(data.cast::<Pair>()) };
    match Arc::try_unwrap(pair) {
        Ok(last) => {
            let raw = ManuallyDrop::new(last).0;
            // SAFETY: nobody else has this reference; wake consumes it.
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
    // SAFETY: it takes nothing and gives two words.
    let noop = unsafe { sys::rawwaker_noop() };
    raw.vtable == noop.vtable
}

/// Takes over one reference of a waker of C or Go.
///
/// A box of the C library costs nothing, any other waker one allocation; in both cases `will_wake` holds between the clones.
/// One that was made by [`waker_into_raw`] is again the `Waker` that it was.
///
/// # Safety
/// `raw` is a waker as `rawwaker.h` says, and the caller gives its reference away.
pub unsafe fn waker_from_raw(raw: RawWaker) -> Waker {
    if is_noop(&raw) {
        return Waker::noop().clone();
    }
    if raw.vtable == &raw const ADAPTER {
        // SAFETY: with this vtable data is of an Arc<Adapter>, one reference of which is ours now.
        let adapter = unsafe { Arc::from_raw(raw.data.cast::<Adapter>()) };
        return Arc::try_unwrap(adapter).map_or_else(|shared| shared.waker.clone(), |last| last.waker);
    }
    // SAFETY: it reads two words.
    if !unsafe { sys::rawwaker_is_box(&raw) } {
        return Arc::new(Pair(raw)).into_waker();
    }
    // SAFETY: the vtable keeps Waker's contract by C's own, and owns one reference.
    unsafe { Waker::from_raw(StdRawWaker::new(raw.data.cast(), &BOX)) }
}

/// A `Waker` for one poll by C, which lends `raw`. `kept` is the future's own: it knows the clone of a foreign waker for as long as a
/// `Waker` made of it lives, so that C's is cloned once while C lends the same one. It keeps none alive itself: the future is often inside
/// the very task, which its wakers keep alive.
///
/// # Safety
/// `raw` is borrowed for as long as `f` runs.
pub(crate) unsafe fn with_lent<R>(raw: &RawWaker, kept: &mut Weak<Pair>, f: impl FnOnce(&Waker) -> R) -> R {
    if is_noop(raw) {
        return f(Waker::noop());
    }
    if raw.vtable == &raw const ADAPTER {
        // SAFETY: with this vtable data is an Adapter, alive while raw is.
        return f(unsafe { &(*raw.data.cast::<Adapter>()).waker });
    }
    // SAFETY: it reads two words.
    if unsafe { sys::rawwaker_is_box(raw) } {
        // SAFETY: a box, lent; ManuallyDrop keeps us from ending a reference that is not ours.
        let lent = ManuallyDrop::new(unsafe { Waker::from_raw(StdRawWaker::new(raw.data.cast(), &BOX)) });
        return f(&lent);
    }
    // Equal words mean the same task only while a reference of it lives: so it is the clone that is compared.
    let waker = match kept.upgrade().filter(|pair| pair.0.will_wake(raw)) {
        Some(pair) => pair.into_waker(),
        None => {
            // SAFETY: raw lives, and the clone is ours.
            let waker = unsafe { waker_from_raw(sys::rawwaker_clone(raw)) };
            *kept = Pair::of(&waker);
            waker
        }
    };
    f(&waker)
}

/// The two words that a `Waker` stands for, borrowed, where it came from C.
pub(crate) fn raw_ref(w: &Waker) -> Option<RawWaker> {
    if std::ptr::eq(w.vtable(), &BOX) {
        // SAFETY: with this vtable data is a box, alive while w is.
        return Some(unsafe { sys::rawwaker_from_boxed(w.data().cast()) });
    }
    if std::ptr::eq(w.vtable(), &PAIR) {
        // SAFETY: with this vtable data is a Pair, alive while w is.
        return Some(unsafe { (*w.data().cast::<Pair>()).0 });
    }
    // std's vtable of the no-op may have several addresses: one that is missed gets an adapter, which is harmless.
    if w.will_wake(Waker::noop()) {
        // SAFETY: it takes nothing and gives two words.
        return Some(unsafe { sys::rawwaker_noop() });
    }
    None
}

// ------------------------------------------------------------------------------------------- a Waker as one of C

/// What C holds of a Rust waker, counted by an `Arc`. It begins as a box does, so async-ffi can use it too.
#[repr(C)]
pub(crate) struct Adapter {
    boxed: Boxed,
    pub(crate) waker: Waker,
}

// SAFETY: the vtable is static, and Waker is both.
unsafe impl Send for Adapter {}
// SAFETY: as above.
unsafe impl Sync for Adapter {}

pub(crate) static ADAPTER: RawWakerVTable =
    RawWakerVTable { clone: adapter_clone, wake: adapter_wake, wake_by_ref: adapter_wake_by_ref, drop: adapter_drop };
static ADAPTER_BOXED: BoxedVTable = BoxedVTable {
    clone: adapter_boxed_clone,
    wake: adapter_boxed_wake,
    wake_by_ref: adapter_boxed_wake_by_ref,
    drop: adapter_boxed_drop,
};

// A waker that panics in one of these aborts: nothing unwinds out of an extern "C" function.

unsafe extern "C" fn adapter_clone(data: *mut c_void) -> RawWaker {
    // SAFETY: data is of an Arc<Adapter> that lives, here and below.
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

    /// Borrows the Arc's reference.
    pub(crate) fn lend(self: &Arc<Adapter>) -> RawWaker {
        debug_assert!(std::ptr::eq(self.boxed.vtable, &ADAPTER_BOXED));
        RawWaker { data: Arc::as_ptr(self).cast_mut().cast(), vtable: &ADAPTER }
    }
}

/// Hands a `Waker` to C, which must wake or drop it, once.
///
/// One that came from C goes back as it was; any other costs one allocation, and its clones in C none, for which
/// `rawwaker_will_wake` holds.
pub fn waker_into_raw(w: Waker) -> RawWaker {
    if std::ptr::eq(w.vtable(), &PAIR) {
        let w = ManuallyDrop::new(w);
        // SAFETY: with this vtable data is of an Arc<Pair>, one reference of which is ours now.
        let pair = unsafe { Arc::from_raw(w.data().cast::<Pair>()) };
        return match Arc::try_unwrap(pair) {
            Ok(last) => ManuallyDrop::new(last).0,
            // SAFETY: the pair lives, and the clone is the caller's.
            Err(shared) => unsafe { sys::rawwaker_clone(&shared.0) },
        };
    }
    match raw_ref(&w) {
        Some(raw) => {
            std::mem::forget(w); // its reference goes along; a no-op has none
            raw
        }
        None => RawWaker { data: Arc::into_raw(Adapter::new(w)).cast_mut().cast(), vtable: &ADAPTER },
    }
}

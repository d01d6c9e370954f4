//! A future across the FFI boundary is polled n times and stores its waker by clone_from. Each
//! function returns the number of allocations or clones, plus that of comparisons of equal wakers
//! that failed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::future::{poll_fn, Future};
use std::mem::offset_of;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_ffi::{FfiContext, FfiFuture, FfiPoll};
use ffiwaker::{RawContext, RawFuture, RawFutureVTable, RawWaker};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is forwarded to System.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
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

/// A waker stored as rawwaker_clone_from does: it is replaced unless its words are equal.
struct Stored<W> {
    waker: Option<W>,
    /// Replacements of a stored waker. Storing the first one is not counted.
    misses: usize,
}

impl<W: Copy> Stored<W> {
    fn clone_from(&mut self, same: impl Fn(&W) -> bool, clone: impl Fn() -> W, drop: impl Fn(W)) {
        match self.waker {
            Some(w) if same(&w) => {}
            Some(w) => {
                self.misses += 1;
                self.waker = Some(clone());
                drop(w);
            }
            None => self.waker = Some(clone()),
        }
    }
}

/// Polls as an executor does, with a clone of its task's waker each time.
fn poll_often<F: Future>(f: F, n: u64) -> usize {
    let mut f = pin!(f);
    let waker = Waker::from(Arc::new(super::Task));
    let before = ALLOCATIONS.load(Relaxed);
    for _ in 0..n {
        assert!(f.as_mut().poll(&mut Context::from_waker(&waker.clone())).is_pending());
    }
    ALLOCATIONS.load(Relaxed) - before
}

// ---------------------------------------------------------------------------------------- ours

unsafe extern "C" fn poll(data: *mut c_void, cx: *mut RawContext, _: *mut c_void) -> u8 {
    // SAFETY: data is foreign's Stored; the waker is borrowed for the call; each clone
    // is dropped once.
    unsafe {
        let w = *(*cx).waker;
        let drop = |old: RawWaker| ((*old.vtable).drop)(old.data);
        (*data.cast::<Stored<RawWaker>>()).clone_from(
            |k| k.data == w.data && k.vtable == w.vtable,
            || ((*w.vtable).clone)(w.data),
            drop,
        );
    }
    ffiwaker::PENDING
}
unsafe extern "C" fn drop_slot(data: *mut c_void) {
    // SAFETY: as above.
    if let Some(w) = unsafe { (*data.cast::<Stored<RawWaker>>()).waker.take() } {
        // SAFETY: our own reference.
        unsafe { ((*w.vtable).drop)(w.data) };
    }
}

pub fn foreign(n: u64) -> usize {
    static VTABLE: RawFutureVTable = RawFutureVTable { poll, drop: drop_slot };
    let mut stored: Stored<RawWaker> = Stored { waker: None, misses: 0 };
    // SAFETY: a future with VTABLE never returns READY, so it has no result to write.
    let f = unsafe {
        let data = (&raw mut stored).cast();
        ffiwaker::Foreign::<u64>::from_raw(RawFuture { data, vtable: &VTABLE })
    };
    poll_often(f, n) + stored.misses
}

// ----------------------------------------------------------------------------------- async-ffi

/// FfiWakerBase, as a C header declares it.
#[repr(C)]
struct Base {
    vtable: *const BaseVTable,
}
#[repr(C)]
struct BaseVTable {
    clone: unsafe extern "C" fn(*const Base) -> *const Base,
    wake: unsafe extern "C" fn(*const Base),
    wake_by_ref: unsafe extern "C" fn(*const Base),
    drop: unsafe extern "C" fn(*const Base),
}

/// FfiFuture, likewise.
#[repr(C)]
struct CFuture {
    fut: *mut c_void,
    poll: unsafe extern "C" fn(*mut c_void, *mut FfiContext<'_>) -> FfiPoll<u64>,
    drop: unsafe extern "C" fn(*mut c_void),
}
const _: () = assert!(size_of::<CFuture>() == size_of::<FfiFuture<u64>>());
const _: () = assert!(offset_of!(CFuture, drop) == 16);

unsafe extern "C" fn asyncffi_poll(data: *mut c_void, cx: *mut FfiContext<'_>) -> FfiPoll<u64> {
    // SAFETY: a context is one pointer to a FfiWakerBase; the rest as in poll.
    unsafe {
        let w = *cx.cast::<*const Base>();
        (*data.cast::<Stored<*const Base>>()).clone_from(
            |&k| k == w && (*k).vtable == (*w).vtable,
            || ((*(*w).vtable).clone)(w),
            |old| ((*(*old).vtable).drop)(old),
        );
    }
    FfiPoll::Pending
}
unsafe extern "C" fn asyncffi_drop(data: *mut c_void) {
    // SAFETY: as above.
    if let Some(w) = unsafe { (*data.cast::<Stored<*const Base>>()).waker.take() } {
        // SAFETY: our own reference.
        unsafe { ((*(*w).vtable).drop)(w) };
    }
}

pub fn asyncffi(n: u64) -> usize {
    let mut stored: Stored<*const Base> = Stored { waker: None, misses: 0 };
    let f = CFuture { fut: (&raw mut stored).cast(), poll: asyncffi_poll, drop: asyncffi_drop };
    // SAFETY: a C library's FfiFuture has this layout, as asserted above.
    let f = unsafe { std::mem::transmute::<CFuture, FfiFuture<u64>>(f) };
    poll_often(f, n) + stored.misses
}

// -------------------------------------------------------------------------- Rust, polled by Go

/// Returns clones and failed comparisons; allocations are not counted.
pub fn by_go(n: u64) -> usize {
    let counts = Arc::new(AtomicUsize::new(0));
    let seen = counts.clone();
    let mut stored: Option<Waker> = None;
    let f = ffiwaker::into_raw(poll_fn(move |cx| {
        match &mut stored {
            Some(k) if k.will_wake(cx.waker()) => {}
            Some(k) => {
                seen.fetch_add(2, Relaxed); // the failed comparison and the clone
                k.clone_from(cx.waker());
            }
            None => {
                seen.fetch_add(1, Relaxed);
                stored = Some(cx.waker().clone());
            }
        }
        Poll::<u64>::Pending
    }));
    // SAFETY: Go takes ownership of the future.
    unsafe { gofixture::goRepoll(f.data as usize, f.vtable as usize, n) };
    counts.load(Relaxed)
}

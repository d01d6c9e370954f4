//! `rawwaker.h`, word for word.

use std::ffi::{c_char, c_void};
use std::mem::{offset_of, size_of};

/// The version of `rawwaker.h` that this crate was written for.
pub const ABI_VERSION: u32 = 1;

/// What a poll slot gives: the result is in `*out`.
pub const READY: u8 = 0;
/// What a poll slot gives: the waker is kept.
pub const PENDING: u8 = 1;
/// What a poll slot gives: `rawwaker_last_panic` says why.
pub const PANICKED: u8 = 2;

/// A waker as C holds it: one reference, which nothing in Rust looks after. `Copy`, as a pointer is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawWaker {
    /// Whatever the vtable says; any integer.
    pub data: *mut c_void,
    /// Lives as long as the process.
    pub vtable: *const RawWakerVTable,
}

/// The four slots.
#[repr(C)]
#[derive(Debug)]
pub struct RawWakerVTable {
    /// A new reference that wakes the same task.
    pub clone: unsafe extern "C" fn(data: *mut c_void) -> RawWaker,
    /// Wakes and consumes.
    pub wake: unsafe extern "C" fn(data: *mut c_void),
    /// Wakes and consumes nothing.
    pub wake_by_ref: unsafe extern "C" fn(data: *mut c_void),
    /// Consumes.
    pub drop: unsafe extern "C" fn(data: *mut c_void),
}

/// What a poll is given; the waker is borrowed.
#[repr(C)]
#[derive(Debug)]
pub struct RawContext {
    /// Lent for the poll.
    pub waker: *const RawWaker,
}

/// A future as C holds it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawFuture {
    /// Whatever the vtable says.
    pub data: *mut c_void,
    /// Lives as long as the process.
    pub vtable: *const RawFutureVTable,
}

/// The two slots of a future.
#[repr(C)]
#[derive(Debug)]
pub struct RawFutureVTable {
    /// Writes `*out` only when it gives [`READY`].
    pub poll: unsafe extern "C" fn(data: *mut c_void, cx: *mut RawContext, out: *mut c_void) -> u8,
    /// Exactly once, after `READY` and `PANICKED` too.
    pub drop: unsafe extern "C" fn(data: *mut c_void),
}

// SAFETY: the contract of rawwaker.h: a waker may be used on any thread.
unsafe impl Send for RawWaker {}
// SAFETY: likewise, by several at once.
unsafe impl Sync for RawWaker {}
// SAFETY: the contract of rawwaker.h: poll and drop may come from different threads, one at a time.
unsafe impl Send for RawFuture {}

/// What stands first at `data` of a box: async-ffi's layout.
#[repr(C)]
pub(crate) struct Boxed {
    pub vtable: *const BoxedVTable,
}

#[repr(C)]
pub(crate) struct BoxedVTable {
    pub clone: unsafe extern "C" fn(*const Boxed) -> *const Boxed,
    pub wake: unsafe extern "C" fn(*const Boxed),
    pub wake_by_ref: unsafe extern "C" fn(*const Boxed),
    pub drop: unsafe extern "C" fn(*const Boxed),
}

const WORD: usize = size_of::<usize>();
const _: () = assert!(size_of::<RawWaker>() == 2 * WORD && offset_of!(RawWaker, vtable) == WORD);
const _: () = assert!(size_of::<RawWakerVTable>() == 4 * WORD && offset_of!(RawWakerVTable, drop) == 3 * WORD);
const _: () = assert!(size_of::<RawFuture>() == 2 * WORD && offset_of!(RawFuture, vtable) == WORD);
const _: () = assert!(size_of::<RawFutureVTable>() == 2 * WORD && offset_of!(RawFutureVTable, drop) == WORD);
const _: () = assert!(size_of::<RawContext>() == WORD && size_of::<BoxedVTable>() == 4 * WORD);

extern "C" {
    pub(crate) fn rawwaker_clone(w: *const RawWaker) -> RawWaker;
    pub(crate) fn rawwaker_drop(w: RawWaker);
    pub(crate) fn rawwaker_noop() -> RawWaker;
    pub(crate) fn rawwaker_is_box(w: *const RawWaker) -> bool;
    pub(crate) fn rawwaker_from_boxed(b: *const Boxed) -> RawWaker;
    pub(crate) fn rawwaker_set_panic(msg: *const c_char, len: usize);
    pub(crate) fn rawwaker_last_panic() -> *const c_char;
}

impl RawWaker {
    /// Equal data and equal vtable address: `rawwaker_will_wake`.
    pub(crate) fn will_wake(&self, other: &RawWaker) -> bool {
        self.data == other.data && self.vtable == other.vtable
    }
}

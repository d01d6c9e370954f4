//! The declarations of `rawwaker.h` that this crate uses.

use std::ffi::{c_char, c_void};
use std::mem::{offset_of, size_of};

/// The `RAWWAKER_ABI_VERSION` that this crate was written for.
pub const ABI_VERSION: u32 = 1;

/// Returned by a poll slot: the future has completed and its result is in `*out`.
pub const READY: u8 = 0;
/// Returned by a poll slot: the future has kept a clone of the waker, and will wake it.
pub const PENDING: u8 = 1;
/// Returned by a poll slot: the future has panicked; `rawwaker_last_panic` returns the text.
pub const PANICKED: u8 = 2;
/// Returned by the poll slot of a stream: there are no more items, now and for all later calls.
pub const DONE: u8 = 3;

/// A waker in C: one reference to a task.
///
/// Rust does not manage that reference. A copy of this struct is not a second one, and dropping the
/// struct releases nothing: [`waker_from_raw`](crate::waker_from_raw) takes the reference over.
/// Any thread may use a waker.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[must_use = "the reference leaks if it is neither woken by value nor dropped"]
pub struct RawWaker {
    /// The argument of each slot. Its meaning is up to the vtable; any integer is allowed.
    pub data: *mut c_void,
    /// Must live as long as the process. Two wakers wake the same task if both words are equal.
    pub vtable: *const RawWakerVTable,
}

/// The four slots of a waker. Any thread may call them, several at the same time. A slot must not
/// poll, block or unwind.
#[repr(C)]
#[derive(Debug)]
pub struct RawWakerVTable {
    /// Returns a new reference that wakes the same task. Its words may differ from the original's.
    pub clone: unsafe extern "C" fn(data: *mut c_void) -> RawWaker,
    /// Wakes the task and releases the reference. `drop` must not follow.
    pub wake: unsafe extern "C" fn(data: *mut c_void),
    /// Wakes the task and releases nothing.
    pub wake_by_ref: unsafe extern "C" fn(data: *mut c_void),
    /// Releases the reference and wakes no task.
    pub drop: unsafe extern "C" fn(data: *mut c_void),
}

/// The argument of a poll slot. It is valid during the call only.
#[repr(C)]
#[derive(Debug)]
pub struct RawContext {
    /// Borrowed. A future clones it to keep it, and never calls its `wake` or `drop`.
    pub waker: *const RawWaker,
}

/// A future in C.
///
/// Rust does not manage it. A copy of this struct is not a second future, and dropping the struct
/// does not drop the future: [`Foreign::from_raw`](crate::Foreign::from_raw) takes it over.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[must_use = "the future leaks if its drop slot is not called"]
pub struct RawFuture {
    /// The argument of each slot. Its meaning is up to the vtable.
    pub data: *mut c_void,
    /// Must live as long as the process.
    pub vtable: *const RawFutureVTable,
}

/// The two slots of a future. Each call may come from another thread, but no two at the same time.
#[repr(C)]
#[derive(Debug)]
pub struct RawFutureVTable {
    /// Returns [`READY`], [`PENDING`] or [`PANICKED`]. Writes `*out` only if it returns [`READY`],
    /// and is not called again after [`READY`] or [`PANICKED`]. `out` is memory for the result type
    /// that both sides agreed on, and NULL for a type of size zero.
    pub poll: unsafe extern "C" fn(data: *mut c_void, cx: *mut RawContext, out: *mut c_void) -> u8,
    /// Releases everything. Called exactly once, also after [`READY`] and [`PANICKED`]. If the
    /// future has not completed, this cancels it.
    pub drop: unsafe extern "C" fn(data: *mut c_void),
}

/// A stream in C: a future of many values.
///
/// Rust does not manage it. A copy of this struct is not a second stream, and dropping the struct
/// does not drop the stream: `ForeignStream::from_raw` (feature `stream`) takes it over.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[must_use = "the stream leaks if its drop slot is not called"]
pub struct RawStream {
    /// The argument of each slot. Its meaning is up to the vtable.
    pub data: *mut c_void,
    /// Must live as long as the process.
    pub vtable: *const RawStreamVTable,
}

/// The two slots of a stream. Each call may come from another thread, but no two at the same time.
#[repr(C)]
#[derive(Debug)]
pub struct RawStreamVTable {
    /// Returns [`READY`] with one item in `*out`, [`PENDING`], [`DONE`] or [`PANICKED`]. `out` is
    /// as for a future. It is not called again after [`PANICKED`]; after [`DONE`] it may be, and
    /// returns [`DONE`] again.
    pub poll_next:
        unsafe extern "C" fn(data: *mut c_void, cx: *mut RawContext, out: *mut c_void) -> u8,
    /// Releases everything. Called exactly once, also after [`DONE`] and [`PANICKED`]. A call
    /// before either cancels the stream.
    pub drop: unsafe extern "C" fn(data: *mut c_void),
}

// SAFETY: by the contract of rawwaker.h, any thread may use a waker.
unsafe impl Send for RawWaker {}
// SAFETY: likewise, several threads at the same time.
unsafe impl Sync for RawWaker {}
// SAFETY: by the contract of rawwaker.h, each poll and the drop may come from another thread.
unsafe impl Send for RawFuture {}
// SAFETY: as for a future.
unsafe impl Send for RawStream {}

/// The first word at a box's `data`, in the layout of the crate async-ffi.
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

// The layout that rawwaker.h pins.
const _: () = {
    let word = size_of::<usize>();
    assert!(size_of::<RawWaker>() == 2 * word);
    assert!(offset_of!(RawWaker, vtable) == word);
    assert!(size_of::<RawWakerVTable>() == 4 * word);
    assert!(offset_of!(RawWakerVTable, drop) == 3 * word);
    assert!(size_of::<RawFuture>() == 2 * word);
    assert!(offset_of!(RawFuture, vtable) == word);
    assert!(size_of::<RawFutureVTable>() == 2 * word);
    assert!(offset_of!(RawFutureVTable, drop) == word);
    assert!(size_of::<RawStream>() == 2 * word);
    assert!(offset_of!(RawStream, vtable) == word);
    assert!(size_of::<RawStreamVTable>() == 2 * word);
    assert!(offset_of!(RawStreamVTable, drop) == word);
    assert!(size_of::<RawContext>() == word);
    assert!(size_of::<BoxedVTable>() == 4 * word);
};

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
    /// Whether both words are equal, as `rawwaker_will_wake` compares them.
    pub(crate) fn will_wake(&self, other: &RawWaker) -> bool {
        self.data == other.data && self.vtable == other.vtable
    }
}

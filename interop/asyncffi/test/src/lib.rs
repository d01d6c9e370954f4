//! Rust declarations of rawwaker.h and fixture.c.

use async_ffi::{FfiFuture, FfiPoll};
use std::ffi::{c_char, c_void, CStr};
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard};

pub const READY: u8 = 0;
pub const PENDING: u8 = 1;
pub const PANICKED: u8 = 2;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawWaker {
    pub data: *mut c_void,
    pub vtable: *const RawWakerVTable,
}

#[repr(C)]
pub struct RawWakerVTable {
    pub clone: unsafe extern "C" fn(*mut c_void) -> RawWaker,
    pub wake: unsafe extern "C" fn(*mut c_void),
    pub wake_by_ref: unsafe extern "C" fn(*mut c_void),
    pub drop: unsafe extern "C" fn(*mut c_void),
}

#[repr(C)]
pub struct RawContext {
    pub waker: *const RawWaker,
}

/// A future whose result is a T. Tests poll it with valid wakers, and never after completion.
#[repr(C)]
pub struct RawFuture<T> {
    data: *mut c_void,
    vtable: *const RawFutureVTable,
    result: PhantomData<T>,
}

#[repr(C)]
pub struct RawFutureVTable {
    poll: unsafe extern "C" fn(*mut c_void, *mut RawContext, *mut c_void) -> u8,
    drop: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: rawwaker.h lets a future be polled and dropped on any thread, one at a time.
unsafe impl<T: Send> Send for RawFuture<T> {}

impl<T> RawFuture<T> {
    /// Polls once under `waker`.
    pub fn poll(&mut self, waker: &RawWaker, out: &mut T) -> u8 {
        let mut cx = RawContext { waker };
        // SAFETY: the future is valid and borrowed mutably, out has its type, and the context
        // outlives the call.
        unsafe { ((*self.vtable).poll)(self.data, &mut cx, (out as *mut T).cast()) }
    }

    /// # Safety
    /// `f`'s result must be a T.
    unsafe fn of<U>(f: RawFuture<U>) -> Self {
        let f = std::mem::ManuallyDrop::new(f);
        RawFuture { data: f.data, vtable: f.vtable, result: PhantomData }
    }

    /// Returns a future that passes each poll's waker to `seen` and then polls this one.
    pub fn spied_on(self, seen: fn(&RawWaker)) -> Self {
        struct Spy<T>(RawFuture<T>, fn(&RawWaker));
        unsafe extern "C" fn poll<T>(
            data: *mut c_void,
            cx: *mut RawContext,
            out: *mut c_void,
        ) -> u8 {
            // SAFETY: data is the Box below; polls do not overlap; cx is valid during the poll.
            unsafe {
                let spy = &*data.cast::<Spy<T>>();
                (spy.1)(&*(*cx).waker);
                ((*spy.0.vtable).poll)(spy.0.data, cx, out)
            }
        }
        unsafe extern "C" fn drop<T>(data: *mut c_void) {
            // SAFETY: data is the Box below, dropped once.
            unsafe { std::mem::drop(Box::from_raw(data.cast::<Spy<T>>())) }
        }
        let vtable = const { &RawFutureVTable { poll: poll::<T>, drop: drop::<T> } };
        RawFuture {
            data: Box::into_raw(Box::new(Spy(self, seen))).cast(),
            vtable,
            result: PhantomData,
        }
    }
}

impl<T> Drop for RawFuture<T> {
    fn drop(&mut self) {
        // SAFETY: a RawFuture is owned, and consumed by value everywhere else.
        unsafe { ((*self.vtable).drop)(self.data) }
    }
}

macro_rules! fixtures {
    ($(
        $type:ty: $poll_size:ident $future_size:ident $to_raw:ident $to_ffi:ident $tagged:ident;
    )*) => {
        extern "C" {
            $(
                fn $poll_size() -> usize;
                fn $future_size() -> usize;
                fn $to_raw(f: FfiFuture<$type>) -> RawFuture<$type>;
                fn $to_ffi(f: RawFuture<$type>) -> FfiFuture<$type>;
                fn $tagged(tag: u8) -> FfiPoll<$type>;
            )*
        }
        $(
            impl Fixture for $type {
                fn poll_size() -> usize {
                    // SAFETY: a constant.
                    unsafe { $poll_size() }
                }
                fn future_size() -> usize {
                    // SAFETY: a constant.
                    unsafe { $future_size() }
                }
                fn into_raw(f: FfiFuture<Self>) -> RawFuture<Self> {
                    // SAFETY: consumes f, and is of this type.
                    unsafe { $to_raw(f) }
                }
                fn from_raw(f: RawFuture<Self>) -> FfiFuture<Self> {
                    // SAFETY: consumes f, and is of this type.
                    unsafe { $to_ffi(f) }
                }
                unsafe fn tagged(tag: u8) -> FfiPoll<Self> {
                    // SAFETY: as the caller promises.
                    unsafe { $tagged(tag) }
                }
            }
        )*
    };
}

/// A result type that fixture.c defines.
pub trait Fixture: Sized {
    fn poll_size() -> usize;
    fn future_size() -> usize;
    fn into_raw(f: FfiFuture<Self>) -> RawFuture<Self>;
    fn from_raw(f: RawFuture<Self>) -> FfiFuture<Self>;
    /// # Safety
    /// `tag` must be one of the three, and zeroed memory a valid `Self`.
    unsafe fn tagged(tag: u8) -> FfiPoll<Self>;
}

fixtures! {
    (): fixture_unit_poll_size fixture_unit_future_size
        fixture_unit_to_raw fixture_unit_to_ffi fixture_unit_tagged;
    u8: fixture_u8_poll_size fixture_u8_future_size
        fixture_u8_to_raw fixture_u8_to_ffi fixture_u8_tagged;
    u32: fixture_u32_poll_size fixture_u32_future_size
        fixture_u32_to_raw fixture_u32_to_ffi fixture_u32_tagged;
    u64: fixture_u64_poll_size fixture_u64_future_size
        fixture_u64_to_raw fixture_u64_to_ffi fixture_u64_tagged;
    f32: fixture_f32_poll_size fixture_f32_future_size
        fixture_f32_to_raw fixture_f32_to_ffi fixture_f32_tagged;
    f64: fixture_f64_poll_size fixture_f64_future_size
        fixture_f64_to_raw fixture_f64_to_ffi fixture_f64_tagged;
    [u64; 2]: fixture_pair_poll_size fixture_pair_future_size
        fixture_pair_to_raw fixture_pair_to_ffi fixture_pair_tagged;
}

extern "C" {
    fn other_u32_to_raw(f: FfiFuture<u32>) -> RawFuture<u32>;
    fn other_u32_to_ffi(f: RawFuture<u32>) -> FfiFuture<u32>;

    fn fixture_context_size() -> usize;
    fn fixture_threads_dropped() -> usize;
    fn fixture_thread(end: u8, value: *const c_void, size: usize) -> RawFuture<()>;
    fn fixture_counting(polls: u32) -> RawFuture<u32>;
    fn fixture_mallocs() -> usize;
    fn fixture_frees() -> usize;

    fn rawwaker_block_on(f: RawFuture<()>, out: *mut c_void) -> u8;
    fn rawwaker_last_panic() -> *const c_char;
    fn rawwaker_live() -> usize;
    fn rawwaker_noop() -> RawWaker;
    fn rawwaker_is_box(w: *const RawWaker) -> bool;
    fn rawwaker_drop(w: RawWaker);
    fn rawwaker_clone(w: *const RawWaker) -> RawWaker;
    fn rawwaker_wake(w: RawWaker);
    fn rawwaker_from_fn(
        wake: extern "C" fn(*mut c_void),
        arg: *mut c_void,
        drop: Option<extern "C" fn(*mut c_void)>,
    ) -> RawWaker;
}

/// `u32::into_raw`, compiled in other.c.
pub fn other_into_raw(f: FfiFuture<u32>) -> RawFuture<u32> {
    // SAFETY: consumes f, and is of this type.
    unsafe { other_u32_to_raw(f) }
}

/// `u32::from_raw`, compiled in other.c.
pub fn other_from_raw(f: RawFuture<u32>) -> FfiFuture<u32> {
    // SAFETY: consumes f, and is of this type.
    unsafe { other_u32_to_ffi(f) }
}

pub fn context_size() -> usize {
    // SAFETY: a constant.
    unsafe { fixture_context_size() }
}

#[derive(Clone, Copy)]
#[repr(u8)]
pub enum End {
    Ready = 0,
    Panicked = 1,
    Never = 2,
    Oddly = 3,
    Silently = 4,
}

/// Returns a C future that its own thread wakes. It ends as `end` specifies, with `value`.
pub fn c_thread<T: Fixture + Copy>(end: End, value: T) -> FfiFuture<T> {
    // SAFETY: the fixture copies the value's bytes and returns them as the result, so that is a T.
    T::from_raw(unsafe {
        RawFuture::of(fixture_thread(end as u8, (&raw const value).cast(), size_of::<T>()))
    })
}

pub fn c_threads_dropped() -> usize {
    // SAFETY: an atomic load.
    unsafe { fixture_threads_dropped() }
}

/// Returns a C future that wakes itself `polls` times. Its result counts how often will_wake was
/// false.
pub fn c_counting(polls: u32) -> RawFuture<u32> {
    // SAFETY: makes a future.
    unsafe { fixture_counting(polls) }
}

/// Returns how often this thread has called malloc and free, in either language.
pub fn allocations() -> (usize, usize) {
    // SAFETY: two thread-local words.
    unsafe { (fixture_mallocs(), fixture_frees()) }
}

/// Runs C's block_on on an async-ffi future, and returns the code and the result.
pub fn c_blocks_on<T: Fixture + Default>(f: FfiFuture<T>) -> (u8, T) {
    let mut out = T::default();
    // SAFETY: the future is consumed, its result is a T, and out is one.
    let code = unsafe { rawwaker_block_on(RawFuture::of(T::into_raw(f)), (&raw mut out).cast()) };
    (code, out)
}

pub fn last_panic() -> String {
    // SAFETY: NUL-terminated, never NULL, valid until this thread's next poll.
    unsafe { CStr::from_ptr(rawwaker_last_panic()) }.to_str().unwrap().to_owned()
}

pub fn noop() -> RawWaker {
    // SAFETY: a constant.
    unsafe { rawwaker_noop() }
}

pub fn is_box(w: &RawWaker) -> bool {
    // SAFETY: compares addresses.
    unsafe { rawwaker_is_box(w) }
}

/// A waker of rawwaker_from_fn, which is dropped with this value.
pub struct FnWaker(pub RawWaker);

impl FnWaker {
    pub fn new() -> Self {
        extern "C" fn nothing(_: *mut c_void) {}
        // SAFETY: the function ignores its argument.
        FnWaker(unsafe { rawwaker_from_fn(nothing, std::ptr::null_mut(), None) })
    }
}

impl Default for FnWaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FnWaker {
    fn drop(&mut self) {
        // SAFETY: this owns one reference.
        unsafe { rawwaker_drop(self.0) }
    }
}

/// # Safety
/// `w` must be valid.
pub unsafe fn clone(w: &RawWaker) -> RawWaker {
    // SAFETY: as promised.
    unsafe { rawwaker_clone(w) }
}

/// # Safety
/// `w` must be a reference that the caller owns.
pub unsafe fn wake(w: RawWaker) {
    // SAFETY: as promised.
    unsafe { rawwaker_wake(w) }
}

/// Lets one test run at a time, because the counts are those of the process. When it is dropped, no
/// box of rawwaker.c may be left.
pub struct Alone(#[allow(dead_code)] MutexGuard<'static, ()>);

pub fn alone() -> Alone {
    static ONE: Mutex<()> = Mutex::new(());
    Alone(ONE.lock().unwrap_or_else(|e| e.into_inner()))
}

impl Drop for Alone {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: an atomic load.
            assert_eq!(unsafe { rawwaker_live() }, 0, "counted wakers are left");
        }
    }
}

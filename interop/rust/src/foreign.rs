//! Futures of C and Go in Rust.

use std::ffi::CStr;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{size_of, ManuallyDrop, MaybeUninit};
use std::pin::Pin;
use std::ptr::null_mut;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use crate::sys::{self, RawContext, RawFuture, PANICKED, PENDING, READY};
use crate::waker::{raw_ref, Adapter};

/// A future of C or Go, which Rust awaits like any other: `foreign.await`.
///
/// It owns the C future and calls its drop slot exactly once: in the poll that completes it, or
/// when this is dropped. Dropping it early cancels the C future.
///
/// Any thread may poll or drop it, one at a time.
///
/// # Panics
///
/// A poll panics:
///
/// - if the C future returned [`PANICKED`], with the text of `rawwaker_last_panic`;
/// - if its poll slot returned an unknown code;
/// - if it is polled again after it was ready, or after such a panic.
///
/// # Example
///
/// Awaits a future that C implements; here its two slots are written in Rust:
///
#[cfg_attr(feature = "bundled", doc = "```")]
#[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
/// use std::ffi::c_void;
/// use std::future::Future;
/// use std::pin::pin;
/// use std::ptr::null_mut;
/// use std::task::{Context, Poll, Waker};
///
/// use ffiwaker::{Foreign, RawContext, RawFuture, RawFutureVTable, READY};
///
/// unsafe extern "C" fn poll(_: *mut c_void, _: *mut RawContext, out: *mut c_void) -> u8 {
///     // SAFETY: out is memory for the agreed type, a u64.
///     unsafe { out.cast::<u64>().write(42) };
///     READY
/// }
/// unsafe extern "C" fn drop(_: *mut c_void) {}
/// static ANSWER: RawFutureVTable = RawFutureVTable { poll, drop };
///
/// let raw = RawFuture { data: null_mut(), vtable: &ANSWER };
/// // SAFETY: raw is a future of a u64, and this call consumes it.
/// let mut answer = pin!(unsafe { Foreign::<u64>::from_raw(raw) });
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(answer.as_mut().poll(&mut cx), Poll::Ready(42));
/// ```
pub struct Foreign<T> {
    raw: RawFuture,
    completed: bool,
    /// The Rust waker as C sees it: the same one as long as C keeps it and `will_wake` holds. Weak,
    /// because a task often owns both this future and itself through its wakers. If this held a
    /// waker that C has dropped, the task would never be freed.
    adapter: Weak<Adapter>,
    value: PhantomData<fn() -> T>,
}

impl<T> Unpin for Foreign<T> {}

impl<T> std::fmt::Debug for Foreign<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foreign")
            .field("raw", &self.raw)
            .field("completed", &self.completed)
            .finish()
    }
}

impl<T> Foreign<T> {
    /// Takes a C future over.
    ///
    /// # Safety
    ///
    /// - `raw` keeps the contract of `rawwaker.h`, and no other code uses it from now on.
    /// - Before its poll returns [`READY`], it writes a valid `T` to the memory that it is given.
    ///   That memory is zeroed first. Nothing checks that both sides mean the same type: a future
    ///   that writes more than `size_of::<T>()` bytes overruns the stack.
    /// - The `T` may be sent to the thread that polls.
    ///
    /// If `T` has size zero, the C future writes nothing, and this makes the `T` when the future is
    /// ready. So it must be a `T` that the other side gave away, as [`into_raw`](crate::into_raw)
    /// does.
    pub unsafe fn from_raw(raw: RawFuture) -> Foreign<T> {
        Foreign { raw, completed: false, adapter: Weak::new(), value: PhantomData }
    }

    /// Gives the C future back unchanged. The caller owns it again, and must drop it exactly once.
    ///
    /// # Panics
    ///
    /// If the future has completed.
    ///
    /// # Example
    ///
    #[cfg_attr(feature = "bundled", doc = "```")]
    #[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
    /// let raw = ffiwaker::into_raw(async { 42u64 });
    /// // SAFETY: raw is a future of a u64, and this call consumes it.
    /// let foreign = unsafe { ffiwaker::Foreign::<u64>::from_raw(raw) };
    /// let same = foreign.into_raw();
    /// assert_eq!((same.data, same.vtable), (raw.data, raw.vtable));
    /// // SAFETY: the future is dropped once.
    /// unsafe { ((*same.vtable).drop)(same.data) };
    /// ```
    pub fn into_raw(self) -> RawFuture {
        assert!(!self.completed, "ffiwaker: Foreign::into_raw: the future has completed");
        let mut this = ManuallyDrop::new(self);
        this.adapter = Weak::new();
        this.raw
    }

    fn end(&mut self) {
        self.completed = true;
        // SAFETY: once, because completed was false; no poll is in progress.
        unsafe { ((*self.raw.vtable).drop)(self.raw.data) }
        self.adapter = Weak::new();
    }
}

impl<T> Future for Foreign<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        assert!(!this.completed, "future polled after completion");
        let lent; // until the poll returns
        let waker = match raw_ref(cx.waker()) {
            Some(raw) => raw,
            None => {
                let kept = this.adapter.upgrade().filter(|a| a.waker.will_wake(cx.waker()));
                lent = kept.unwrap_or_else(|| {
                    let new = Adapter::new(cx.waker().clone());
                    this.adapter = Arc::downgrade(&new);
                    new
                });
                lent.lend()
            }
        };
        let mut out = MaybeUninit::<T>::zeroed();
        let to = if size_of::<T>() == 0 { null_mut() } else { out.as_mut_ptr().cast() };
        let mut cx = RawContext { waker: &waker };
        // SAFETY: this owns raw, which has not completed; the waker is lent for the call; out is
        // memory for a T.
        let code = unsafe { ((*this.raw.vtable).poll)(this.raw.data, &mut cx, to) };
        match code {
            PENDING => Poll::Pending,
            READY => {
                this.end();
                // SAFETY: the caller of from_raw promised that poll wrote a T.
                Poll::Ready(unsafe { out.assume_init() })
            }
            PANICKED => {
                // SAFETY: never NULL, and valid until this thread's next poll. The drop slot may
                // poll, so the text is copied first.
                let text = unsafe { CStr::from_ptr(sys::rawwaker_last_panic()) };
                let text = text.to_string_lossy().into_owned();
                this.end();
                panic!("{text}")
            }
            code => {
                this.end();
                panic!("slot poll returned {code}, which is not a rawwaker_poll")
            }
        }
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        if !self.completed {
            self.end();
        }
    }
}

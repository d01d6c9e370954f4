//! Futures of C and Go in Rust.

use std::future::Future;
use std::marker::PhantomData;
use std::mem::{size_of, ManuallyDrop, MaybeUninit};
use std::pin::Pin;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use crate::panics::{with_slot, ForeignPanic, Slot};
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
/// - if the C future returned [`PANICKED`], with the text of `rawwaker_last_panic` as a `String`.
///   If it began in a Rust future whose payload is not a string, with that payload, under the
///   conditions of [`ForeignPanic::into_payload`];
/// - if its poll slot returned an unknown code;
/// - if it is polled again after it was ready, or after such a panic.
///
/// One panic prints one message: if it began in a Rust future on the same thread, whose message has
/// been printed, the panic hook does not run again. [`outcome`](Foreign::outcome) gives an error
/// instead of a panic.
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
#[must_use = "futures do nothing unless polled"]
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

    /// Takes over the C future that `write` writes through its pointer, as many C functions return
    /// one.
    ///
    /// # Safety
    ///
    /// `write` writes a future to its argument, which is memory for a [`RawFuture`], or leaves it
    /// unchanged. For the future holds what [`from_raw`](Foreign::from_raw) demands.
    ///
    /// # Panics
    ///
    /// If `write` writes nothing, or a NULL vtable; and if `write` panics. A future that it has
    /// written before it panics is not dropped.
    ///
    /// # Example
    ///
    #[cfg_attr(feature = "bundled", doc = "```")]
    #[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
    /// use ffiwaker::{into_raw, Foreign, RawFuture};
    ///
    /// /// Stands for a function of C: `void answer(uint64_t v, rawwaker_future *out)`.
    /// unsafe extern "C" fn answer(v: u64, out: *mut RawFuture) {
    ///     // SAFETY: the caller gives memory for a future.
    ///     unsafe { out.write(into_raw(async move { v })) }
    /// }
    ///
    /// // SAFETY: answer writes a future of a u64.
    /// let foreign = unsafe { Foreign::<u64>::from_fn(|out| answer(42, out)) };
    /// assert_eq!(futures::executor::block_on(foreign), 42);
    /// ```
    pub unsafe fn from_fn(write: impl FnOnce(*mut RawFuture)) -> Foreign<T> {
        let mut raw = RawFuture { data: null_mut(), vtable: null() };
        write(&mut raw);
        assert!(!raw.vtable.is_null(), "ffiwaker: Foreign::from_fn: no future was written");
        // SAFETY: the caller promised it.
        unsafe { Foreign::from_raw(raw) }
    }

    /// The same future with a panic of the other side as an `Err`.
    ///
    /// Takes the future over; dropping the result early cancels it. Any thread may poll or drop the
    /// result, one at a time.
    ///
    /// # Panics
    ///
    /// Only if it is polled again after it was ready.
    ///
    /// # Example
    ///
    #[cfg_attr(feature = "bundled", doc = "```")]
    #[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
    /// let raw = ffiwaker::into_raw(async { u64::from_str_radix("no number", 10).unwrap() });
    /// // SAFETY: raw is a future of a u64, and this call consumes it.
    /// let foreign = unsafe { ffiwaker::Foreign::<u64>::from_raw(raw) };
    /// let panic = futures::executor::block_on(foreign.outcome()).unwrap_err();
    /// assert!(panic.message().contains("InvalidDigit"));
    /// ```
    pub fn outcome(self) -> impl Future<Output = Result<T, ForeignPanic>> + Send + Unpin {
        Outcome(self)
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

    fn poll_outcome(&mut self, cx: &Context<'_>) -> Poll<Result<T, ForeignPanic>> {
        assert!(!self.completed, "future polled after completion");
        let mut out = MaybeUninit::<T>::zeroed();
        let to = if size_of::<T>() == 0 { null_mut() } else { out.as_mut_ptr().cast() };
        let raw = self.raw;
        // SAFETY: this owns raw, which has not completed; the context is lent for the call; out is
        // memory for a T.
        let poll = |cx: &mut _| unsafe { ((*raw.vtable).poll)(raw.data, cx, to) };
        let (code, slot) = call(&mut self.adapter, cx, poll);
        if code == PANICKED {
            let panic = ForeignPanic::new(slot); // first: the drop slot may poll
            self.end();
            return Poll::Ready(Err(panic));
        }
        slot.discard();
        match code {
            PENDING => Poll::Pending,
            READY => {
                self.end();
                // SAFETY: the caller of from_raw promised that poll wrote a T.
                Poll::Ready(Ok(unsafe { out.assume_init() }))
            }
            code => {
                self.end();
                Poll::Ready(Err(ForeignPanic::of_code("poll", code)))
            }
        }
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
        self.poll_outcome(cx).map(|result| result.unwrap_or_else(|panic| panic.resume()))
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        if !self.completed {
            self.end();
        }
    }
}

struct Outcome<T>(Foreign<T>);

impl<T> Future for Outcome<T> {
    type Output = Result<T, ForeignPanic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_outcome(cx)
    }
}

/// Calls `poll`, a poll slot of C, with the waker of `cx`. `adapter` is the one of the future that
/// is polled. Returns the code, and what Rust futures have put into the slot for panics.
pub(crate) fn call(
    adapter: &mut Weak<Adapter>,
    cx: &Context<'_>,
    poll: impl FnOnce(&mut RawContext) -> u8,
) -> (u8, Slot) {
    let lent; // until the poll returns
    let waker = match raw_ref(cx.waker()) {
        Some(raw) => raw,
        None => {
            let kept = adapter.upgrade().filter(|a| a.waker.will_wake(cx.waker()));
            lent = kept.unwrap_or_else(|| {
                let new = Adapter::new(cx.waker().clone());
                *adapter = Arc::downgrade(&new);
                new
            });
            lent.lend()
        }
    };
    // A future that sets no text must not panic with that of an earlier poll.
    // SAFETY: the text is never NULL, and ends with a 0; the second call takes no bytes.
    unsafe {
        if *sys::rawwaker_last_panic() != 0 {
            sys::rawwaker_set_panic(c"".as_ptr(), 0);
        }
    }
    with_slot(|| poll(&mut RawContext { waker: &waker }))
}

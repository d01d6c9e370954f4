//! Rust futures in C and Go.

use std::any::Any;
use std::ffi::c_void;
use std::future::Future;
use std::mem::{forget, size_of};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Weak;
use std::task::{Context, Poll};

use crate::sys::{self, RawContext, RawFuture, RawFutureVTable, PANICKED, PENDING, READY};
use crate::waker::{with_lent, Pair};

/// The allocation behind C's `data`. The future in it is pinned: it is dropped in place.
struct Export<F> {
    future: Option<F>, // None once it has completed
    kept: Weak<Pair>,
}

/// Turns a Rust future into a future of C or Go.
///
/// Takes the future over. The caller owns the result, polls it until it returns [`READY`] or
/// [`PANICKED`], and must call its drop slot exactly once, also after that. If the future has not
/// completed, the drop cancels it. It costs one allocation.
///
/// # Result
///
/// A poll that returns [`READY`] has moved an `F::Output` to `out`, which must be memory of that
/// size and alignment. Use a type whose layout C knows: a primitive or a `#[repr(C)]` type. `out`
/// may be NULL if the type has size zero. If such a type implements `Drop`, the caller must run it,
/// as [`Foreign`](crate::Foreign) does.
///
/// # Threads
///
/// Each poll and the drop may come from another thread, but no two at the same time.
///
/// # Panics
///
/// A poll returns [`PANICKED`], and `rawwaker_last_panic` the text:
///
/// - if the future panics, with its text;
/// - if the future has completed before: `future polled after completion`;
/// - if the future is ready, but `out` is NULL and the type does not have size zero. The result is
///   dropped.
///
/// If the future's own drop panics, the process aborts with one line, because C has no way to
/// receive that panic.
///
/// # Example
///
/// What C does with such a future:
///
#[cfg_attr(feature = "bundled", doc = "```")]
#[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
/// use ffiwaker::{into_raw, waker_into_raw, RawContext, READY};
/// use std::task::Waker;
///
/// let future = into_raw(async { 42u64 });
/// let noop = waker_into_raw(Waker::noop().clone());
/// let mut cx = RawContext { waker: &noop };
/// let mut out = 0u64;
/// // SAFETY: out is memory for a u64, and the future is dropped once.
/// unsafe {
///     let code = ((*future.vtable).poll)(future.data, &mut cx, (&raw mut out).cast());
///     assert_eq!((code, out), (READY, 42));
///     ((*future.vtable).drop)(future.data);
/// }
/// ```
pub fn into_raw<F>(future: F) -> RawFuture
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let data = Box::into_raw(Box::new(Export { future: Some(future), kept: Weak::new() }));
    RawFuture { data: data.cast(), vtable: &Export::<F>::VTABLE }
}

impl<F: Future> Export<F> {
    const VTABLE: RawFutureVTable = RawFutureVTable { poll: poll::<F>, drop: drop_slot::<F> };
}

unsafe extern "C" fn poll<F: Future>(
    data: *mut c_void,
    cx: *mut RawContext,
    out: *mut c_void,
) -> u8 {
    // SAFETY: data is an Export<F> that C has not dropped, and C calls one slot at a time.
    let this = unsafe { &mut *data.cast::<Export<F>>() };
    let Some(future) = this.future.as_mut() else {
        return panicked("future polled after completion");
    };
    // SAFETY: the future stays in its Box until it is dropped there.
    let future = unsafe { Pin::new_unchecked(future) };
    // SAFETY: C lends the context and its waker for this call.
    let raw = unsafe { *(*cx).waker };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let f = |waker: &_| future.poll(&mut Context::from_waker(waker));
        // SAFETY: as above.
        unsafe { with_lent(&raw, &mut this.kept, f) }
    }));
    match polled {
        Ok(Poll::Pending) => PENDING,
        Ok(Poll::Ready(value)) => {
            let to = match NonNull::new(out.cast::<F::Output>()) {
                Some(to) => to,
                None if size_of::<F::Output>() == 0 => NonNull::dangling(),
                None => {
                    end(&mut this.future);
                    discard(value);
                    return panicked("poll: out is NULL (give poll memory for the result)");
                }
            };
            // SAFETY: C's memory for the agreed type. From here on C owns the value, also if its
            // size is zero.
            unsafe { to.write(value) };
            end(&mut this.future);
            READY
        }
        Err(payload) => {
            let text = text_of(&*payload);
            end(&mut this.future);
            discard(payload);
            panicked(&text)
        }
    }
}

unsafe extern "C" fn drop_slot<F: Future>(data: *mut c_void) {
    // SAFETY: the Box of into_raw, which C gives back here, once.
    let mut this = unsafe { Box::from_raw(data.cast::<Export<F>>()) };
    end(&mut this.future);
}

/// Drops the future in place.
fn end<F>(future: &mut Option<F>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| *future = None)) {
        eprintln!("rawwaker: drop: panic in a Rust future's drop: {}", text_of(&*payload));
        std::process::abort();
    }
}

/// Drops a value that no caller takes. If its drop panics, drops that panic's payload too. If that
/// drop panics as well, leaks the second payload, since its drop might panic again without end.
fn discard<T>(value: T) {
    let quietly = |drops: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(drops)).err();
    let mut value = Some(value);
    let mut again = quietly(&mut || drop(value.take()));
    if let Some(last) = quietly(&mut || drop(again.take())) {
        forget(last);
    }
}

fn panicked(text: &str) -> u8 {
    // SAFETY: C copies the bytes.
    unsafe { sys::rawwaker_set_panic(text.as_ptr().cast(), text.len()) };
    PANICKED
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

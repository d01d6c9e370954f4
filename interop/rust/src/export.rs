//! A Rust future in C or Go.

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

/// What C's `data` points to. The future is pinned: it never leaves its allocation, and is dropped in it.
struct Export<F> {
    future: Option<F>, // None: over
    kept: Weak<Pair>,
}

/// Hands a Rust future to C or Go, which polls it on any thread, and must drop it exactly once; early, that cancels it.
///
/// poll writes an `F::Output` to its `out`: use a type whose layout C knows (a primitive, `#[repr(C)]`). A panic becomes
/// `RAWWAKER_PANICKED` with its text, and so does a poll after completion, and one that is ready with NULL for `out` and a result of
/// more than no bytes, which is dropped then. A result of no bytes is given away as any other: if it has a `Drop`, the caller must run
/// it, as [`Foreign`](crate::Foreign) does. A panic in the future's own drop aborts, for C has
/// nowhere to report it to. Costs one allocation.
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

unsafe extern "C" fn poll<F: Future>(data: *mut c_void, cx: *mut RawContext, out: *mut c_void) -> u8 {
    // SAFETY: data is an Export<F> that C has not dropped, and C calls one slot at a time.
    let this = unsafe { &mut *data.cast::<Export<F>>() };
    let Some(future) = this.future.as_mut() else {
        return panicked("future polled after completion");
    };
    // SAFETY: the future is in its Box until it is dropped there.
    let future = unsafe { Pin::new_unchecked(future) };
    // SAFETY: C lends the context and its waker for this call.
    let raw = unsafe { *(*cx).waker };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as above.
        unsafe { with_lent(&raw, &mut this.kept, |waker| future.poll(&mut Context::from_waker(waker))) }
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
                    return panicked("NULL for the memory of a result");
                }
            };
            // SAFETY: C's memory for the type agreed on; the value is C's from here on, also one of no bytes.
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
    // SAFETY: into_raw's Box, which C gives back here, once.
    let mut this = unsafe { Box::from_raw(data.cast::<Export<F>>()) };
    end(&mut this.future);
}

/// Drops the future where it is.
fn end<F>(future: &mut Option<F>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| *future = None)) {
        eprintln!("rawwaker: drop: panic in a Rust future's drop: {}", text_of(&*payload));
        std::process::abort();
    }
}

/// Drops what nobody waits for, and what a panic in that is made of. What panics a third time is left: there may be no end of it.
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

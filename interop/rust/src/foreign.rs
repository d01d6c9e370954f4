//! A future of C or Go in Rust.

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

/// A future of C or Go, to be awaited as any other: `foreign.await`.
///
/// It owns the C future, whose drop slot is called exactly once: when a poll has ended it, or when this is dropped, which
/// cancels. It panics, with the text, where the C future has panicked; where poll gave a code that is none; and where it is
/// polled again after that or after it was ready.
pub struct Foreign<T> {
    raw: RawFuture,
    over: bool,
    /// The Rust waker as C knows it: the same one for as long as C keeps it and `will_wake` holds. Weak: whoever awaits this is often
    /// a task that its wakers keep alive, and a waker of it in here, when C keeps none, would be a cycle.
    adapter: Weak<Adapter>,
    value: PhantomData<fn() -> T>,
}

impl<T> Unpin for Foreign<T> {}

impl<T> std::fmt::Debug for Foreign<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foreign").field("raw", &self.raw).field("over", &self.over).finish()
    }
}

impl<T> Foreign<T> {
    /// Takes a C future over.
    ///
    /// # Safety
    /// `raw` is a future as `rawwaker.h` says, and nobody else's. What its poll writes before it gives `RAWWAKER_READY` is a
    /// valid `T`, which may be sent to the thread that polls; the memory that it gets for that is zeroed. Nothing checks that both
    /// sides mean the same type: a future that writes more than `size_of::<T>()` bytes overruns the stack. A `T` of size zero
    /// is made here when the future is ready, and means what it means in Rust: [`into_raw`](crate::into_raw) gives it away.
    pub unsafe fn from_raw(raw: RawFuture) -> Foreign<T> {
        Foreign { raw, over: false, adapter: Weak::new(), value: PhantomData }
    }

    /// Gives the C future back as it is.
    ///
    /// # Panics
    /// If it is over.
    pub fn into_raw(self) -> RawFuture {
        assert!(!self.over, "Foreign::into_raw of a future that is over");
        let mut this = ManuallyDrop::new(self);
        this.adapter = Weak::new();
        this.raw
    }

    fn end(&mut self) {
        self.over = true;
        // SAFETY: once, because over was false; no poll is under way.
        unsafe { ((*self.raw.vtable).drop)(self.raw.data) }
        self.adapter = Weak::new();
    }
}

impl<T> Future for Foreign<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        assert!(!this.over, "future polled after completion");
        let lent; // ends with the poll
        let waker = match raw_ref(cx.waker()) {
            Some(raw) => raw,
            None => {
                lent = this.adapter.upgrade().filter(|a| a.waker.will_wake(cx.waker())).unwrap_or_else(|| {
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
        // SAFETY: raw is ours and not over; the waker is lent for the call; out is memory for a T.
        let code = unsafe { ((*this.raw.vtable).poll)(this.raw.data, &mut cx, to) };
        match code {
            PENDING => Poll::Pending,
            READY => {
                this.end();
                // SAFETY: from_raw's caller has promised that poll wrote a T.
                Poll::Ready(unsafe { out.assume_init() })
            }
            PANICKED => {
                // SAFETY: never NULL; this thread's until its next poll, so it is copied before the drop slot runs.
                let text = unsafe { CStr::from_ptr(sys::rawwaker_last_panic()) }.to_string_lossy().into_owned();
                this.end();
                panic!("{text}")
            }
            code => {
                this.end();
                panic!("slot poll gave {code}, which is no code")
            }
        }
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        if !self.over {
            self.end();
        }
    }
}

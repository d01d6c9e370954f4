//! Streams in both directions.

use std::marker::PhantomData;
use std::mem::{size_of, ManuallyDrop, MaybeUninit};
use std::pin::Pin;
use std::ptr::{null, null_mut};
use std::sync::Weak;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

use crate::export::{drop_slot, poll, Anywhere, Export, Source};
use crate::foreign::call;
use crate::panics::ForeignPanic;
use crate::sys::{RawStream, RawStreamVTable, DONE, PANICKED, PENDING, READY};
use crate::waker::Adapter;

// ----------------------------------------------------------------------------- a C stream in Rust

/// A stream of C or Go, which Rust reads like any other [`Stream`].
///
/// It owns the C stream and calls its drop slot exactly once: in the poll that ends the stream, or
/// when this is dropped. Dropping it early cancels the C stream.
///
/// Any thread may poll or drop it, one at a time.
///
/// It is fused: after the last item, and after a panic, each poll returns `Ready(None)` and calls
/// nothing in C.
///
/// # Panics
///
/// A poll panics, once, if the C stream returned [`PANICKED`], with the text or payload that
/// [`Foreign`](crate::Foreign) panics with, or if its poll slot returned an unknown code.
/// [`outcomes`](ForeignStream::outcomes) gives an error instead.
///
/// # Example
///
/// Reads a stream that C implements; here Rust exported it:
///
#[cfg_attr(feature = "bundled", doc = "```")]
#[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
/// use ffiwaker::{stream_into_raw, ForeignStream};
/// use futures::executor::block_on_stream;
///
/// let raw = stream_into_raw(futures::stream::iter([1u64, 2, 3]));
/// // SAFETY: raw is a stream of u64, and this call consumes it.
/// let stream = unsafe { ForeignStream::<u64>::from_raw(raw) };
/// assert_eq!(block_on_stream(stream).collect::<Vec<_>>(), [1, 2, 3]);
/// ```
#[must_use = "streams do nothing unless polled"]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
pub struct ForeignStream<T> {
    raw: RawStream,
    ended: bool,
    /// As in `Foreign`.
    adapter: Weak<Adapter>,
    value: PhantomData<fn() -> T>,
}

impl<T> Unpin for ForeignStream<T> {}

impl<T> std::fmt::Debug for ForeignStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForeignStream").field("raw", &self.raw).field("ended", &self.ended).finish()
    }
}

impl<T> ForeignStream<T> {
    /// Takes a C stream over.
    ///
    /// # Safety
    ///
    /// - `raw` keeps the contract of `rawwaker.h`, and no other code uses it from now on.
    /// - Each time before its poll slot returns [`READY`], it writes a valid `T` to the memory that
    ///   it is given. That memory is zeroed first. Nothing checks that both sides mean the same
    ///   type: a stream that writes more than `size_of::<T>()` bytes overruns the stack.
    /// - The `T` may be sent to the thread that polls.
    ///
    /// If `T` has size zero, the C stream writes nothing, and this makes a `T` for each item. So it
    /// must be a `T` that the other side gave away, as [`stream_into_raw`] does.
    pub unsafe fn from_raw(raw: RawStream) -> ForeignStream<T> {
        ForeignStream { raw, ended: false, adapter: Weak::new(), value: PhantomData }
    }

    /// Takes over the C stream that `write` writes through its pointer, as many C functions return
    /// one.
    ///
    /// # Safety
    ///
    /// `write` writes a stream to its argument, which is memory for a [`RawStream`], or leaves it
    /// unchanged. For the stream holds what [`from_raw`](ForeignStream::from_raw) demands.
    ///
    /// # Panics
    ///
    /// If `write` writes nothing, or a NULL vtable; and if `write` panics. A stream that it has
    /// written before it panics is not dropped.
    pub unsafe fn from_fn(write: impl FnOnce(*mut RawStream)) -> ForeignStream<T> {
        let mut raw = RawStream { data: null_mut(), vtable: null() };
        write(&mut raw);
        assert!(!raw.vtable.is_null(), "ffiwaker: ForeignStream::from_fn: no stream was written");
        // SAFETY: the caller promised it.
        unsafe { ForeignStream::from_raw(raw) }
    }

    /// Gives the C stream back unchanged. The caller owns it again, and must drop it exactly once.
    ///
    /// # Panics
    ///
    /// If the stream has ended.
    pub fn into_raw(self) -> RawStream {
        assert!(!self.ended, "ffiwaker: ForeignStream::into_raw: the stream has ended");
        let mut this = ManuallyDrop::new(self);
        this.adapter = Weak::new();
        this.raw
    }

    /// The same stream with a panic of the other side as an `Err`, its last item.
    ///
    /// Takes the stream over. Its poll does not panic.
    pub fn outcomes(self) -> impl FusedStream<Item = Result<T, ForeignPanic>> + Send + Unpin {
        Outcomes(self)
    }

    fn poll_outcome(&mut self, cx: &Context<'_>) -> Poll<Option<Result<T, ForeignPanic>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut out = MaybeUninit::<T>::zeroed();
        let to = if size_of::<T>() == 0 { null_mut() } else { out.as_mut_ptr().cast() };
        let raw = self.raw;
        // SAFETY: this owns raw, which has not ended; the context is lent for the call; out is
        // memory for a T.
        let poll = |cx: &mut _| unsafe { ((*raw.vtable).poll_next)(raw.data, cx, to) };
        let (code, slot) = call(&mut self.adapter, cx, poll);
        if code == PANICKED {
            let panic = ForeignPanic::new(slot);
            self.end();
            return Poll::Ready(Some(Err(panic)));
        }
        slot.discard();
        match code {
            PENDING => Poll::Pending,
            // SAFETY: the caller of from_raw promised that poll_next wrote a T.
            READY => Poll::Ready(Some(Ok(unsafe { out.assume_init() }))),
            DONE => {
                self.end();
                Poll::Ready(None)
            }
            code => {
                self.end();
                Poll::Ready(Some(Err(ForeignPanic::of_code("poll_next", code))))
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        // SAFETY: once, because ended was false; no poll is in progress.
        unsafe { ((*self.raw.vtable).drop)(self.raw.data) }
        self.adapter = Weak::new();
    }
}

impl<T> Stream for ForeignStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_outcome(cx).map(|item| item.map(|item| item.unwrap_or_else(|p| p.resume())))
    }
}

impl<T> FusedStream for ForeignStream<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<T> Drop for ForeignStream<T> {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}

struct Outcomes<T>(ForeignStream<T>);

impl<T> Stream for Outcomes<T> {
    type Item = Result<T, ForeignPanic>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_outcome(cx)
    }
}

impl<T> FusedStream for Outcomes<T> {
    fn is_terminated(&self) -> bool {
        self.0.ended
    }
}

// ----------------------------------------------------------------------------- a Rust stream in C

/// A stream as a source. Its field is pinned if it is.
struct Many<S>(S);

impl<S: Stream> Source for Many<S> {
    type Item = S::Item;
    const KIND: &'static str = "stream";
    const POLL: &'static str = "poll_next";
    const ONE_ITEM: bool = false;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        // SAFETY: the field is pinned with self: it is never moved out, and Many has no Drop.
        unsafe { self.map_unchecked_mut(|many| &mut many.0) }.poll_next(cx)
    }
}

/// Turns a Rust stream into a stream of C or Go.
///
/// Takes the stream over. The caller owns the result, polls it until it returns [`DONE`] or
/// [`PANICKED`], and must call its drop slot exactly once, also after that. A call before that
/// cancels the stream. It costs one allocation.
///
/// The Rust stream is dropped once: in the poll in which it ends or panics, or by the drop slot. It
/// need not be fused: this repeats [`DONE`] itself, and returns it also after [`PANICKED`].
///
/// # Items
///
/// A poll that returns [`READY`] has moved an `S::Item` to `out`, which must be memory of that size
/// and alignment. What [`into_raw`](crate::into_raw) says of a future's result holds for each item.
///
/// # Threads
///
/// Each poll and the drop may come from another thread, but no two at the same time.
///
/// # Panics
///
/// A poll returns [`PANICKED`], and `rawwaker_last_panic` the text:
///
/// - if the stream panics, with its text, or `Box<dyn Any>` if the payload is not a string;
/// - if there is an item, but `out` is NULL and the type does not have size zero. The item is
///   dropped.
///
/// If the stream's own drop panics, the process aborts with one line, because C has no way to
/// receive that panic.
///
/// # Example
///
/// What C does with such a stream:
///
#[cfg_attr(feature = "bundled", doc = "```")]
#[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
/// use ffiwaker::{stream_into_raw, waker_into_raw, RawContext, DONE, READY};
/// use std::task::Waker;
///
/// let stream = stream_into_raw(futures::stream::iter([42u64]));
/// let noop = waker_into_raw(Waker::noop().clone());
/// let mut cx = RawContext { waker: &noop };
/// let mut out = 0u64;
/// // SAFETY: out is memory for a u64, and the stream is dropped once.
/// unsafe {
///     let mut next = || ((*stream.vtable).poll_next)(stream.data, &mut cx, (&raw mut out).cast());
///     assert_eq!((next(), next(), next()), (READY, DONE, DONE));
///     ((*stream.vtable).drop)(stream.data);
/// }
/// assert_eq!(out, 42);
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
pub fn stream_into_raw<S>(stream: S) -> RawStream
where
    S: Stream + Send + 'static,
    S::Item: Send,
{
    RawStream {
        data: Export::leak(Many(stream), Anywhere),
        vtable: &Export::<Many<S>, Anywhere>::STREAM,
    }
}

impl<S: Stream> Export<Many<S>, Anywhere> {
    const STREAM: RawStreamVTable = RawStreamVTable {
        poll_next: poll::<Many<S>, Anywhere>,
        drop: drop_slot::<Many<S>, Anywhere>,
    };
}

//! Rust futures and streams in C and Go.

use std::cell::Cell;
use std::ffi::c_void;
use std::future::Future;
use std::mem::size_of;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Weak;
use std::task::{Context, Poll};

use crate::panics::{die, discard, panicked, raise, text_of};
use crate::sys::{RawContext, RawFuture, RawFutureVTable, DONE, PENDING, READY};
use crate::waker::{with_lent, Pair};

/// The allocation behind C's `data`. The source in it is pinned: it is dropped in place.
pub(crate) struct Export<S, H> {
    source: Option<S>, // None once it has completed
    kept: Weak<Pair>,
    home: H,
}

/// What is exported: a future or a stream.
pub(crate) trait Source {
    type Item;
    /// The name of its kind in a text.
    const KIND: &'static str;
    /// The name of its poll slot.
    const POLL: &'static str;
    /// Polls it. `None` is the end of a stream.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>>;
    /// Whether it has completed with its first item.
    const ONE_ITEM: bool;
}

/// Where the source of an export may be used.
pub(crate) trait Home {
    type Entered<'a>
    where
        Self: 'a;
    /// Called at the beginning of each slot. The error says why the source cannot be used here.
    fn enter(&self) -> Result<Self::Entered<'_>, String>;
}

/// A future as a source. Its field is pinned if it is.
struct One<F>(F);

impl<F: Future> Source for One<F> {
    type Item = F::Output;
    const KIND: &'static str = "future";
    const POLL: &'static str = "poll";
    const ONE_ITEM: bool = true;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        // SAFETY: the field is pinned with self: it is never moved out, and One has no Drop.
        unsafe { self.map_unchecked_mut(|one| &mut one.0) }.poll(cx).map(Some)
    }
}

/// Any thread.
pub(crate) struct Anywhere;

impl Home for Anywhere {
    type Entered<'a> = ();
    fn enter(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The thread that made the export, as a number that no other thread of the process ever has.
struct Thread(u64);

thread_local!(static THREAD: Cell<u64> = const { Cell::new(0) }); // no destructor: always usable

impl Thread {
    fn current() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        if THREAD.get() == 0 {
            THREAD.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        }
        THREAD.get()
    }
}

impl Home for Thread {
    type Entered<'a> = ();
    fn enter(&self) -> Result<(), String> {
        if self.0 == Thread::current() {
            return Ok(());
        }
        Err("a future of into_raw_local is on another thread (use it on the thread that made it)"
            .into())
    }
}

#[cfg(feature = "tokio")]
impl Home for tokio::runtime::Handle {
    type Entered<'a> = tokio::runtime::EnterGuard<'a>;
    fn enter(&self) -> Result<Self::Entered<'_>, String> {
        // It panics while the thread ends.
        catch_unwind(AssertUnwindSafe(|| self.enter())).map_err(|payload| {
            let text = text_of(&*payload).to_owned();
            discard(payload);
            text
        })
    }
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
/// - if the future panics, with its text, or `Box<dyn Any>` if the payload is not a string;
/// - if the future has completed before: `future polled after completion`;
/// - if the future is ready, but `out` is NULL and the type does not have size zero. The result is
///   dropped.
///
/// The payload of a panic is dropped in that poll, unless a [`Foreign`](crate::Foreign) of this
/// copy of the crate is awaiting the future on the same thread: it takes the payload.
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
///
/// [`PANICKED`]: crate::PANICKED
pub fn into_raw<F>(future: F) -> RawFuture
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    export(future, Anywhere)
}

/// As [`into_raw`], for a future that needs tokio: its sockets, timers or tasks.
///
/// The runtime of `handle` is entered during each poll **and** during the drop, on whatever thread
/// they run. The caller owns the result as it owns that of [`into_raw`], and the same holds for the
/// result type, threads and panics.
///
/// It keeps a clone of the handle, but not the runtime running. While the runtime shuts down, and
/// after that, a poll that needs its timers or sockets returns [`PANICKED`] with tokio's text; the
/// drop works. A thread that is ending and has destroyed its thread-local variables cannot enter a
/// runtime: a poll returns [`PANICKED`] there, and a drop aborts with one line.
///
/// # Example
///
#[cfg_attr(feature = "bundled", doc = "```")]
#[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
/// use std::time::Duration;
///
/// use ffiwaker::{into_raw_on, Foreign};
///
/// let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
/// let raw = into_raw_on(tokio.handle(), async {
///     tokio::time::sleep(Duration::from_millis(1)).await;
///     42u64
/// });
/// // No runtime is entered here. C or Go would await it in the same way.
/// // SAFETY: raw is a future of a u64, and this call consumes it.
/// let foreign = unsafe { Foreign::<u64>::from_raw(raw) };
/// assert_eq!(futures::executor::block_on(foreign), 42);
/// ```
///
/// [`PANICKED`]: crate::PANICKED
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub fn into_raw_on<F>(handle: &tokio::runtime::Handle, future: F) -> RawFuture
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    export(future, handle.clone())
}

/// As [`into_raw`], for a future that is not [`Send`].
///
/// The future stays on the thread that called this. Each poll and the drop must come from that
/// thread. The caller owns the result as it owns that of [`into_raw`].
///
/// # Threads
///
/// - A poll on another thread returns [`PANICKED`] with a text and does not touch the future.
/// - A drop on another thread aborts the process with one line, because the future can neither be
///   dropped there nor be left. If the future has completed, any thread may drop what is left.
///
/// So a [`Foreign`](crate::Foreign) that is polled on another thread aborts the process, because it
/// drops a future that returned [`PANICKED`]. If the thread ends first, no thread can use the
/// future any more. Its wakers may be used on any thread.
///
/// # Panics
///
/// As [`into_raw`].
///
/// # Example
///
#[cfg_attr(feature = "bundled", doc = "```")]
#[cfg_attr(not(feature = "bundled"), doc = "```no_run")]
/// use std::rc::Rc;
///
/// use ffiwaker::{into_raw_local, Foreign};
///
/// let shared = Rc::new(42u64);
/// let raw = into_raw_local(async move { *shared });
/// // SAFETY: raw is a future of a u64, and this call consumes it.
/// let foreign = unsafe { Foreign::<u64>::from_raw(raw) };
/// assert_eq!(futures::executor::block_on(foreign), 42);
/// ```
///
/// [`PANICKED`]: crate::PANICKED
pub fn into_raw_local<F>(future: F) -> RawFuture
where
    F: Future + 'static,
{
    export(future, Thread(Thread::current()))
}

fn export<F: Future + 'static, H: Home + 'static>(future: F, home: H) -> RawFuture {
    RawFuture { data: Export::leak(One(future), home), vtable: &Export::<One<F>, H>::FUTURE }
}

impl<F: Future, H: Home> Export<One<F>, H> {
    const FUTURE: RawFutureVTable =
        RawFutureVTable { poll: poll::<One<F>, H>, drop: drop_slot::<One<F>, H> };
}

impl<S, H> Export<S, H> {
    /// Moves it to the heap, for C's `data`. `drop_slot` frees it.
    pub(crate) fn leak(source: S, home: H) -> *mut c_void {
        Box::into_raw(Box::new(Export { source: Some(source), kept: Weak::new(), home })).cast()
    }
}

/// # Safety
///
/// That of a poll slot, with `data` of an `Export<S, H>`.
pub(crate) unsafe extern "C" fn poll<S: Source, H: Home>(
    data: *mut c_void,
    cx: *mut RawContext,
    out: *mut c_void,
) -> u8 {
    // SAFETY: data is an Export<S, H> that C has not dropped, and C calls one slot at a time. If
    // the source is not Send and this is another thread, nothing but home is used.
    let Export { source, kept, home } = unsafe { &mut *data.cast::<Export<S, H>>() };
    let _entered = match home.enter() {
        Ok(entered) => entered,
        Err(why) => return panicked(&format!("{}: {why}", S::POLL)),
    };
    let Some(pinned) = source.as_mut() else {
        return if S::ONE_ITEM { panicked("future polled after completion") } else { DONE };
    };
    // SAFETY: the source stays in its Box until it is dropped there.
    let pinned = unsafe { Pin::new_unchecked(pinned) };
    // SAFETY: C lends the context and its waker for this call.
    let raw = unsafe { *(*cx).waker };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let f = |waker: &_| pinned.poll(&mut Context::from_waker(waker));
        // SAFETY: as above.
        unsafe { with_lent(&raw, kept, f) }
    }));
    match polled {
        Ok(Poll::Pending) => PENDING,
        Ok(Poll::Ready(None)) => {
            end(source);
            DONE
        }
        Ok(Poll::Ready(Some(value))) => {
            let to = match NonNull::new(out.cast::<S::Item>()) {
                Some(to) => to,
                None if size_of::<S::Item>() == 0 => NonNull::dangling(),
                None => {
                    end(source);
                    discard(value);
                    let text = "out is NULL (give poll memory for the result)";
                    return panicked(&format!("{}: {text}", S::POLL));
                }
            };
            // SAFETY: C's memory for the agreed type. From here on C owns the value, also if its
            // size is zero.
            unsafe { to.write(value) };
            if S::ONE_ITEM {
                end(source);
            }
            READY
        }
        Err(payload) => {
            end(source);
            raise(payload)
        }
    }
}

/// # Safety
///
/// That of a drop slot, with `data` of an `Export<S, H>`.
pub(crate) unsafe extern "C" fn drop_slot<S: Source, H: Home>(data: *mut c_void) {
    // SAFETY: the Box of leak, which C gives back here, once.
    let mut this = unsafe { Box::from_raw(data.cast::<Export<S, H>>()) };
    if this.source.is_none() {
        return; // any thread may free what is left
    }
    match this.home.enter() {
        Ok(_entered) => end(&mut this.source),
        Err(why) => die(&format!("drop: {why}")),
    };
}

/// Drops the source in place.
fn end<S: Source>(source: &mut Option<S>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| *source = None)) {
        die(&format!("drop: panic in a Rust {}'s drop: {}", S::KIND, text_of(&*payload)));
    }
}

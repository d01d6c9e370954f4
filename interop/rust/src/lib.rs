//! Wakers, futures and streams of `rawwaker.h` in Rust, in both directions.
//!
//! | from | to | by |
//! |---|---|---|
//! | a waker of C or Go | [`std::task::Waker`] | [`waker_from_raw`] |
//! | [`std::task::Waker`] | a waker of C | [`waker_into_raw`] |
//! | a future of C or Go | [`std::future::Future`] | [`Foreign::from_raw`] |
//! | [`std::future::Future`] | a future of C or Go | [`into_raw`], [`Foreign::into_raw`] |
//! | a `Future` that is not [`Send`] | the same | [`into_raw_local`] |
//! | a `Future` that needs tokio | the same | [`into_raw_on`] |
//! | a stream of C or Go | [`futures_core::Stream`] | [`ForeignStream::from_raw`] |
//! | [`futures_core::Stream`] | a stream of C or Go | [`stream_into_raw`] |
//!
//! [`into_raw_on`] needs the feature `tokio`, and streams the feature `stream`.
//!
//! # Example
//!
//! A Rust future becomes the two words that C and Go take, and two such words become a Rust future:
//!
#![cfg_attr(feature = "bundled", doc = "```")]
#![cfg_attr(not(feature = "bundled"), doc = "```no_run")] // nothing to link it with
//! use std::future::Future;
//! use std::pin::pin;
//! use std::task::{Context, Poll, Waker};
//!
//! use ffiwaker::{into_raw, Foreign, RawFuture};
//!
//! let raw: RawFuture = into_raw(async { 41u64 });
//!
//! // SAFETY: raw is a future of a u64, no other code uses it, and this call consumes it.
//! let foreign = unsafe { Foreign::<u64>::from_raw(raw) };
//! let mut sum = pin!(async { foreign.await + 1 });
//! let mut cx = Context::from_waker(Waker::noop());
//! assert_eq!(sum.as_mut().poll(&mut cx), Poll::Ready(42));
//! ```
//!
//! # Cost
//!
//! No waker or future is wrapped twice: one that came from the other language goes back unchanged.
//! A waker that is a box of the C library (made by Go, `rawwaker_from_fn` or `rawwaker_block_on`)
//! becomes a `Waker` without an allocation. So do its clones, and `will_wake` holds between them.
//! A Rust waker that C sees costs one allocation per task, not one per clone.
//!
//! # Ownership
//!
//! [`RawWaker`], [`RawFuture`] and [`RawStream`] are plain structs of C, which own nothing in Rust:
//! what they refer to leaks if no code drops it. So the compiler warns if one is not used.
//!
//! # Panics
//!
//! No panic unwinds across the FFI boundary. A Rust future that panics returns `RAWWAKER_PANICKED`
//! to C, with the text of its panic, or `Box<dyn Any>` if the payload is not a string. A C or Go
//! future that panicked panics in Rust, with its text; [`Foreign::outcome`] gives an error instead.
//! If Rust awaits a Rust future through the C ABI, the payload itself arrives, and the message is
//! printed once.
//!
//! # Linking
//!
//! The crate calls seven functions of `rawwaker.c`. Exactly one copy of that file must be in the
//! program, because a waker is recognised by the address of its vtable, and each copy has its own:
//!
//! - With the feature `bundled`, the crate compiles its own copy, `vendor/rawwaker.c`. This needs a
//!   C compiler, and no Go.
//! - Without it, the program must link something that contains `rawwaker.c`: libffiwaker, a Go
//!   archive that imports ffiwaker, or the file itself. README.md shows how.
//!
//! In both cases, the build script of a package that depends on this one finds the folder of
//! `rawwaker.h` in `DEP_RAWWAKER_INCLUDE`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod export;
mod foreign;
mod panics;
#[cfg(feature = "stream")]
mod stream;
mod sys;
mod waker;

#[cfg(feature = "tokio")]
pub use export::into_raw_on;
pub use export::{into_raw, into_raw_local};
pub use foreign::Foreign;
pub use panics::ForeignPanic;
#[cfg(feature = "stream")]
pub use stream::{stream_into_raw, ForeignStream};
pub use sys::{
    RawContext, RawFuture, RawFutureVTable, RawStream, RawStreamVTable, RawWaker, RawWakerVTable,
    ABI_VERSION, DONE, PANICKED, PENDING, READY,
};
pub use waker::{waker_from_raw, waker_into_raw};

/// The code of README.md, compiled as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What leaks if it is dropped cannot be dropped by accident:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// ffiwaker::into_raw(async {});
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// ffiwaker::into_raw_local(async {});
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// ffiwaker::waker_into_raw(std::task::Waker::noop().clone());
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// ffiwaker::stream_into_raw(futures::stream::empty::<u64>());
/// ```
///
/// The same lines compile if the results are used:
///
/// ```no_run
/// #![deny(unused_must_use)]
/// let _future = ffiwaker::into_raw(async {});
/// let _local = ffiwaker::into_raw_local(async {});
/// let _waker = ffiwaker::waker_into_raw(std::task::Waker::noop().clone());
/// let _stream = ffiwaker::stream_into_raw(futures::stream::empty::<u64>());
/// ```
#[cfg(doctest)]
struct MustUse;

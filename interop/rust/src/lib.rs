//! Wakers and futures of `rawwaker.h` in Rust, in both directions.
//!
//! | from | to | by |
//! |---|---|---|
//! | a waker of C or Go | [`std::task::Waker`] | [`waker_from_raw`] |
//! | [`std::task::Waker`] | a waker of C | [`waker_into_raw`] |
//! | a future of C or Go | [`std::future::Future`] | [`Foreign::from_raw`] |
//! | [`std::future::Future`] | a future of C or Go | [`into_raw`], [`Foreign::into_raw`] |
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
//! # Panics
//!
//! No panic unwinds across the FFI boundary. A Rust future that panics returns `RAWWAKER_PANICKED`
//! to C, with the text of its panic. A C or Go future that panicked panics in Rust, with its text.
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

mod export;
mod foreign;
mod sys;
mod waker;

pub use export::into_raw;
pub use foreign::Foreign;
pub use sys::{
    RawContext, RawFuture, RawFutureVTable, RawWaker, RawWakerVTable, ABI_VERSION, PANICKED,
    PENDING, READY,
};
pub use waker::{waker_from_raw, waker_into_raw};

/// The code of README.md, compiled as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Wakers and futures of `rawwaker.h` in Rust, both ways.
//!
//! | from | to | by |
//! |---|---|---|
//! | a waker of C or Go | [`std::task::Waker`] | [`waker_from_raw`] |
//! | [`std::task::Waker`] | a waker of C | [`waker_into_raw`] |
//! | a future of C or Go | [`std::future::Future`] | [`Foreign::from_raw`] |
//! | [`std::future::Future`] | a future of C or Go | [`into_raw`], [`Foreign::into_raw`] |
//!
//! Nothing is wrapped twice: what came from the other side goes back as it was. A waker that is a box of the C library
//! (made by Go, `rawwaker_from_fn` or `rawwaker_block_on`) becomes a `Waker` without an allocation, and so do its clones,
//! for which `will_wake` holds; a Rust waker that C sees costs one allocation for each task, not one for each clone.
//!
//! No panic crosses: a Rust future that panics gives `RAWWAKER_PANICKED` with its text, and a C or Go future that panicked
//! panics here with its text.
//!
//! The functions of `rawwaker.c` come from libffiwaker, which a program with Go in it links anyway, or from the feature
//! `bundled`. Never from both: identity is the address of a vtable.

mod export;
mod foreign;
mod sys;
mod waker;

pub use export::into_raw;
pub use foreign::Foreign;
pub use sys::{
    RawContext, RawFuture, RawFutureVTable, RawWaker, RawWakerVTable, ABI_VERSION, PANICKED, PENDING, READY,
};
pub use waker::{waker_from_raw, waker_into_raw};

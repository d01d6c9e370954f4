//! Two copies of the crate in one process. The package `ffiwaker` is one; the modules below, which
//! are its sources, are the other. They exchange texts and never a payload.
#![cfg(not(miri))] // Miri calls no foreign function
#![allow(dead_code, missing_docs, unused_imports)]

#[path = "../src/export.rs"]
mod export;
#[path = "../src/foreign.rs"]
mod foreign;
#[path = "../src/panics.rs"]
mod panics;
#[path = "../src/sys.rs"]
mod sys;
#[path = "../src/waker.rs"]
mod waker;

// What the documentation of the modules refers to.
use export::into_raw;
use foreign::Foreign;
use panics::ForeignPanic;
use sys::*;
use waker::{waker_from_raw, waker_into_raw};

use std::any::Any;
use std::panic::{catch_unwind, panic_any, AssertUnwindSafe};

use cfixture as _;
use futures::executor::block_on;

fn theirs(raw: ffiwaker::RawFuture) -> ffiwaker::Foreign<u64> {
    // SAFETY: each caller gives a future of a u64 away.
    unsafe { ffiwaker::Foreign::from_raw(raw) }
}

fn ours(raw: ffiwaker::RawFuture) -> Foreign<u64> {
    let raw = RawFuture { data: raw.data, vtable: raw.vtable.cast() };
    // SAFETY: as above; both copies declare the same struct of C.
    unsafe { Foreign::from_raw(raw) }
}

fn by_ours(f: impl std::future::Future<Output = u64> + Send + 'static) -> ffiwaker::RawFuture {
    let raw = into_raw(f);
    ffiwaker::RawFuture { data: raw.data, vtable: raw.vtable.cast() }
}

fn caught(f: impl std::future::Future<Output = u64>) -> Box<dyn Any + Send> {
    catch_unwind(AssertUnwindSafe(|| block_on(f))).expect_err("it must panic")
}

#[test]
fn copies_exchange_the_text_of_a_payload() {
    let payload = caught(ours(ffiwaker::into_raw(async { panic_any(42u32) as u64 })));
    assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("Box<dyn Any>"));
    let payload = caught(theirs(by_ours(async { panic_any(42u32) as u64 })));
    assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("Box<dyn Any>"));
}

#[test]
fn copies_pass_a_payload_on_to_the_copy_that_it_came_from() {
    let inner = ours(ffiwaker::into_raw(async { panic_any(42u32) as u64 }));
    let payload = caught(theirs(by_ours(inner)));
    assert_eq!(payload.downcast_ref::<u32>(), Some(&42));
}

#[test]
fn copies_exchange_results() {
    assert_eq!(block_on(ours(ffiwaker::into_raw(async { 42 }))), 42);
    assert_eq!(block_on(theirs(by_ours(async { 42 }))), 42);
}

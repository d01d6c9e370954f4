//! Futures of Go for the tests: see `go/main.go`. `W` is any two words.
#![allow(clippy::missing_safety_doc, missing_docs)]

use std::ffi::c_void;

extern "C" {
    pub fn goSleep(ms: u64, out: *mut c_void);
    pub fn goAsync(v: u64, out: *mut c_void);
    pub fn goGoroutine(v: u64, out: *mut c_void);
    pub fn goPanics(out: *mut c_void);
    pub fn goNever(out: *mut c_void);
    pub fn goAwaitCancelled(n: u64) -> u64;
    pub fn goBlockOn(data: usize, vtable: usize, out: *mut u64, text: *mut u8, len: usize) -> u8;
    pub fn goThrough(data: usize, vtable: usize, out: *mut c_void);
    pub fn goAgain(data: usize, vtable: usize, out: *mut c_void);
    pub fn goWaker(out: *mut c_void);
    pub fn goRepoll(data: usize, vtable: usize, polls: u64);
    pub fn rawwaker_live() -> usize;
    fn rawwaker_last_panic() -> *const std::ffi::c_char;
}

/// This thread's, copied.
pub fn last_panic() -> String {
    // SAFETY: never NULL, and this thread's until its next poll.
    unsafe { std::ffi::CStr::from_ptr(rawwaker_last_panic()) }.to_string_lossy().into_owned()
}

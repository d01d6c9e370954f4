//! Go's half of the tests: the functions that `go/main.go` exports, and two of `rawwaker.c`, which
//! is in the same archive. `out` is memory for the two words of a future or waker.
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
    pub fn goStream(data: usize, vtable: usize, out: *mut c_void);
    pub fn goAgain(data: usize, vtable: usize, out: *mut c_void);
    pub fn goWaker(out: *mut c_void);
    pub fn goRepoll(data: usize, vtable: usize, polls: u64);
    pub fn rawwaker_live() -> usize;
    fn rawwaker_last_panic() -> *const std::ffi::c_char;
}

/// A copy of the calling thread's last panic text.
pub fn last_panic() -> String {
    // SAFETY: never NULL, and valid until this thread's next poll.
    unsafe { std::ffi::CStr::from_ptr(rawwaker_last_panic()) }.to_string_lossy().into_owned()
}

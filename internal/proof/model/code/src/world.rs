//! What the scenarios use: threads, flags, plain payloads, and futures from closures.

use std::ffi::c_void;

use loom::thread::JoinHandle;

use crate::api::*;
use crate::shim::{self, Access, What, AT_FLAG, AT_PAYLOAD};

pub use crate::shim::go;

pub type Ptr = *mut c_void;
pub const NULL: Ptr = std::ptr::null_mut();

pub fn join(all: impl IntoIterator<Item = JoinHandle<()>>) {
    for t in all {
        t.join().unwrap();
    }
}

/// Memory that the scenario owns. It is freed when the scenario ends.
pub struct Memory(usize);

impl Memory {
    pub fn new(size: usize) -> Memory {
        let p = shim::alloc(AT_FLAG, size) as usize;
        shim::plain(AT_PAYLOAD, p, size, true);
        // SAFETY: it was just allocated.
        unsafe { std::ptr::write_bytes(p as *mut u8, 0, size) };
        shim::flush();
        Memory(p)
    }
    pub fn at(&self) -> Ptr {
        self.0 as Ptr
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        shim::release(AT_FLAG, self.at());
    }
}

/// A plain variable: two accesses that nothing orders are a race.
#[derive(Clone, Copy)]
pub struct Payload(usize);

impl Payload {
    pub fn of(m: &Memory) -> Payload {
        Payload(m.0)
    }
    pub fn at(p: Ptr) -> Payload {
        Payload(p as usize)
    }
    pub fn add(&self, n: u64) {
        self.set(self.get() + n);
    }
    pub fn get(&self) -> u64 {
        shim::plain(AT_PAYLOAD, self.0, 8, false);
        // SAFETY: it is in a Memory.
        unsafe { *(self.0 as *const u64) }
    }
    pub fn set(&self, v: u64) {
        shim::plain(AT_PAYLOAD, self.0, 8, true);
        // SAFETY: as above.
        unsafe { *(self.0 as *mut u64) = v };
        shim::flush();
    }
}

/// Relaxed flags, set before a wake: only what the wake orders makes them visible.
#[derive(Clone, Copy)]
pub struct Flags(usize, usize);

impl Flags {
    pub fn of(m: &Memory, n: usize) -> Flags {
        Flags(m.0, n)
    }
    fn step(&self, i: usize, what: What, operand: u64, order: i32) -> u64 {
        shim::atomic(&Access {
            at: AT_FLAG,
            what,
            address: self.0 + 8 * i,
            size: 8,
            order,
            failed: 0,
            operand,
            expected: 0,
        })
    }
    pub fn set(&self, i: usize) {
        self.step(i, What::Store, 1, 0);
    }
    pub fn is_set(&self, i: usize) -> bool {
        self.step(i, What::Load, 0, 0) != 0
    }
    pub fn all_set(&self) -> bool {
        (0..self.1).all(|i| self.is_set(i))
    }
    /// With another order than relaxed.
    pub fn set_ordered(&self, i: usize, order: i32) {
        self.step(i, What::Store, 1, order);
    }
    pub fn is_set_ordered(&self, i: usize, order: i32) -> bool {
        self.step(i, What::Load, 0, order) != 0
    }
}

/// A waker, which threads may use.
#[derive(Clone, Copy)]
pub struct W(pub Waker);

impl W {
    pub fn clone_ref(&self) -> W {
        W(rawwaker_clone(&self.0))
    }
    pub fn wake(self) {
        rawwaker_wake(self.0)
    }
    pub fn wake_by_ref(&self) {
        rawwaker_wake_by_ref(&self.0)
    }
    pub fn drop_ref(self) {
        rawwaker_drop(self.0)
    }
}

extern "C" fn poll<F: FnMut(W) -> bool>(data: Ptr, cx: *mut Context, _: Ptr) -> u8 {
    // SAFETY: data is the closure of with_future, and cx is valid during the poll.
    let (f, w) = unsafe { (&mut *(data as *mut F), *(*cx).waker) };
    if f(W(w)) {
        READY
    } else {
        PENDING
    }
}
extern "C" fn no_drop(_: Ptr) {}

/// Calls use_it with a future that is ready when f returns true.
pub fn with_future<F: FnMut(W) -> bool, R>(mut f: F, use_it: impl FnOnce(Future) -> R) -> R {
    let vtable = FutureVtable { poll: poll::<F>, drop: no_drop };
    use_it(Future { data: (&mut f) as *mut F as Ptr, vtable: &vtable })
}

/// Returns the number of polls.
pub fn block_on(mut f: impl FnMut(W) -> bool) -> usize {
    let mut polls = 0;
    with_future(
        |w| {
            polls += 1;
            f(w)
        },
        |f| assert!(rawwaker_block_on(f, NULL) == READY, "property: ready"),
    );
    polls
}

/// Polls a future or stream of C once.
pub fn poll_once(f: Future, w: W, out: Ptr) -> u8 {
    let mut cx = Context { waker: &w.0 };
    // SAFETY: the future is valid until it is dropped.
    unsafe { ((*f.vtable).poll)(f.data, &mut cx, out) }
}
pub fn drop_future(f: Future) {
    // SAFETY: as above.
    unsafe { ((*f.vtable).drop)(f.data) }
}

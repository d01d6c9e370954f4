//! Rust wakers that each break one rule. Their tasks are never freed, so no fault touches freed
//! memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::Mutex;
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::thread::ThreadId;

use crate::sys::{Call, Shows, Task, TestWaker};
use crate::wakers::Way;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    Nothing,
    LeaksAClone,
    CountsNoClone,
    WakeReleasesNothing,
    WakeByRefReleases,
    DropReleasesNothing,
    DropWakes,
    ForgetsAWakeInsideThePoll,
    WakesAfterTheEnd,
    DropTakesTheLockOfWake,
    CloneWaitsForThePoll,
    CountsWithoutAtomics,
    KnowsOneThread,
}
use Fault::*;

struct Faulty {
    fault: Fault,
    references: AtomicUsize,
    woken: AtomicBool,
    wakes: AtomicUsize,
    completed: AtomicBool,
    hook: Mutex<Option<Call>>,
    polling: Mutex<()>,
    waking: Mutex<()>,
    maker: ThreadId,
}

impl Faulty {
    fn count(&self, n: isize) {
        if self.fault == CountsWithoutAtomics {
            let old = self.references.load(Relaxed);
            std::thread::yield_now();
            self.references.store(old.wrapping_add_signed(n), Relaxed);
        } else if n < 0 {
            self.references.fetch_sub(n.unsigned_abs(), SeqCst);
        } else {
            self.references.fetch_add(n.unsigned_abs(), SeqCst);
        }
    }
    fn notify(&self) {
        let ended = self.completed.load(SeqCst) && self.fault != WakesAfterTheEnd;
        if ended || (self.fault == KnowsOneThread && std::thread::current().id() != self.maker) {
            return;
        }
        let lock = (self.fault == DropTakesTheLockOfWake).then(|| self.waking.lock().unwrap());
        let hook = *self.hook.lock().unwrap();
        if let Some(f) = hook {
            f.call();
        }
        drop(lock);
        if !self.woken.swap(true, AcqRel) {
            self.wakes.fetch_add(1, SeqCst);
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_slot);

unsafe fn of(data: *const ()) -> &'static Faulty {
    // SAFETY: data is a Faulty, and no Faulty is freed.
    unsafe { &*data.cast() }
}
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: VTABLE is used only with a Faulty as its data, here and below.
    let f = unsafe { of(data) };
    let waits = (f.fault == CloneWaitsForThePoll).then(|| f.polling.lock().unwrap());
    f.count(match f.fault {
        LeaksAClone => 2,
        CountsNoClone => 0,
        _ => 1,
    });
    drop(waits);
    RawWaker::new(data, &VTABLE)
}
unsafe fn wake(data: *const ()) {
    // SAFETY: as above.
    let f = unsafe { of(data) };
    f.notify();
    f.count(if f.fault == WakeReleasesNothing { 0 } else { -1 });
}
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: as above.
    let f = unsafe { of(data) };
    f.notify();
    f.count(if f.fault == WakeByRefReleases { -1 } else { 0 });
}
unsafe fn drop_slot(data: *const ()) {
    // SAFETY: as above.
    let f = unsafe { of(data) };
    match f.fault {
        DropWakes => f.notify(),
        DropTakesTheLockOfWake => drop(f.waking.lock().unwrap()),
        _ => {}
    }
    f.count(if f.fault == DropReleasesNothing { 0 } else { -1 });
}

struct Held(&'static Faulty);

impl Task for Held {
    fn wakes(&self) -> usize {
        self.0.wakes.load(SeqCst)
    }
    fn live(&self) -> usize {
        self.0.references.load(SeqCst)
    }
    fn poll(&self, during: Option<Call>) {
        let polling = self.0.polling.lock().unwrap();
        // This fault takes the notification after the poll, not before.
        let forgets = self.0.fault == ForgetsAWakeInsideThePoll;
        self.0.woken.swap(forgets, AcqRel);
        if let Some(f) = during {
            f.call();
        }
        if forgets {
            self.0.woken.swap(false, AcqRel);
        }
        drop(polling);
    }
    fn on_wake(&self, f: Option<Call>) {
        *self.0.hook.lock().unwrap() = f;
    }
    fn end(&self) {
        self.0.completed.store(true, SeqCst);
    }
}

pub fn faulty(fault: Fault) -> TestWaker {
    let f: &'static Faulty = Box::leak(Box::new(Faulty {
        fault,
        references: AtomicUsize::new(1),
        woken: AtomicBool::new(false),
        wakes: AtomicUsize::new(0),
        completed: AtomicBool::new(false),
        hook: Mutex::new(None),
        polling: Mutex::new(()),
        waking: Mutex::new(()),
        maker: std::thread::current().id(),
    }));
    let data: *const Faulty = f;
    // SAFETY: the vtable breaks Waker's contract on purpose, but is memory-safe.
    let waker = unsafe { Waker::from_raw(RawWaker::new(data.cast(), &VTABLE)) };
    let shows = Shows { live: true, poll: true, on_wake: true, end: true, exact: false };
    TestWaker::new(Way::Each.cross(waker), Held(f), shows)
}

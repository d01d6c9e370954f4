//! Go's words, under the names of internal/wake/core.go, parker.go, spin_cgo.go and inbox.go, of
//! rawwaker/atomic_waker.go and of executor/task.go. Go's atomics are sequentially consistent;
//! acq_rel is weaker, so it shows more, and it is enough for all of these.

use std::collections::VecDeque;

use loom::sync::Mutex;

use crate::orders::*;
use crate::raw::{RawBox, IDLE, LOOP, WOKEN};
use crate::world::*;

const EMPTY: usize = 0;
const NOTIFIED: usize = 1;
const PARKED: usize = 2;

/// wake.Core, without its target.
pub struct Core {
    word: Word,
}

impl Core {
    fn new() -> Core {
        Core { word: Word::new(EMPTY) }
    }
    fn notify(&self) -> bool {
        if broken(Twin::wake_only_reads) && self.word.load(ACQ_REL) == NOTIFIED {
            return false;
        }
        let was = self.word.exchange(NOTIFIED, ACQ_REL);
        was == PARKED || (broken(Twin::token_copied) && was == EMPTY)
    }
    fn sleep(&self) -> bool {
        if broken(Twin::parks_without_checking) {
            self.word.exchange(PARKED, ACQ_REL);
            return true;
        }
        self.word.compare_exchange(&mut { EMPTY }, PARKED, ACQ_REL)
    }
    fn clear(&self) {
        if self.word.load(ACQ_REL) != EMPTY {
            self.word.exchange(EMPTY, ACQ_REL);
        }
    }
}

/// wake.Parker.
pub struct Parker {
    core: Core,
    ch: Semaphore,
    done: Word,
}

impl Parker {
    pub fn new() -> &'static Parker {
        keep(Parker { core: Core::new(), ch: Semaphore::new(), done: Word::new(0) })
    }
    pub fn wake(&self) {
        if self.core.notify() {
            self.ch.post();
        }
    }
    /// Closes done, which Park was given.
    pub fn cancel(&self) {
        self.done.exchange(1, ACQ_REL);
        self.ch.post(); // a waiting select checks done
    }
    pub fn park(&self) -> bool {
        self.park_after(|| false)
    }
    pub fn is_notified(&self) -> bool {
        self.core.word.load(ACQ_REL) == NOTIFIED
    }
    fn park_after(&self, spin: impl FnOnce() -> bool) -> bool {
        let word = &self.core.word;
        if self.is_notified() || spin() {
            word.exchange(EMPTY, ACQ_REL);
            return true;
        }
        if !word.compare_exchange(&mut { EMPTY }, PARKED, ACQ_REL) {
            word.exchange(EMPTY, ACQ_REL);
            return true;
        }
        self.ch.wait();
        // The select: the token or done has come.
        if self.done.exchange(0, ACQ_REL) != 0 {
            if word.compare_exchange(&mut { PARKED }, EMPTY, ACQ_REL) {
                return false;
            }
            if !broken(Twin::cancel_leaves_the_token) {
                self.ch.wait();
            }
        }
        word.exchange(EMPTY, ACQ_REL);
        true
    }
    /// What is in the channel for the next park; must be 0.
    pub fn tokens_left(&self) -> usize {
        self.ch.count() - self.done.load(RELAXED)
    }
}

/// A Parker that has crossed to C: its box, and Parker.loop.
pub struct Spinner {
    pub p: &'static Parker,
    pub b: &'static RawBox,
    looping: bool,
}

impl Spinner {
    pub fn new(p: &'static Parker, b: &'static RawBox) -> Spinner {
        Spinner { p, b, looping: false }
    }
    pub fn park(&mut self) {
        let p = self.p;
        p.park_after(|| self.spin());
    }
    fn is_woken(&self) -> bool {
        self.looping && self.b.queued.load(ACQ_REL) == WOKEN
    }
    /// Checks once; spinTries times in Go.
    fn spin(&mut self) -> bool {
        if self.is_woken() {
            return self.looped(LOOP);
        }
        if !self.looping {
            self.enter_loop();
        }
        let woken = self.p.is_notified() || self.is_woken();
        if !self.looping {
            return woken;
        }
        if !woken {
            return !broken(Twin::spin_sleeps_in_loop) && self.looped(IDLE);
        }
        if self.is_woken() {
            self.looped(LOOP);
        }
        true
    }
    fn enter_loop(&mut self) {
        self.looping = if broken(Twin::spin_from_any) {
            self.b.queued.exchange(LOOP, ACQ_REL);
            true
        } else {
            self.b.queued.compare_exchange(&mut { IDLE }, LOOP, ACQ_REL)
        };
    }
    fn looped(&mut self, next: usize) -> bool {
        self.looping = next == LOOP;
        if broken(Twin::spin_leaves_by_a_store) && next == IDLE {
            self.b.queued.store_among_exchanges(IDLE, ACQ_REL);
            return false;
        }
        if broken(Twin::spin_takes_by_load_and_store) {
            let was = self.b.queued.load(ACQ_REL);
            self.b.queued.store_among_exchanges(next, ACQ_REL);
            return was == WOKEN;
        }
        self.b.queued.exchange(next, ACQ_REL) == WOKEN
    }
}

/// Inbox.Asleep, with the next number.
pub fn asleep(armed: &Word, next: usize, idle: impl FnOnce() -> bool) -> bool {
    loop {
        let mut sleep = armed.load(RELAXED); // the compare-and-swap detects an old number
        if sleep == 0 {
            return false;
        }
        if broken(Twin::asleep_keeps_the_number) {
            return idle();
        }
        if broken(Twin::asleep_sets_plainly) {
            armed.store_among_exchanges(next, RELAXED);
            return idle();
        }
        if armed.compare_exchange(&mut sleep, next, SEQ_CST) {
            return idle();
        }
    }
}

/// rawwaker.AtomicWaker, of a task's own waker: neither counted nor cloned.
struct AtomicWaker {
    waker: Word,
}

impl AtomicWaker {
    fn register(&self, p: &'static Parker) {
        self.waker.exchange(p as *const Parker as usize, ACQ_REL);
    }
    fn wake(&self) {
        let p = self.waker.exchange(0, ACQ_REL);
        if p != 0 {
            // SAFETY: only a Parker that keep() keeps is registered.
            unsafe { &*(p as *const Parker) }.wake();
        }
    }
}

const ABORTED: usize = 1;
const ENDING: usize = 4;
const DONE: usize = 8;
const JOINED: usize = 16;
const TAKEN: usize = 32;

/// task and JoinHandle.
pub struct Task {
    core: Core,
    state: Word,
    waker: AtomicWaker,
    /// The future: how often it was polled. Only the holder of the token touches it.
    future: Mem<usize>,
    alive: Life,
    value: Mem<usize>,
    err: Mem<bool>,
    queue: &'static Queue,
}

/// An executor's queue; None ends the worker that takes it.
pub struct Queue {
    all: Mutex<VecDeque<Option<&'static Task>>>,
    there: Semaphore,
}

impl Queue {
    pub fn new() -> &'static Queue {
        keep(Queue { all: Mutex::new(VecDeque::new()), there: Semaphore::new() })
    }
    fn push(&self, t: Option<&'static Task>) {
        self.all.lock().unwrap().push_back(t);
        self.there.post();
    }
    fn pop(&self) -> Option<&'static Task> {
        self.there.wait();
        self.all.lock().unwrap().pop_front().unwrap()
    }
    /// A worker: until the one task has ended.
    pub fn work(&'static self, ready: impl Fn() -> bool) {
        while let Some(t) = self.pop() {
            let (again, ended) = t.run(&ready);
            if again {
                self.push(Some(t));
            }
            if ended {
                return self.push(None); // to the other worker, if there is one
            }
        }
    }
}

impl Task {
    /// A task that has been spawned: its token is in the queue.
    pub fn spawn(queue: &'static Queue) -> &'static Task {
        let t: &'static Task = keep(Task {
            core: Core::new(),
            state: Word::new(0),
            waker: AtomicWaker { waker: Word::new(0) },
            future: Mem::new(0),
            alive: Life::new(),
            value: Mem::new(0),
            err: Mem::new(false),
            queue,
        });
        queue.push(Some(t));
        t
    }
    pub fn wake(&'static self) {
        if self.core.notify() {
            self.queue.push(Some(self));
        }
    }
    fn request_end(&self, why: usize) -> bool {
        let mut f = self.state.load(ACQ_REL);
        loop {
            if f & (ABORTED | ENDING | DONE) != 0 {
                return false;
            }
            let ending = f | why;
            if self.state.compare_exchange(&mut f, ending, ACQ_REL) {
                return true;
            }
            f = self.state.load(ACQ_REL);
        }
    }
    pub fn abort(&'static self) {
        if self.request_end(ABORTED) && !broken(Twin::abort_without_wake) {
            self.wake();
        }
    }
    fn end_requested(&self) -> bool {
        self.state.load(ACQ_REL) & ABORTED != 0
    }
    /// Returns whether to queue it again, and whether it has ended.
    fn run(&self, ready: impl Fn() -> bool) -> (bool, bool) {
        self.core.clear();
        if self.end_requested() {
            self.cancel();
            return (false, true);
        }
        self.alive.touch();
        self.future.set(self.future.get() + 1);
        if ready() {
            if broken(Twin::done_before_result) {
                self.complete(false);
                self.value.set(7);
            } else {
                self.value.set(7);
                self.complete(false);
            }
            return (false, true);
        }
        if self.end_requested() {
            self.cancel();
            return (false, true);
        }
        (!self.core.sleep(), false)
    }
    fn cancel(&self) {
        self.state.fetch_or(ENDING, ACQ_REL);
        self.complete(true);
    }
    fn complete(&self, err: bool) {
        self.alive.free(); // the future is dropped, or released
        self.err.set(err);
        if self.state.fetch_or(DONE, ACQ_REL) & JOINED != 0 {
            self.waker.wake();
        }
    }
    /// JoinHandle.join.
    pub fn join(&self, p: &'static Parker) -> bool {
        let checks_first = broken(Twin::join_checks_first);
        if self.state.load(ACQ_REL) & DONE == 0 {
            if checks_first {
                if self.state.fetch_or(JOINED, ACQ_REL) & DONE == 0 {
                    self.waker.register(p);
                    return false;
                }
            } else {
                self.waker.register(p);
                if self.state.fetch_or(JOINED, ACQ_REL) & DONE == 0 {
                    return false;
                }
            }
        }
        self.state.fetch_or(TAKEN, ACQ_REL);
        self.waker.waker.exchange(0, ACQ_REL);
        true
    }
    pub fn is_done(&self) -> bool {
        self.state.load(ACQ_REL) & DONE != 0
    }
    pub fn polls(&self) -> usize {
        self.future.get()
    }
    pub fn value(&self) -> usize {
        self.value.get()
    }
    pub fn err(&self) -> bool {
        self.err.get()
    }
}

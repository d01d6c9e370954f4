//! What all models use: plain memory that loom watches, what the system provides, and the switch
//! that selects a broken twin.

use std::any::Any;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle, Thread, ThreadId};

use crate::orders::{self, Word, ACQ_REL, RELAXED};

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
static ARENA: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

/// Begins an execution: each model's closure calls it first.
pub fn begin() {
    EXECUTIONS.fetch_add(1, Relaxed);
    ARENA.lock().unwrap().clear();
    *STOPS.lock().unwrap() = None;
    orders::begin();
}

/// How many executions have begun.
pub fn executions() -> u64 {
    EXECUTIONS.load(Relaxed)
}

/// Memory that stays until the next execution begins. What the model frees is marked as freed, and
/// watched.
pub fn keep<T: Any + Send>(t: T) -> &'static T {
    let t = Box::new(t);
    // SAFETY: the box stays in place until the next execution begins; this one has ended by then.
    let r = unsafe { &*(&*t as *const T) };
    ARENA.lock().unwrap().push(t);
    r
}

/// A plain variable: loom reports two accesses that nothing orders.
pub struct Mem<T>(UnsafeCell<T>);

// SAFETY: loom runs one thread at a time, and reports what would be a race.
unsafe impl<T: Send> Sync for Mem<T> {}

impl<T: Copy> Mem<T> {
    pub fn new(v: T) -> Mem<T> {
        Mem(UnsafeCell::new(v))
    }
    pub fn get(&self) -> T {
        // SAFETY: as above.
        self.0.with(|p| unsafe { *p })
    }
    pub fn set(&self, v: T) {
        // SAFETY: as above.
        self.0.with_mut(|p| unsafe { *p = v })
    }
}

/// Whether a piece of memory has been freed. Every access to that memory checks this first, so an
/// access that is not ordered before the free is a race, and one after it fails.
pub struct Life(Mem<bool>);

impl Life {
    pub fn new() -> Life {
        Life(Mem::new(true))
    }
    pub fn touch(&self) {
        assert!(self.0.get(), "property: used after it was freed");
    }
    pub fn free(&self) {
        assert!(self.0.get(), "property: freed twice");
        self.0.set(false);
    }
    pub fn has_ended(&self) -> bool {
        !self.0.get()
    }
}

/// Threads that sleep. loom switches threads only at its own operations, and here are none: failing
/// an atomic step and then sleeping is one step, and so is another atomic step and the unpark after
/// it. A thread that is unparked has seen what came before.
pub struct Sleepers(Mutex<Vec<Thread>>);

impl Sleepers {
    pub fn new() -> Sleepers {
        Sleepers(Mutex::new(Vec::new()))
    }
    pub fn sleep(&self) {
        self.0.lock().unwrap().push(thread::current());
        thread::park();
    }
    pub fn unpark_one(&self) {
        let sleeper = self.0.lock().unwrap().pop();
        if let Some(t) = sleeper {
            t.unpark();
        }
    }
}

/// A semaphore. What comes before a post comes before the return of the wait that it ends, as in
/// POSIX.
pub struct Semaphore {
    count: Word,
    asleep: Sleepers,
}

impl Semaphore {
    pub fn new() -> Semaphore {
        Semaphore { count: Word::new(0), asleep: Sleepers::new() }
    }
    pub fn post(&self) {
        self.count.fetch_add(1, ACQ_REL);
        self.asleep.unpark_one();
    }
    pub fn wait(&self) {
        let mut n = 1;
        loop {
            let less = n - 1;
            if self.count.compare_exchange(&mut n, less, ACQ_REL) {
                return;
            }
            if n == 0 {
                self.asleep.sleep();
                n = 1;
            }
        }
    }
    pub fn count(&self) -> usize {
        self.count.load(RELAXED)
    }
}

/// A sink's descriptor. It orders nothing by itself, unless a thread sleeps on it.
pub struct Descriptor {
    readable: Word,
    asleep: Sleepers,
    open: Life,
}

impl Descriptor {
    pub fn new() -> Descriptor {
        Descriptor { readable: Word::new(0), asleep: Sleepers::new(), open: Life::new() }
    }
    pub fn kick(&self) {
        self.open.touch();
        self.readable.exchange(1, RELAXED);
        self.asleep.unpark_one();
    }
    pub fn close(&self) {
        self.open.free();
    }
    pub fn is_closed(&self) -> bool {
        self.open.has_ended()
    }
    /// Waits until it is readable, and makes it unreadable: poll() and rawwaker_sink_ack.
    pub fn wait_and_ack(&self) {
        while self.readable.exchange(0, RELAXED) == 0 {
            self.asleep.sleep();
        }
    }
}

/// The thread that stops permanently, and after how many steps of a wake.
static STOPS: Mutex<Option<(ThreadId, usize)>> = Mutex::new(None);

/// Makes this thread stop permanently after that many steps of its wake.
pub fn stop_after(steps: usize) {
    *STOPS.lock().unwrap() = Some((thread::current().id(), steps));
}
/// Whether this thread is to stop here, between two steps. Then it ends without finishing the wake.
pub fn stops() -> bool {
    let mut stops = STOPS.lock().unwrap();
    match stops.as_mut() {
        Some((who, left)) if *who == thread::current().id() => {
            *left = left.saturating_sub(1);
            *left == 0
        }
        _ => false,
    }
}

/// A thread of the model.
pub fn go(f: impl FnOnce() + 'static) -> JoinHandle<()> {
    thread::spawn(f)
}

pub fn join(all: impl IntoIterator<Item = JoinHandle<()>>) {
    for t in all {
        t.join().unwrap();
    }
}

/// Relaxed flags, set before a wake: only what the wake orders makes them visible.
pub struct Flags(Vec<Word>);

impl Flags {
    pub fn new(n: usize) -> &'static Flags {
        keep(Flags((0..n).map(|_| Word::new(0)).collect()))
    }
    pub fn set(&self, i: usize) {
        self.0[i].store(1, RELAXED);
    }
    pub fn is_set(&self, i: usize) -> bool {
        self.0[i].load(RELAXED) != 0
    }
    pub fn all_set(&self) -> bool {
        (0..self.0.len()).all(|i| self.is_set(i))
    }
}

macro_rules! twins {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// What can be broken on purpose.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub enum Twin { $($(#[$doc])* $name),* }
        impl Twin {
            pub fn named(name: &str) -> Option<Twin> {
                $(if name == stringify!($name) { return Some(Twin::$name); })*
                None
            }
        }
    };
}
twins! {
    /// A seq_cst access is an acq_rel one.
    no_fence
    /// A sender reads rx, then writes the stamp.
    rx_read_before_the_stamp
    /// The receiver looks at the ring, then sets WAITING.
    waits_after_it_looked
    /// The last sender wakes the receiver, then counts itself out.
    last_sender_wakes_first
    /// A failure wakes the receiver, then closes the channel.
    fail_wakes_first
    /// The receiver reads tail, then the count of senders.
    alone_read_after_tail
    /// The failure is reported although an item is being sent.
    fails_before_an_item_on_its_way
    /// The receiver frees a place, then copies its item.
    head_moves_before_the_copy
    /// Items are destroyed without the compare-and-swap that moves head.
    destroy_without_comparing
    /// A sender that finds the stream dropped leaves its item.
    sender_ignores_gone
    /// A room counts the places, then itself.
    room_counted_after_the_check
    /// A room waits and does not count the places again.
    room_does_not_look_again
    /// A room that was woken and is dropped wakes no other.
    woken_room_passes_nothing_on
    /// A room that was woken for several places, and finds fewer, wakes no other.
    room_that_does_not_fit_passes_nothing_on
    /// A room is woken for fewer places than it waits for, and then wakes no other.
    wakes_a_room_that_does_not_fit
    /// A room is woken by a load and a store.
    room_woken_by_load_and_store
    /// A wake that finds the word set only reads it.
    wake_only_reads
    /// The last reference frees without having seen the others' ends.
    unref_relaxed
    /// The sleeper goes to sleep without checking once more.
    sleeps_without_checking
    /// A BlockOn that has spun leaves LOOP by a store of IDLE.
    spin_leaves_by_a_store
    /// A BlockOn that stays in LOOP takes a wake by a load and a store.
    spin_takes_by_load_and_store
    /// A BlockOn that has spun sleeps in LOOP.
    spin_sleeps_in_loop
    /// A BlockOn that spins enters LOOP whatever the word is.
    spin_from_any
    /// The sleeper clears the word by a store.
    clears_by_store
    /// The polling side tests its condition, then registers.
    tests_before_it_registers
    /// The completing side wakes, then makes the condition true.
    wakes_before_it_sets
    /// A take that finds a register takes the waker nevertheless.
    cell_take_ignores_a_register
    /// A wake leaves the waker in the cell.
    cell_wakes_what_it_keeps
    /// A register that finds another, or a wake, keeps nothing and does not wake.
    register_keeps_nothing_and_does_not_wake
    /// A register ends by a store, whatever has come meanwhile.
    register_ends_by_a_store
    /// A register that meets a take gives the cell back by a load and a store.
    register_gives_back_by_load_and_store
    /// A take gives the cell back by a load and a store.
    take_gives_back_by_load_and_store
    /// A register that meets a take empties the cell and does not wake.
    register_drops_what_it_was_to_wake
    /// A producer reads the box once more after the push.
    touches_after_push
    /// A poll sets IDLE.
    poll_clears_queued
    /// The drainer sets IDLE, then reads next.
    idle_before_unlink
    /// A push does not keep the sink.
    push_without_sink_ref
    /// The drainer does not check closed again after IDLE.
    idle_without_second_check
    /// close does not change queued.
    close_leaves_queued
    /// The sink's head is emptied, not marked.
    drop_without_mark
    /// The sink's head is taken by a load and a store.
    drop_takes_by_load_and_store
    /// A last notice frees whatever the count is.
    retires_regardless
    /// The last drop does not list the box.
    last_drop_not_reported
    /// The last drop, if it finds the box listed, continues as if the box were closed.
    last_drop_falls_through
    /// The runtime does not answer a last notice of a box that it has closed.
    late_last_ignored
    /// A wake takes IDLE away and leaves LAST and LOOP.
    wake_from_idle_only
    /// The sleeper sets the flag by a plain store.
    flag_set_plainly
    /// A producer reads the flag by a plain load.
    flag_read_plainly
    /// A wake clears the flag by a store.
    flag_cleared_by_store
    /// A wake checks whether the flag is still its own, then clears it.
    flag_cleared_by_load_and_store
    /// A host that has set a hook gives its sleep the new number by a plain load and store.
    asleep_sets_plainly
    /// A host that has set a hook leaves its sleep the old number.
    asleep_keeps_the_number
    /// Each sleep has the same number.
    flag_of_a_constant
    /// A wake clears the flag, then writes.
    flag_cleared_before_the_write
    /// A use checks whether the object is closed, then counts itself in.
    use_checks_then_counts
    /// A use that is refused is counted, in and out; no bit marks the last one out.
    refused_uses_are_counted
    /// The close marks the word by a load and a store.
    closes_by_load_and_store
    /// The hooks that wakes have deferred are taken by a load and a store.
    deferred_taken_by_load_and_store
    /// A wake defers a hook by a load and a store.
    deferred_pushed_by_load_and_store
    /// The wake that is the last to use a hook drops it.
    a_wake_drops_the_hook
    /// The loop takes a wake and does not report it.
    loop_does_not_report
    /// The loop takes a wake away by a load and a store.
    loop_takes_by_load_and_store
    /// The loop leaves by a store of IDLE.
    loop_leaves_by_store
    /// A poll loops under a listed box, too.
    loop_from_any
    /// A box that was born is freed, even if the future keeps it.
    born_always_freed
    /// A wake between the poll and adopt is not reported.
    adopt_does_not_report
    /// A hook is published, then filled.
    hook_before_its_fields
    /// A new hook frees the one before.
    hook_frees_older
    /// A wake that finds EMPTY queues the task as well.
    token_copied
    /// The poller parks without checking.
    parks_without_checking
    /// abort sets its bit and does not wake.
    abort_without_wake
    /// The handle checks done, then registers.
    join_checks_first
    /// done is set, then the result.
    done_before_result
    /// The sender of a oneshot does not wake the waker that it finds.
    settles_without_a_wake
    /// The sender sets SETTLED by a load and a store.
    settles_by_load_and_store
    /// The sender's short path does not look whether there is a waker.
    settles_in_one_step_always
    /// A poll sets LISTENING and does not look whether the sender was used meanwhile.
    listens_after_the_check
    /// A poll replaces the waker without clearing LISTENING.
    replaces_without_clearing
    /// The sender ends its side, then wakes.
    leaves_before_the_wake
    /// The drop sets HUNG_UP by a load and a store.
    hangs_up_by_load_and_store
    /// The sender does not look whether the future was dropped.
    hung_up_is_not_looked_at
    /// A watcher is published, then filled.
    watcher_before_its_fields
    /// A sleeper that was cancelled too late leaves the token in the channel.
    cancel_leaves_the_token
}

static TWIN: AtomicUsize = AtomicUsize::new(usize::MAX);

pub fn break_on_purpose(t: Twin) {
    TWIN.store(t as usize, Relaxed);
}

pub fn broken(t: Twin) -> bool {
    TWIN.load(Relaxed) == t as usize
}

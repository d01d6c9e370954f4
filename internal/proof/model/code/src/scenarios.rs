//! The scenarios: what runs against what, and what must hold at the end. Flags are relaxed and
//! payloads plain, so only the orders of the C code make them visible. A lost wake leaves a sleeper
//! permanently, which loom reports as a deadlock.

use std::cell::Cell;
use std::rc::Rc;

use loom::sync::Mutex;

use crate::api::*;
use crate::shim;
use crate::world::*;

pub struct Scenario {
    pub name: &'static str,
    pub run: fn(),
    /// How often threads may be preempted: in full, in quick, and for the orders. ALL: at every
    /// place; OFF: the scenario is left out.
    pub bounds: [usize; 3],
}

pub const ALL: usize = usize::MAX;
pub const OFF: usize = 0;

const fn s(name: &'static str, run: fn(), bounds: [usize; 3]) -> Scenario {
    Scenario { name, run, bounds }
}

pub const SCENARIOS: &[Scenario] = &[
    s("mapping", mapping, [ALL, ALL, OFF]),
    s("parker", parker, [ALL, ALL, ALL]),
    s("parker_of_two", parker_of_two, [2, 2, 2]),
    s("counted", counted, [3, 2, 2]),
    s("cell", cell, [3, 2, 2]),
    s("cell_once", cell_once, [ALL, 3, 3]),
    s("cell_of_two", cell_of_two, [3, 2, 2]),
    s("oneshot", oneshot, [ALL, 3, 3]),
    s("oneshot_of_two", oneshot_of_two, [3, 2, 2]),
    s("oneshot_drop", oneshot_drop_beside_send::<false>, [ALL, 3, 3]),
    s("oneshot_poll_and_drop", oneshot_drop_beside_send::<true>, [ALL, 3, 3]),
    s("oneshot_failed", oneshot_failed, [3, 2, 2]),
    s("watched", watched, [ALL, ALL, ALL]),
    s("sleep", sleep, [2, 2, 1]),
    s("asleep", asleep, [1, 1, OFF]),
    s("list", list, [3, 2, 2]),
    s("list_and_sleep", list_and_sleep, [2, 1, 1]),
    s("close", close, [3, 2, 2]),
    s("sink_drop", sink_drop, [3, 2, 2]),
    s("closed_asleep", closed_asleep, [2, 2, 2]),
    s("closed_by_one", closed_by_one, [3, 2, 2]),
    s("last", last, [3, 2, 2]),
    s("retire", retire, [3, 2, 2]),
    s("last_close", last_close, [3, 2, 2]),
    s("poll_loop", poll_loop, [2, 1, 1]),
    s("poll_loop_close", poll_loop_close, [3, 2, 2]),
    s("poll_by_two", poll_by_two, [3, 2, 2]),
    s("born", born, [3, 2, 2]),
    s("hook", hook, [2, 1, 1]),
    s("defer", defer, [2, 2, 2]),
    s("queue", queue, [2, 1, 1]),
    s("queue_closed", queue_closed, [3, 2, 2]),
    s("queue_stopped", queue_stopped, [3, 2, 2]),
    s("job", job, [2, 1, 1]),
    s("job_dropped", job_dropped, [2, 1, 1]),
    s("channel", channel, [2, 1, 1]),
    s("channel_reused", channel_reused, [2, 2, 1]),
    s("channel_failed", channel_failed, [2, 1, 1]),
    s("channel_failed_last", channel_failed_last, [3, 2, 2]),
    s("channel_dropped", channel_dropped, [2, 2, 2]),
    s("channel_handed", channel_handed, [2, 2, 2]),
    s("channel_room", channel_room, [2, 1, 1]),
    s("channel_rooms", channel_rooms, [2, 1, 1]),
    s("channel_room_made", channel_room_made, [2, 1, 1]),
    s("channel_room_new", channel_room_new, [3, 3, 3]),
    s("channel_room_woken", channel_room_woken, [2, 2, 2]),
    s("channel_room_for_two", channel_room_for_two, [2, 1, 1]),
];

/// Store buffering: with seq_cst, one of the two sees the other.
fn mapping() {
    let m = Memory::new(16);
    let saw = Memory::new(16);
    let (f, saw_flags) = (Flags::of(&m, 2), Flags::of(&saw, 2));
    let t = go(move || {
        f.set_ordered(0, 5);
        if f.is_set_ordered(1, 5) {
            saw_flags.set(0);
        }
    });
    f.set_ordered(1, 5);
    let mine = f.is_set_ordered(0, 5);
    join([t]);
    assert!(mine || saw_flags.is_set(0), "property: neither saw the other");
}

/// One waker, a plain payload, exactly two polls.
fn parker() {
    let m = Memory::new(8);
    let payload = Payload::of(&m);
    let mut threads = Vec::new();
    let polls = block_on(|w| {
        if threads.is_empty() {
            let w = w.clone_ref();
            threads.push(go(move || {
                payload.set(1);
                w.wake();
            }));
            return false;
        }
        payload.get() == 1
    });
    join(threads);
    assert!(polls == 2, "property: one poll before the wake and one after");
}

/// Two wakers, three wakes: one may find NOTIFIED, and publishes nevertheless.
fn parker_of_two() {
    let m = Memory::new(24);
    let flags = Flags::of(&m, 3);
    let mut threads = Vec::new();
    let polls = block_on(|w| {
        if threads.is_empty() {
            let (a, b) = (w.clone_ref(), w.clone_ref());
            threads.push(go(move || {
                flags.set(0);
                a.wake_by_ref();
                flags.set(1);
                a.wake();
            }));
            threads.push(go(move || {
                flags.set(2);
                b.wake();
            }));
        }
        flags.all_set()
    });
    join(threads);
    assert!(polls <= 4, "property: one poll for each wake at most");
}

extern "C" fn nothing(_: Ptr) {}

/// A waker that does nothing, but is counted.
fn idle_waker() -> W {
    W(rawwaker_from_fn(nothing, NULL, None))
}

/// Two threads release references to one waker, one of which is a clone. The last one frees what
/// both have used.
fn counted() {
    extern "C" fn count(arg: Ptr) {
        Payload::at(arg).add(1);
    }
    extern "C" fn dropped(arg: Ptr) {
        assert!(Payload::at(arg).get() == 1, "property: the drop comes after all wakes");
    }
    let m = Memory::new(8);
    let a = W(rawwaker_from_fn(count, m.at(), Some(dropped)));
    let b = a.clone_ref();
    let t = go(move || {
        let c = b.clone_ref();
        b.drop_ref();
        c.wake();
    });
    a.drop_ref();
    join([t]);
}

/// Register, then test; set, then wake. Two threads wake, one waits.
fn cell() {
    let (c, m) = (Memory::new(24), Memory::new(16));
    let (at, flags) = (c.at(), Flags::of(&m, 2));
    let threads = [0, 1].map(|i| {
        go(move || {
            flags.set(i);
            rawwaker_cell_wake(at);
        })
    });
    block_on(|w| {
        rawwaker_cell_register(at, &w.0);
        flags.all_set()
    });
    rawwaker_cell_drop(at);
    join(threads);
}

/// One thread registers once, and after the wake reads the flag without the cell: the wake alone
/// makes it visible.
fn cell_once() {
    let (c, m) = (Memory::new(24), Memory::new(8));
    let (at, flags) = (c.at(), Flags::of(&m, 1));
    let wakes = go(move || {
        flags.set(0);
        rawwaker_cell_wake(at);
    });
    let mut first = true;
    let polls = block_on(|w| {
        if std::mem::replace(&mut first, false) {
            rawwaker_cell_register(at, &w.0);
        }
        flags.all_set()
    });
    join([wakes]);
    rawwaker_cell_drop(at);
    assert!(polls <= 2, "property: one poll for the wake at most");
}

/// Two threads register the waker of one task, as after it has moved; a third sets the flag and
/// wakes.
fn cell_of_two() {
    let (c, m) = (Memory::new(24), Memory::new(8));
    let (at, flags) = (c.at(), Flags::of(&m, 1));
    let mut threads = vec![go(move || {
        flags.set(0);
        rawwaker_cell_wake(at);
    })];
    block_on(|w| {
        if threads.len() == 1 {
            let mine = w.clone_ref();
            threads.push(go(move || {
                rawwaker_cell_register(at, &mine.0);
                mine.drop_ref();
            }));
        }
        rawwaker_cell_register(at, &w.0);
        flags.all_set()
    });
    join(threads);
    rawwaker_cell_drop(at);
}

/// What the callbacks of a oneshot, a job or a channel have done.
struct Calls {
    /// Written before the drop, and read by destroy.
    before: Payload,
    cancels: Cell<usize>,
    destroyed: Cell<usize>,
    released: Cell<usize>,
    ended: Cell<usize>,
}

impl Calls {
    fn new(m: &Memory) -> Rc<Calls> {
        let zero = || Cell::new(0);
        Rc::new(Calls {
            before: Payload::of(m),
            cancels: zero(),
            destroyed: zero(),
            released: zero(),
            ended: zero(),
        })
    }
    fn of<'a>(arg: Ptr) -> &'a Calls {
        // SAFETY: the scenario that gave it to C keeps it until all threads have ended.
        unsafe { &*(arg as *const Calls) }
    }
    fn arg(self: &Rc<Calls>) -> Ptr {
        Rc::as_ptr(self) as Ptr
    }
}

fn add(c: &Cell<usize>) {
    c.set(c.get() + 1);
}
extern "C" fn on_cancel(arg: Ptr) {
    add(&Calls::of(arg).cancels);
}
extern "C" fn on_destroy(arg: Ptr, value: Ptr) {
    let c = Calls::of(arg);
    Payload::at(value).get();
    c.before.get();
    add(&c.destroyed);
}
extern "C" fn on_release(arg: Ptr) {
    add(&Calls::of(arg).released);
}
static OPS: OneshotOps = OneshotOps {
    start: None,
    cancel: Some(on_cancel),
    destroy: Some(on_destroy),
    release: Some(on_release),
};

fn oneshot_new(c: &Rc<Calls>) -> (Future, Ptr) {
    let mut tx = NULL;
    (rawwaker_oneshot_new(8, 8, &OPS, c.arg(), &mut tx), tx)
}
fn oneshot_send(tx: Ptr) -> bool {
    let value: u64 = 42;
    rawwaker_oneshot_send(tx, (&value) as *const u64 as *const _)
}
/// Polls the oneshot. Returns whether it has given its value.
fn oneshot_poll(f: Future, w: W) -> bool {
    let mut value: u64 = 0;
    let got = poll_once(f, w, (&mut value) as *mut u64 as Ptr);
    assert!(got == PENDING || (got, value) == (READY, 42), "property: the value is there");
    got == READY
}

/// A send, and a thread that blocks on the future.
fn oneshot() {
    let m = Memory::new(8);
    let calls = Calls::new(&m);
    let (f, tx) = oneshot_new(&calls);
    let sends = go(move || {
        assert!(oneshot_send(tx), "property: the future is there");
    });
    let polls = block_on(|w| oneshot_poll(f, w));
    drop_future(f);
    join([sends]);
    assert!(polls <= 2, "property: one poll for the wake at most, and the first");
    assert!(calls.released.get() == 1, "property: released once");
}

/// The future moves to another task after its first poll.
fn oneshot_of_two() {
    let m = Memory::new(8);
    let calls = Calls::new(&m);
    let (f, tx) = oneshot_new(&calls);
    let first = idle_waker();
    let sends = go(move || {
        assert!(oneshot_send(tx), "property: the future is there");
    });
    if !oneshot_poll(f, first) {
        block_on(|w| oneshot_poll(f, w));
    }
    drop_future(f);
    first.drop_ref();
    join([sends]);
    assert!(calls.destroyed.get() == 0, "property: the value is taken, once");
}

/// The future is dropped, after a poll or without one.
fn oneshot_drop_beside_send<const POLLED: bool>() {
    let m = Memory::new(8);
    let calls = Calls::new(&m);
    let (f, tx) = oneshot_new(&calls);
    let w = idle_waker();
    let sent = Rc::new(Cell::new(0));
    let by_sender = sent.clone();
    let sends = go(move || by_sender.set(oneshot_send(tx) as usize));
    let mut taken = 0;
    if POLLED {
        taken += oneshot_poll(f, w) as usize;
    }
    calls.before.set(1);
    drop_future(f);
    join([sends]);
    w.drop_ref();
    let destroyed = calls.destroyed.get();
    assert!(taken + destroyed == 1, "property: the value is taken or destroyed, once");
    assert!(
        calls.cancels.get() + sent.get() == 1,
        "property: either the drop cancels, or the send comes first"
    );
    assert!(calls.released.get() == 1, "property: released once");
}

/// A failure beside a poll and a drop: the text is there, and it is freed once.
fn oneshot_failed() {
    let m = Memory::new(8);
    let calls = Calls::new(&m);
    let (f, tx) = oneshot_new(&calls);
    let w = idle_waker();
    let fails = go(move || {
        rawwaker_oneshot_closed(tx);
        rawwaker_oneshot_fail(tx, c"no".as_ptr(), 2);
    });
    let mut value: u64 = 0;
    let got = poll_once(f, w, (&mut value) as *mut u64 as Ptr);
    assert!(got == PENDING || got == PANICKED, "property: no value");
    drop_future(f);
    join([fails]);
    w.drop_ref();
    assert!(calls.released.get() == 1, "property: released once");
}

/// A watcher is set while another thread makes a sender.
fn watched() {
    extern "C" fn made(_: Ptr, _: *const std::ffi::c_char) -> Ptr {
        7 as Ptr
    }
    let m = Memory::new(16);
    let at = m.at();
    let sets = go(move || {
        let p = Payload::at(at);
        p.set(made as extern "C" fn(Ptr, *const std::ffi::c_char) -> Ptr as usize as u64);
        rawwaker_watch(at);
    });
    let got = rawwaker_watch_made(NULL, c"call".as_ptr()) as usize;
    assert!(got == 0 || got == 7, "property: a watcher has its fields");
    join([sets]);
}

/// Reads all that is listed.
fn drain(s: Ptr, mut each: impl FnMut(Notice)) {
    let mut list = rawwaker_sink_take(s);
    let mut n = Notice::default();
    while rawwaker_box_read(&mut list, &mut n, 1) == 1 {
        each(n);
    }
}

/// What a host does if rawwaker_sink_sleep has returned true.
fn wait_and_ack(s: Ptr) {
    shim::wait_readable(rawwaker_sink_fd(s));
    rawwaker_sink_ack(s);
}

/// A host: drains, polls what was woken, sleeps, until poll returns that all is done. Returns the
/// number of polls.
fn host(s: Ptr, mut poll: impl FnMut(u64) -> bool) -> usize {
    let (mut polls, mut done) = (0, false);
    loop {
        drain(s, |n| {
            if n.woken != 0 {
                polls += 1;
                done |= poll(n.id);
            }
        });
        if done {
            return polls;
        }
        if rawwaker_sink_sleep(s) {
            wait_and_ack(s);
        }
    }
}

const FOREVER: u32 = 1;
const TELL: u32 = 1;

/// A sink that is never freed is freed by the scenario.
struct Forever(Ptr);
impl Forever {
    fn new() -> Forever {
        Forever(rawwaker_sink_new(FOREVER))
    }
}
impl Drop for Forever {
    fn drop(&mut self) {
        shim::descriptor(3, rawwaker_sink_fd(self.0), 0);
        shim::release(shim::AT_SYSTEM, self.0);
    }
}

fn box_new(s: Ptr, id: u64) -> Ptr {
    rawwaker_box_new(s, id, 0)
}
fn box_ref(b: Ptr) -> W {
    W(rawwaker_box_ref(b))
}

fn word(at: Ptr) -> u64 {
    // SAFETY: it is in an object that has not been freed, and all other threads have ended.
    unsafe { *(at as *const u64) }
}
fn nothing_listed(s: Ptr) -> bool {
    let (mut head, mut sleeping) = (NULL, NULL);
    rawwaker_sink_words(s, &mut head, &mut sleeping);
    word(head) == 0
}

/// A host that sleeps against two producers, each with its own box, on a sink that is never freed:
/// no steps but those of the flag and the list.
fn sleep() {
    let s = Forever::new();
    let m = Memory::new(16);
    let flags = Flags::of(&m, 2);
    let boxes = [0, 1].map(|i| box_new(s.0, i));
    let threads = [0, 1].map(|i| {
        let w = box_ref(boxes[i]);
        go(move || {
            flags.set(i);
            w.wake();
        })
    });
    let mut seen = [false; 2];
    let polls = host(s.0, |id| {
        let id = id as usize;
        assert!(
            flags.is_set(id),
            "property: the poll after a wake sees what was written before it"
        );
        seen[id] = true;
        seen == [true; 2]
    });
    join(threads);
    assert!(polls == 2, "property: one poll for each wake");
    boxes.into_iter().for_each(rawwaker_box_close);
}

/// A host that a hook wakes sets the hook while it sleeps and two wakes are under way. It sleeps
/// once more after that, so the hook is seen.
fn asleep() {
    let s = rawwaker_sink_new(0);
    let boxes = [0, 1].map(|i| box_new(s, i));
    let threads = boxes.map(|b| {
        let w = box_ref(b);
        go(move || w.wake())
    });
    let (mut polls, mut hooked) = (0, false);
    block_on(|w| loop {
        drain(s, |_| polls += 1);
        if polls == boxes.len() {
            return true;
        }
        if !std::mem::replace(&mut hooked, true) {
            rawwaker_sink_on_wake(s, w.clone_ref().0);
        }
        if rawwaker_sink_sleep(s) {
            return false; // until the hook is called
        }
    });
    join(threads);
    boxes.into_iter().for_each(rawwaker_box_close);
    rawwaker_sink_drop(s);
}

/// Two producers wake one box. The drainer never sleeps: it takes twice, and once more at the end.
fn list() {
    let s = rawwaker_sink_new(0);
    let m = Memory::new(24);
    let flags = Flags::of(&m, 3);
    let b = box_new(s, 7);
    let (v, w) = (box_ref(b), box_ref(b));
    let threads = [
        go(move || {
            flags.set(0);
            v.wake();
        }),
        go(move || {
            flags.set(1);
            w.wake_by_ref();
            flags.set(2);
            w.wake();
        }),
    ];
    let mut seen = false;
    let mut polls = 0;
    let mut poll = |n: Notice| {
        assert!(
            n.id == 7 && n.woken != 0,
            "property: a notice has the box's number, and reports the wake"
        );
        polls += 1;
        seen = flags.all_set();
    };
    drain(s, &mut poll);
    drain(s, &mut poll);
    join(threads);
    drain(s, &mut poll);
    assert!(seen, "property: the poll after a wake sees what was written before it");
    assert!(polls <= 3, "property: one poll for each wake at most");
    rawwaker_box_close(b);
    rawwaker_sink_drop(s);
}

/// The same with a host that sleeps, closes the box, perhaps while the producers push, and drops
/// the sink.
fn list_and_sleep() {
    let s = rawwaker_sink_new(0);
    let m = Memory::new(16);
    let flags = Flags::of(&m, 2);
    let b = box_new(s, 7);
    let (v, w) = (box_ref(b), box_ref(b));
    let threads = [
        go(move || {
            flags.set(0);
            v.wake();
        }),
        go(move || {
            flags.set(1);
            w.wake_by_ref();
            w.drop_ref();
        }),
    ];
    let polls = host(s, |_| flags.all_set());
    rawwaker_box_close(b);
    rawwaker_sink_drop(s);
    join(threads);
    assert!(polls <= 2, "property: one poll for each wake at most");
}

/// A wake, the drainer, and close, each on its own thread.
fn close() {
    let s = rawwaker_sink_new(0);
    let b = box_new(s, 7);
    let (v, w) = (box_ref(b), box_ref(b));
    let threads = [
        go(move || v.wake()),
        go(move || {
            drain(s, |_| {});
            drain(s, |_| {});
        }),
    ];
    rawwaker_box_close(b);
    join(threads);
    drain(s, |_| {});
    w.wake_by_ref();
    assert!(nothing_listed(s), "property: no wake lists a closed box");
    w.drop_ref();
    rawwaker_sink_drop(s);
}

/// The sink's owner drops it, and two wakes come late.
fn sink_drop() {
    let s = rawwaker_sink_new(0);
    let boxes = [0, 1].map(|i| box_new(s, i));
    let threads = boxes.map(|b| {
        let w = box_ref(b);
        go(move || w.wake())
    });
    boxes.into_iter().for_each(rawwaker_box_close);
    rawwaker_sink_drop(s);
    join(threads);
}

/// Two wakes find a sleeper, and its owner drops the sink meanwhile: nothing is written to a closed
/// descriptor, which is closed once.
fn closed_asleep() {
    closed_by(2);
}
fn closed_by_one() {
    closed_by(1);
}
fn closed_by(n: u64) {
    let s = rawwaker_sink_new(0);
    let boxes: Vec<_> = (0..n).map(|i| box_new(s, i)).collect();
    assert!(rawwaker_sink_sleep(s), "property: nothing is listed yet");
    let wake = |b: &Ptr| {
        let w = box_ref(*b);
        go(move || w.wake())
    };
    let threads: Vec<_> = boxes.iter().map(wake).collect();
    boxes.iter().for_each(|b| rawwaker_box_close(*b));
    rawwaker_sink_drop(s);
    join(threads);
}

/// A box that tells: of its two references one is woken and one dropped. The wake must be reported,
/// and the last drop too, once.
fn last() {
    let s = rawwaker_sink_new(0);
    let m = Memory::new(8);
    let flags = Flags::of(&m, 1);
    let b = rawwaker_box_new(s, 7, TELL);
    let (v, w) = (box_ref(b), box_ref(b));
    let threads = [
        go(move || {
            flags.set(0);
            v.wake();
        }),
        go(move || w.drop_ref()),
    ];
    let (mut seen, mut retired) = (false, 0);
    let mut poll = |n: Notice| {
        if n.woken != 0 {
            seen = flags.all_set();
        }
        if n.last != 0 && rawwaker_box_retire(b) {
            retired += 1;
        }
    };
    drain(s, &mut poll);
    join(threads);
    drain(s, &mut poll);
    assert!(seen, "property: the poll after a wake sees what was written before it");
    assert!(retired == 1, "property: the last drop is reported, once");
    rawwaker_sink_drop(s);
}

/// loom's lock, for what the runtime must exclude.
fn lock(m: &Mutex<bool>) -> loom::sync::MutexGuard<'_, bool> {
    shim::flush();
    m.lock().unwrap()
}

/// The last drop of a box that tells, and close, under the lock that excludes retire. A last notice
/// that comes late is answered nevertheless.
fn last_close() {
    let s = rawwaker_sink_new(0);
    let b = rawwaker_box_new(s, 7, TELL);
    let w = box_ref(b);
    let held = Rc::new(Mutex::new(true));
    let drops = go(move || w.drop_ref());
    let also_held = held.clone();
    let drains = go(move || {
        drain(s, |n| {
            let mut held = lock(&also_held);
            if n.last != 0 && rawwaker_box_retire(b) {
                *held = false;
            }
        })
    });
    let mut there = lock(&held);
    if std::mem::replace(&mut *there, false) {
        rawwaker_box_close(b);
    }
    drop(there);
    join([drops, drains]);
    rawwaker_sink_drop(s);
}

/// C's last drop, against a new reference that the runtime gives out under the lock that excludes
/// retire.
fn retire() {
    let s = rawwaker_sink_new(0);
    let m = Memory::new(8);
    let flags = Flags::of(&m, 1);
    let b = rawwaker_box_new(s, 7, TELL);
    let registered = Rc::new(Mutex::new(true));
    let also_registered = registered.clone();
    let w = box_ref(b);
    let threads = [
        go(move || w.drop_ref()),
        go(move || {
            let there = lock(&also_registered);
            let w = there.then(|| box_ref(b));
            drop(there);
            if let Some(w) = w {
                flags.set(0);
                w.wake();
            }
        }),
    ];
    let (mut retired, mut seen) = (0, false);
    let mut poll = |n: Notice| {
        if n.woken != 0 {
            seen = flags.is_set(0);
            assert!(
                seen,
                "property: the poll after a wake sees what was written before it; a drop is no wake"
            );
        }
        if n.last == 0 {
            return;
        }
        let mut there = lock(&registered);
        if *there && rawwaker_box_retire(b) {
            *there = false;
            retired += 1;
        }
    };
    drain(s, &mut poll);
    drain(s, &mut poll);
    join(threads);
    drain(s, &mut poll);
    assert!(
        seen == flags.is_set(0),
        "property: the poll after a wake sees what was written before it"
    );
    assert!(retired == 1, "property: the last drop is reported, once");
    rawwaker_sink_drop(s);
}

/// Returns whether f was ready, and *woken.
fn box_poll(s: Ptr, b: &mut Ptr, f: impl FnMut(W) -> bool) -> (bool, bool) {
    let mut woken = false;
    let got = with_future(f, |f| rawwaker_box_poll(s, b, f, NULL, &mut woken));
    (got == READY, woken)
}

/// Two futures of one task share the waker. The first is polled under the box, the second once for
/// each poll of the task. Each waits for a flag that another thread sets.
fn poll_loop() {
    let s = rawwaker_sink_new(0);
    let m = Memory::new(16);
    let flags = Flags::of(&m, 2);
    let mut b = box_new(s, 7);
    let threads = [0, 1].map(|i| {
        let w = box_ref(b);
        go(move || {
            flags.set(i);
            w.wake();
        })
    });
    let (mut first, mut polls) = (false, 0);
    let mut task = || loop {
        polls += 1;
        let second = flags.is_set(1);
        let mut woken = false;
        if !first {
            (first, woken) = box_poll(s, &mut b, |_| flags.is_set(0));
        }
        if first && second {
            return true;
        }
        if !woken {
            return false;
        }
    };
    if !task() {
        host(s, |_| task());
    }
    join(threads);
    assert!(polls <= 3, "property: one poll for each wake at most");
    rawwaker_box_close(b);
    rawwaker_sink_drop(s);
}

/// The loop, a wake, and close on a third thread. The polling thread has a reference of its own.
fn poll_loop_close() {
    let s = rawwaker_sink_new(0);
    let mut b = box_new(s, 7);
    let (mine, w) = (box_ref(b), box_ref(b));
    let closed = b;
    let threads = [go(move || w.wake()), go(move || rawwaker_box_close(closed))];
    box_poll(s, &mut b, |_| false);
    drain(s, |_| {});
    join(threads);
    drain(s, |_| {});
    mine.wake_by_ref();
    assert!(nothing_listed(s), "property: no wake lists a closed box");
    mine.drop_ref();
    rawwaker_sink_drop(s);
}

/// Two threads poll two futures under one box, and a third wakes it. To a future that has not seen
/// the flag the wake is reported: by its own poll, by the other's, or by a notice.
fn poll_by_two() {
    let s = rawwaker_sink_new(0);
    let m = Memory::new(8);
    let flags = Flags::of(&m, 1);
    let b = box_new(s, 7);
    let (reported, blind) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let poll = {
        let (reported, blind) = (reported.clone(), blind.clone());
        move || {
            let mut b = b;
            let (ready, woken) = box_poll(s, &mut b, |_| flags.is_set(0));
            reported.set(reported.get() + woken as usize);
            blind.set(blind.get() + !ready as usize);
        }
    };
    let w = box_ref(b);
    let threads = [
        go(move || {
            flags.set(0);
            w.wake();
        }),
        go(poll.clone()),
    ];
    poll();
    join(threads);
    let mut notices = 0;
    drain(s, |n| notices += n.woken as usize);
    assert!(
        reported.get() + notices > 0 || blind.get() == 0,
        "property: a wake is reported to a future that has not seen its flag"
    );
    assert!(notices <= 1, "property: a wake lists the box once");
    rawwaker_box_close(b);
    rawwaker_sink_drop(s);
}

/// The first poll of a task, under a box that is made for it. The future gives its waker to two
/// threads: one wakes it, one drops it.
fn born() {
    let s = rawwaker_sink_new(0);
    let m = Memory::new(8);
    let flags = Flags::of(&m, 1);
    let mut b = NULL;
    let mut threads = Vec::new();
    let mut polls = 1;
    let (mut ready, mut woken) = box_poll(s, &mut b, |w| {
        if threads.is_empty() {
            let (v, w) = (w.clone_ref(), w.clone_ref());
            threads.push(go(move || {
                flags.set(0);
                v.wake();
            }));
            threads.push(go(move || {
                let id = rawwaker_box_id(&w.0);
                assert!(id == 0 || id == 7, "property: no number, or its own");
                w.drop_ref();
            }));
        }
        flags.all_set()
    });
    if !b.is_null() {
        woken |= rawwaker_box_adopt(b, 7);
    }
    if woken {
        polls += 1;
        ready = flags.all_set();
    }
    if !ready && !b.is_null() {
        polls += host(s, |id| {
            assert!(id == 7, "property: a notice has the box's number");
            flags.all_set()
        });
        ready = true;
    }
    join(threads);
    assert!(ready, "property: the poll after a wake sees what was written before it");
    assert!(polls <= 2, "property: one poll for each wake at most");
    if !b.is_null() {
        rawwaker_box_close(b);
    }
    rawwaker_sink_drop(s);
}

/// A host that sleeps has set a hook, and another thread sets a second one, while a wake is under
/// way.
fn hook() {
    let s = rawwaker_sink_new(0);
    let b = box_new(s, 7);
    rawwaker_sink_on_wake(s, idle_waker().0);
    let w = box_ref(b);
    let wakes = go(move || w.wake());
    let hooks = go(move || {
        rawwaker_sink_on_wake(s, idle_waker().0);
    });
    let polls = host(s, |_| true);
    join([hooks]);
    rawwaker_box_close(b);
    rawwaker_sink_drop(s);
    rawwaker_sink_reap();
    join([wakes]);
    rawwaker_sink_reap();
    assert!(polls == 1, "property: one poll for the wake");
}

/// Two wakes, whose hooks close their sinks, defer the hooks, and a thread reaps meanwhile: each is
/// dropped once.
fn defer() {
    extern "C" fn close(s: Ptr) {
        rawwaker_sink_close(s);
    }
    let sinks = [0, 1].map(|i| {
        let s = rawwaker_sink_new(0);
        rawwaker_sink_on_wake(s, rawwaker_from_fn(close, s, None));
        let b = box_new(s, i);
        assert!(rawwaker_sink_sleep(s), "property: nothing is listed yet");
        (s, b)
    });
    let threads = sinks.map(|(_, b)| {
        let w = box_ref(b);
        go(move || w.wake())
    });
    rawwaker_sink_reap();
    join(threads);
    for (s, b) in sinks {
        rawwaker_box_close(b);
        rawwaker_sink_drop(s);
    }
    rawwaker_sink_reap();
}

/// Two threads push, and an engine that sleeps takes.
fn queue() {
    let q = rawwaker_queue_new();
    let nodes = Memory::new(32);
    let at = nodes.at();
    let threads = [0, 1].map(|i| {
        let mine = rawwaker_queue_clone(q);
        go(move || {
            let n = (at as usize + 16 * i) as Ptr;
            Payload::at((n as usize + 8) as Ptr).set(7);
            assert!(rawwaker_queue_push(mine, n), "property: the queue is open");
            rawwaker_queue_drop(mine);
        })
    });
    let mut taken = 0;
    while taken < 2 {
        let mut n = rawwaker_queue_take(q);
        if n.is_null() {
            shim::wait_readable(rawwaker_queue_fd(q));
        }
        while !n.is_null() {
            taken += 1;
            let item = Payload::at((n as usize + 8) as Ptr).get();
            assert!(item == 7, "property: a node is published with its fields");
            n = rawwaker_queue_next(n);
        }
    }
    rawwaker_queue_drop(q);
    join(threads);
}

/// Two threads push, and the queue is closed and dropped meanwhile: each node is taken or refused.
fn queue_closed() {
    let q = rawwaker_queue_new();
    let nodes = Memory::new(16);
    let at = nodes.at();
    let pushed = Rc::new(Cell::new(0));
    let threads = [0, 1].map(|i| {
        let mine = rawwaker_queue_clone(q);
        let pushed = pushed.clone();
        go(move || {
            let n = (at as usize + 8 * i) as Ptr;
            if rawwaker_queue_push(mine, n) {
                add(&pushed);
            }
            rawwaker_queue_drop(mine);
        })
    });
    let mut n = rawwaker_queue_close(q);
    rawwaker_queue_drop(q);
    let mut taken = 0;
    while !n.is_null() {
        taken += 1;
        n = rawwaker_queue_next(n);
    }
    join(threads);
    assert!(taken == pushed.get(), "property: each node is taken or refused");
}

/// A thread stops an engine that sleeps.
fn queue_stopped() {
    let q = rawwaker_queue_new();
    let m = Memory::new(8);
    let flags = Flags::of(&m, 1);
    let mine = rawwaker_queue_clone(q);
    let stops = go(move || {
        flags.set(0);
        rawwaker_queue_stop(mine);
        rawwaker_queue_drop(mine);
    });
    while rawwaker_queue_run(q, NULL) {
        shim::wait_readable(rawwaker_queue_fd(q));
    }
    assert!(flags.is_set(0), "property: what was written before stop is visible");
    rawwaker_queue_end(q);
    rawwaker_queue_drop(q);
    join([stops]);
}

extern "C" fn submit(engine: Ptr, j: Ptr) {
    if !engine.is_null() {
        add(&Calls::of(engine).ended);
    }
    let value: u64 = 42;
    rawwaker_job_send(j, (&value) as *const u64 as *const _);
}
static JOB: JobOps = JobOps { submit, cancel: None, destroy: None, release: None };

/// A job, and its engine on another thread.
fn job() {
    let q = rawwaker_queue_new();
    let m = Memory::new(8);
    let calls = Calls::new(&m);
    let mine = rawwaker_queue_clone(q);
    let by_engine = calls.clone();
    let engine = go(move || {
        while by_engine.ended.get() == 0 {
            rawwaker_queue_run(mine, by_engine.arg());
            if by_engine.ended.get() == 0 {
                shim::wait_readable(rawwaker_queue_fd(mine));
            }
        }
        rawwaker_queue_drop(mine);
    });
    let mut j = NULL;
    let f = rawwaker_job_new(q, &JOB, 8, 8, 0, &mut j);
    let polls = block_on(|w| oneshot_poll(f, w));
    drop_future(f);
    join([engine]);
    rawwaker_queue_drop(q);
    assert!(polls <= 2, "property: one poll for the wake at most, and the first");
}

extern "C" fn keep(engine: Ptr, j: Ptr) {
    if engine.is_null() {
        return submit(engine, j);
    }
    Calls::of(engine).ended.set(j as usize);
}
extern "C" fn cancelled(engine: Ptr, _: Ptr) {
    add(&Calls::of(engine).cancels);
}
static KEPT: JobOps =
    JobOps { submit: keep, cancel: Some(cancelled), destroy: None, release: None };

/// A job is dropped after its first poll, while the engine runs and ends it.
fn job_dropped() {
    let q = rawwaker_queue_new();
    let m = Memory::new(8);
    let calls = Calls::new(&m);
    let mine = rawwaker_queue_clone(q);
    let by_engine = calls.clone();
    let mut j = NULL;
    let f = rawwaker_job_new(q, &KEPT, 8, 8, 0, &mut j);
    let engine = go(move || {
        rawwaker_queue_run(mine, by_engine.arg());
        if by_engine.ended.get() != 0 {
            let value: u64 = 42;
            let j = by_engine.ended.get() as Ptr;
            rawwaker_job_send(j, (&value) as *const u64 as *const _);
        }
        rawwaker_queue_drop(mine);
    });
    let w = idle_waker();
    oneshot_poll(f, w);
    drop_future(f);
    w.drop_ref();
    join([engine]);
    rawwaker_queue_end(q);
    rawwaker_queue_drop(q);
}

/// A channel of numbers, with so many senders.
struct Channel {
    stream: Future,
    calls: Rc<Calls>,
}

const SENT: i32 = 0;
const FULL: i32 = 1;

fn channel_new(m: &Memory, capacity: usize, senders: usize) -> (Channel, Vec<Ptr>) {
    let calls = Calls::new(m);
    let mut tx = NULL;
    let stream = rawwaker_channel_new(8, 8, capacity, &OPS, calls.arg(), &mut tx);
    let mut all = vec![tx];
    while all.len() < senders {
        all.push(rawwaker_sender_clone(tx));
    }
    (Channel { stream, calls }, all)
}

fn try_send(tx: Ptr, item: u64) -> i32 {
    rawwaker_sender_try_send(tx, (&item) as *const u64 as *const _)
}

/// Sends an item, and awaits rooms as long as there is none.
fn send_in_a_room(tx: Ptr, item: u64) {
    while try_send(tx, item) == FULL {
        let got = rawwaker_block_on(rawwaker_sender_room(tx), NULL);
        assert!(got == READY, "property: ready");
    }
}

/// Receives until the end, with polls after wakes only. Returns the items and the end.
fn receive_all(c: &Channel) -> (Vec<u64>, u8) {
    let (mut items, mut end) = (vec![], PENDING);
    let stream = c.stream;
    block_on(|w| loop {
        let mut item: u64 = 0;
        match poll_once(stream, w, (&mut item) as *mut u64 as Ptr) {
            READY => items.push(item),
            PENDING => return false,
            other => {
                end = other;
                return true;
            }
        }
    });
    drop_future(stream);
    (items, end)
}

fn received(c: &Channel, sent: u64, end: u8) {
    let (items, got) = receive_all(c);
    assert!(got == end, "property: the end is as the senders': {got}");
    let sum: u64 = items.iter().sum();
    assert!(sum == sent, "property: the end comes after all items: {items:?}");
}

fn freed(c: &Channel) {
    assert!(c.calls.released.get() == 1, "property: released once");
}

/// Two senders, an item each, and a receiver that sleeps.
fn channel() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 2, 2);
    let threads = [1, 2].map(|item| {
        let tx = tx[item as usize - 1];
        go(move || {
            assert!(try_send(tx, item) == SENT, "property: there is room");
            rawwaker_sender_drop(tx);
        })
    });
    received(&c, 3, DONE);
    join(threads);
    freed(&c);
}

/// One sender, one place, and two items.
fn channel_reused() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 1, 1);
    let tx = tx[0];
    let sends = go(move || {
        send_in_a_room(tx, 1);
        send_in_a_room(tx, 2);
        rawwaker_sender_drop(tx);
    });
    received(&c, 3, DONE);
    join([sends]);
    freed(&c);
}

fn fail(tx: Ptr) {
    rawwaker_sender_fail(tx, c"no".as_ptr(), 2);
}

/// A sender fails while another one sends. That one ends when the stream has.
fn channel_failed() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 2, 2);
    let (one, two) = (tx[0], tx[1]);
    let sent = Rc::new(Cell::new(0));
    let by_sender = sent.clone();
    let threads = [
        go(move || {
            if try_send(one, 1) == SENT {
                add(&by_sender);
            }
        }),
        go(move || fail(two)),
    ];
    let (items, end) = receive_all(&c);
    join(threads);
    assert!(end == PANICKED, "property: the end is the failure: {end}");
    assert!(c.calls.destroyed.get() == 0, "property: an item comes before the failure");
    assert!(items.len() == sent.get(), "property: each item once");
    rawwaker_sender_drop(one);
    freed(&c);
}

/// The only sender fails: the end is not DONE.
fn channel_failed_last() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 1, 1);
    let tx = tx[0];
    let fails = go(move || fail(tx));
    received(&c, 0, PANICKED);
    join([fails]);
    freed(&c);
}

/// Two senders, and the stream is dropped beside them.
fn channel_dropped() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 2, 2);
    let sent = Rc::new(Cell::new(0));
    let threads = [1, 2].map(|item| {
        let (tx, sent) = (tx[item as usize - 1], sent.clone());
        go(move || {
            if try_send(tx, item) == SENT {
                add(&sent);
            }
            rawwaker_sender_drop(tx);
        })
    });
    drop_future(c.stream);
    join(threads);
    assert!(c.calls.destroyed.get() == sent.get(), "property: each item is destroyed once");
    freed(&c);
}

/// A place that one sender has seen to be free is used by another.
fn channel_handed() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 1, 2);
    assert!(try_send(tx[0], 1) == SENT, "property: there is room");
    let threads = [2, 3].map(|item| {
        let tx = tx[item as usize - 2];
        go(move || {
            try_send(tx, item);
            rawwaker_sender_drop(tx);
        })
    });
    let w = idle_waker();
    let mut item: u64 = 0;
    let got = poll_once(c.stream, w, (&mut item) as *mut u64 as Ptr);
    assert!((got, item) == (READY, 1), "property: the item is there");
    join(threads);
    drop_future(c.stream);
    w.drop_ref();
    freed(&c);
}

/// A full channel, whose receiver takes one item, and a room.
fn channel_room() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 1, 1);
    let tx = tx[0];
    assert!(try_send(tx, 1) == SENT, "property: there is room");
    let sends = go(move || {
        send_in_a_room(tx, 2);
        rawwaker_sender_drop(tx);
    });
    received(&c, 3, DONE);
    join([sends]);
    freed(&c);
}

fn poll_room(room: Future, w: W) -> bool {
    poll_once(room, w, NULL) == READY
}

/// A full channel and two rooms. The newer one, which is woken first, is dropped.
fn channel_rooms() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 1, 1);
    let tx = tx[0];
    assert!(try_send(tx, 1) == SENT, "property: there is room");
    let (waits, given_up) = (rawwaker_sender_room(tx), rawwaker_sender_room(tx));
    let w = idle_waker();
    assert!(!poll_room(given_up, w), "property: it is full");
    let threads = [
        go(move || {
            rawwaker_block_on(waits, NULL);
            assert!(try_send(tx, 2) == SENT, "property: there is room after READY");
            rawwaker_sender_drop(tx);
        }),
        go(move || {
            drop_future(given_up);
            w.drop_ref();
        }),
    ];
    received(&c, 3, DONE);
    join(threads);
    freed(&c);
}

/// A room is made while another one is dropped that was woken.
fn channel_room_made() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 1, 1);
    let tx = tx[0];
    assert!(try_send(tx, 1) == SENT, "property: there is room");
    let given_up = rawwaker_sender_room(tx);
    let w = idle_waker();
    assert!(!poll_room(given_up, w), "property: it is full");
    let threads = [
        go(move || {
            send_in_a_room(tx, 2);
            rawwaker_sender_drop(tx);
        }),
        go(move || {
            drop_future(given_up);
            w.drop_ref();
        }),
    ];
    received(&c, 3, DONE);
    join(threads);
    freed(&c);
}

/// A room is made while the receiver looks for one that waits.
fn channel_room_new() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 1, 1);
    let tx = tx[0];
    assert!(try_send(tx, 1) == SENT, "property: there is room");
    let waits = rawwaker_sender_room(tx);
    let w = idle_waker();
    assert!(!poll_room(waits, w), "property: it is full");
    let makes = go(move || {
        drop_future(rawwaker_sender_room(tx));
        rawwaker_sender_drop(tx);
    });
    let mut item: u64 = 0;
    let got = poll_once(c.stream, w, (&mut item) as *mut u64 as Ptr);
    assert!((got, item) == (READY, 1), "property: the item is there");
    drop_future(c.stream);
    drop_future(waits);
    join([makes]);
    w.drop_ref();
    freed(&c);
}

/// Two threads wake a room: the receiver, and a failure.
fn channel_room_woken() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 1, 2);
    let (one, two) = (tx[0], tx[1]);
    assert!(try_send(one, 1) == SENT, "property: there is room");
    let room = rawwaker_sender_room(one);
    let w = idle_waker();
    assert!(!poll_room(room, w), "property: it is full");
    let fails = go(move || fail(two));
    received(&c, 1, PANICKED);
    join([fails]);
    drop_future(room);
    w.drop_ref();
    rawwaker_sender_drop(one);
    freed(&c);
}

/// A room for two places is polled while two places become free and one of them is used. A room for
/// one place waits beside it, and is woken in any case.
fn channel_room_for_two() {
    let m = Memory::new(8);
    let (c, tx) = channel_new(&m, 2, 1);
    let tx = tx[0];
    for item in [1, 2] {
        assert!(try_send(tx, item) == SENT, "property: there is room");
    }
    let last = rawwaker_sender_room(tx);
    let both = rawwaker_sender_room_for(tx, 2);
    let first = rawwaker_sender_room(tx);
    let other = idle_waker();
    let mut threads = Vec::new();
    block_on(|w| {
        if !threads.is_empty() {
            return poll_room(last, w);
        }
        for (room, w) in [(last, w), (both, other), (first, other)] {
            assert!(!poll_room(room, w), "property: it is full");
        }
        let theirs = other.clone_ref();
        threads.push(go(move || {
            poll_room(both, theirs);
            drop_future(both);
            theirs.drop_ref();
        }));
        let receive = |wanted| {
            let mut item: u64 = 0;
            let got = poll_once(c.stream, other, (&mut item) as *mut u64 as Ptr);
            assert!((got, item) == (READY, wanted), "property: the items come in order");
        };
        receive(1);
        assert!(poll_room(first, other), "property: it is woken first, and fits");
        drop_future(first);
        receive(2);
        assert!(try_send(tx, 3) == SENT, "property: there is room after READY");
        false
    });
    drop_future(last);
    join(threads);
    rawwaker_sender_drop(tx);
    drop_future(c.stream);
    other.drop_ref();
    freed(&c);
}

//! The models: what runs against what, and what must hold at the end. Flags are relaxed and
//! payloads plain, so only the orders of the modelled code make them visible. A lost wake leaves a
//! sleeper permanently, which loom reports as a deadlock.

use std::sync::atomic::{AtomicUsize as Counter, Ordering::Relaxed};

use loom::sync::Mutex;

use crate::channel::*;
use crate::go;
use crate::orders::*;
use crate::raw::*;
use crate::world::*;

pub struct Model {
    pub name: &'static str,
    pub run: fn(),
    /// How often threads may be preempted: in full, in quick, and for the orders. ALL: at every
    /// place; OFF: the model is left out.
    pub bounds: [usize; 3],
    pub twins: &'static [Twin],
}

pub const ALL: usize = usize::MAX;
pub const OFF: usize = 0;

pub const MODELS: &[Model] = &[
    Model { name: "mapping", run: mapping, bounds: [ALL, ALL, ALL], twins: &[Twin::no_fence] },
    Model {
        name: "parker",
        run: parker,
        bounds: [ALL, ALL, ALL],
        twins: &[Twin::sleeps_without_checking, Twin::clears_by_store, Twin::unref_relaxed],
    },
    Model {
        name: "parker_of_two",
        run: parker_of_two,
        bounds: [3, 2, 2],
        twins: &[Twin::wake_only_reads, Twin::unref_relaxed],
    },
    Model {
        name: "cell",
        run: cell,
        bounds: [3, 2, 2],
        twins: &[
            Twin::tests_before_it_registers,
            Twin::wakes_before_it_sets,
            Twin::cell_take_ignores_a_register,
            Twin::cell_wakes_what_it_keeps,
            Twin::register_keeps_nothing_and_does_not_wake,
            Twin::register_drops_what_it_was_to_wake,
            Twin::register_gives_back_by_load_and_store,
            Twin::take_gives_back_by_load_and_store,
        ],
    },
    Model {
        name: "cell_once",
        run: cell_once,
        bounds: [ALL, ALL, ALL],
        twins: &[Twin::cell_take_ignores_a_register],
    },
    Model {
        name: "cell_of_two",
        run: cell_of_two,
        bounds: [3, 2, 2],
        twins: &[Twin::register_ends_by_a_store, Twin::register_drops_what_it_was_to_wake],
    },
    Model {
        name: "oneshot",
        run: oneshot,
        bounds: [ALL, ALL, ALL],
        twins: &[
            Twin::settles_without_a_wake,
            Twin::settles_in_one_step_always,
            Twin::listens_after_the_check,
            Twin::unref_relaxed,
        ],
    },
    Model {
        name: "oneshot_of_two",
        run: oneshot_of_two,
        bounds: [ALL, 3, 2],
        twins: &[
            Twin::replaces_without_clearing,
            Twin::settles_by_load_and_store,
            Twin::listens_after_the_check,
        ],
    },
    Model {
        name: "oneshot_drop",
        run: oneshot_drop_beside_send::<false>,
        bounds: [ALL, ALL, ALL],
        twins: &[
            Twin::hung_up_is_not_looked_at,
            Twin::hangs_up_by_load_and_store,
            Twin::settles_in_one_step_always,
        ],
    },
    Model {
        name: "oneshot_poll_and_drop",
        run: oneshot_drop_beside_send::<true>,
        bounds: [ALL, 3, 3],
        twins: &[
            Twin::settles_by_load_and_store,
            Twin::hangs_up_by_load_and_store,
            Twin::leaves_before_the_wake,
            Twin::unref_relaxed,
        ],
    },
    Model {
        name: "watched",
        run: watched,
        bounds: [ALL, ALL, ALL],
        twins: &[Twin::watcher_before_its_fields],
    },
    Model {
        name: "sleep",
        run: sleep,
        bounds: [3, 2, 1],
        twins: &[
            Twin::sleeps_without_checking,
            Twin::flag_set_plainly,
            Twin::flag_read_plainly,
            Twin::flag_cleared_by_store,
            Twin::flag_cleared_by_load_and_store,
            Twin::flag_of_a_constant,
        ],
    },
    Model {
        name: "channel",
        run: channel,
        bounds: [2, 2, 2],
        twins: &[Twin::waits_after_it_looked, Twin::last_sender_wakes_first],
    },
    Model {
        name: "channel_reused",
        run: channel_reused,
        bounds: [3, 2, 2],
        twins: &[Twin::head_moves_before_the_copy, Twin::room_does_not_look_again],
    },
    Model {
        name: "channel_failed",
        run: channel_failed,
        bounds: [2, 2, 2],
        twins: &[Twin::fails_before_an_item_on_its_way, Twin::fail_wakes_first],
    },
    Model {
        name: "channel_failed_last",
        run: channel_failed_last,
        bounds: [4, 3, 2],
        twins: &[Twin::alone_read_after_tail],
    },
    Model {
        name: "channel_dropped",
        run: channel_dropped,
        bounds: [3, 2, 2],
        twins: &[
            Twin::destroy_without_comparing,
            Twin::sender_ignores_gone,
            Twin::rx_read_before_the_stamp,
        ],
    },
    Model {
        name: "channel_room",
        run: channel_room,
        bounds: [3, 3, 2],
        twins: &[Twin::room_counted_after_the_check, Twin::room_does_not_look_again],
    },
    Model { name: "channel_handed", run: channel_handed, bounds: [4, 2, 2], twins: &[] },
    Model {
        name: "channel_rooms",
        run: channel_rooms,
        bounds: [2, 2, 2],
        twins: &[Twin::woken_room_passes_nothing_on],
    },
    Model { name: "channel_room_made", run: channel_room_made, bounds: [2, 2, 2], twins: &[] },
    Model {
        name: "channel_room_woken",
        run: channel_room_woken,
        bounds: [3, 3, OFF],
        twins: &[Twin::room_woken_by_load_and_store],
    },
    Model {
        name: "channel_room_for_two",
        run: channel_room_for_two,
        bounds: [3, 2, OFF],
        twins: &[
            Twin::room_that_does_not_fit_passes_nothing_on,
            Twin::wakes_a_room_that_does_not_fit,
        ],
    },
    Model { name: "stopped_1", run: stopped::<1>, bounds: [3, 2, OFF], twins: &[] },
    Model { name: "stopped_2", run: stopped::<2>, bounds: [3, 2, OFF], twins: &[] },
    Model { name: "stopped_3", run: stopped::<3>, bounds: [3, 2, OFF], twins: &[] },
    Model {
        name: "stopped_4",
        run: stopped::<4>,
        bounds: [3, 2, OFF],
        twins: &[Twin::flag_cleared_before_the_write],
    },
    Model {
        name: "spin",
        run: spin,
        bounds: [3, 2, OFF],
        twins: &[
            Twin::spin_leaves_by_a_store,
            Twin::spin_takes_by_load_and_store,
            Twin::spin_sleeps_in_loop,
            Twin::spin_from_any,
        ],
    },
    Model {
        name: "spin_poll",
        run: spin_poll,
        bounds: [2, 2, OFF],
        twins: &[Twin::spin_leaves_by_a_store, Twin::spin_sleeps_in_loop],
    },
    Model {
        name: "asleep",
        run: asleep,
        bounds: [2, 2, OFF],
        twins: &[Twin::asleep_sets_plainly, Twin::asleep_keeps_the_number],
    },
    Model {
        name: "list",
        run: list,
        bounds: [3, 2, 2],
        twins: &[Twin::idle_before_unlink, Twin::wake_only_reads, Twin::poll_clears_queued],
    },
    Model {
        name: "list_and_sleep",
        run: list_and_sleep,
        bounds: [2, 2, 1],
        twins: &[Twin::wake_only_reads, Twin::touches_after_push],
    },
    Model {
        name: "close",
        run: close,
        bounds: [4, 2, 2],
        twins: &[Twin::idle_without_second_check, Twin::close_leaves_queued],
    },
    Model {
        name: "sink_drop",
        run: sink_drop,
        bounds: [3, 2, 2],
        twins: &[
            Twin::drop_without_mark,
            Twin::drop_takes_by_load_and_store,
            Twin::push_without_sink_ref,
        ],
    },
    Model {
        name: "closed_asleep",
        run: closed_asleep,
        bounds: [3, 2, 2],
        twins: &[Twin::use_checks_then_counts],
    },
    Model {
        name: "closed_by_one",
        run: closed_by_one,
        bounds: [4, 3, OFF],
        twins: &[Twin::refused_uses_are_counted, Twin::closes_by_load_and_store],
    },
    Model { name: "last", run: last, bounds: [ALL, 3, 2], twins: &[Twin::last_drop_not_reported] },
    Model {
        name: "retire",
        run: retire,
        bounds: [3, 2, 2],
        twins: &[
            Twin::retires_regardless,
            Twin::last_drop_falls_through,
            Twin::wake_from_idle_only,
        ],
    },
    Model {
        name: "last_close",
        run: last_close,
        bounds: [4, 2, 2],
        twins: &[Twin::late_last_ignored],
    },
    Model {
        name: "poll_loop",
        run: poll_loop,
        bounds: [3, 2, 1],
        twins: &[
            Twin::loop_does_not_report,
            Twin::loop_takes_by_load_and_store,
            Twin::loop_leaves_by_store,
            Twin::wake_from_idle_only,
            Twin::wake_only_reads,
        ],
    },
    Model {
        name: "poll_loop_close",
        run: poll_loop_close,
        bounds: [3, 2, 2],
        twins: &[Twin::idle_without_second_check],
    },
    Model {
        name: "poll_by_two",
        run: poll_by_two,
        bounds: [4, 2, 2],
        twins: &[Twin::loop_from_any],
    },
    Model {
        name: "born",
        run: born,
        bounds: [3, 2, 2],
        twins: &[Twin::born_always_freed, Twin::adopt_does_not_report],
    },
    Model {
        name: "hook",
        run: hook,
        bounds: [3, 2, 2],
        twins: &[
            Twin::hook_before_its_fields,
            Twin::hook_frees_older,
            Twin::a_wake_drops_the_hook,
            Twin::closes_by_load_and_store,
        ],
    },
    Model {
        name: "defer",
        run: defer,
        bounds: [ALL, 3, OFF],
        twins: &[Twin::deferred_taken_by_load_and_store, Twin::deferred_pushed_by_load_and_store],
    },
    Model {
        name: "task",
        run: task,
        bounds: [3, 2, OFF],
        twins: &[Twin::token_copied, Twin::parks_without_checking, Twin::wake_only_reads],
    },
    Model {
        name: "task_abort",
        run: task_abort,
        bounds: [3, 2, OFF],
        twins: &[Twin::parks_without_checking],
    },
    Model {
        name: "task_abort_asleep",
        run: task_abort_asleep,
        bounds: [ALL, ALL, OFF],
        twins: &[Twin::abort_without_wake],
    },
    Model {
        name: "task_join",
        run: task_join,
        bounds: [4, 2, OFF],
        twins: &[Twin::join_checks_first, Twin::done_before_result],
    },
    Model {
        name: "park_cancel",
        run: park_cancel,
        bounds: [ALL, 2, OFF],
        twins: &[Twin::cancel_leaves_the_token],
    },
];

/// Store buffering, under loom: with seq_cst, one of the two sees the other.
fn mapping() {
    let (x, y) = (keep(Word::new(0)), keep(Word::new(0)));
    let saw = keep(Counter::new(1));
    let order = if broken(Twin::no_fence) { ACQ_REL } else { SEQ_CST };
    let t = go(move || {
        x.store(1, order);
        saw.fetch_add(y.load(order), Relaxed);
    });
    y.store(1, order);
    let mine = x.load(order);
    join([t]);
    assert!(saw.load(Relaxed) + mine > 1, "property: neither saw the other");
}

/// One waker, a plain payload, exactly two polls.
fn parker() {
    let p = Parker::new();
    let payload = keep(Mem::new(0));
    let w = Waker::Parker(p).clone_ref();
    let t = go(move || {
        payload.set(1);
        w.wake();
    });
    let mut first = true;
    let polls = rawwaker_block_on(p, |_| {
        if std::mem::replace(&mut first, false) {
            return false;
        }
        payload.get() == 1
    });
    join([t]);
    assert!(polls == 2, "property: one poll before the wake and one after");
    assert!(p.head.is_freed(), "property: freed with the last reference");
}

/// Two wakers, three wakes: one may find NOTIFIED, and publishes nevertheless.
fn parker_of_two() {
    let p = Parker::new();
    let flags = Flags::new(3);
    let (a, b) = (Waker::Parker(p).clone_ref(), Waker::Parker(p).clone_ref());
    let threads = [
        go(move || {
            flags.set(0);
            a.wake_by_ref();
            flags.set(1);
            a.wake();
        }),
        go(move || {
            flags.set(2);
            b.wake();
        }),
    ];
    let polls = rawwaker_block_on(p, |_| flags.all_set());
    join(threads);
    assert!(polls <= 4, "property: one poll for each wake at most");
    assert!(p.head.is_freed(), "property: freed with the last reference");
}

/// Register, then test; set, then wake. Two threads wake, one waits.
fn cell() {
    let c = Cell::new();
    let p = Parker::new();
    let flags = Flags::new(2);
    let threads = [0, 1].map(|i| {
        go(move || {
            if broken(Twin::wakes_before_it_sets) {
                rawwaker_cell_wake(c);
                flags.set(i);
                return;
            }
            flags.set(i);
            rawwaker_cell_wake(c);
        })
    });
    rawwaker_block_on(p, |w| {
        if broken(Twin::tests_before_it_registers) {
            let ready = flags.all_set();
            rawwaker_cell_register(c, w);
            return ready;
        }
        rawwaker_cell_register(c, w);
        flags.all_set()
    });
    rawwaker_cell_drop(c);
    join(threads);
    assert!(p.head.is_freed(), "property: the cell's references are given up once");
}

/// One thread registers once, and after the wake reads the flag without the cell: the wake alone
/// makes it visible.
fn cell_once() {
    let c = Cell::new();
    let p = Parker::new();
    let flags = Flags::new(1);
    let wakes = go(move || {
        flags.set(0);
        rawwaker_cell_wake(c);
    });
    let mut first = true;
    let polls = rawwaker_block_on(p, |w| {
        if std::mem::replace(&mut first, false) {
            rawwaker_cell_register(c, w);
        }
        flags.all_set()
    });
    join([wakes]);
    rawwaker_cell_drop(c);
    assert!(polls <= 2, "property: one poll for the wake at most");
    assert!(p.head.is_freed(), "property: the cell's references are given up once");
}

/// Two threads register the waker of one task, as after it has moved; a third sets the flag and
/// wakes.
fn cell_of_two() {
    let c = Cell::new();
    let p = Parker::new();
    let flags = Flags::new(1);
    let mine = Waker::Parker(p).clone_ref();
    let threads = [
        go(move || {
            flags.set(0);
            rawwaker_cell_wake(c);
        }),
        go(move || {
            rawwaker_cell_register(c, mine);
            mine.drop_ref();
        }),
    ];
    rawwaker_block_on(p, |w| {
        rawwaker_cell_register(c, w);
        flags.all_set()
    });
    join(threads);
    rawwaker_cell_drop(c);
    assert!(p.head.is_freed(), "property: the cell's references are given up once");
}

/// Receives until the end, with polls after wakes only. Returns the items and the end.
fn receive_all(c: &'static Channel) -> (Vec<usize>, Next) {
    let p = Parker::new();
    let (mut items, mut end) = (vec![], Next::Pending);
    rawwaker_block_on(p, |w| loop {
        match channel_poll_next(c, w) {
            Next::Item(item) => items.push(item),
            Next::Pending => return false,
            other => {
                end = other;
                return true;
            }
        }
    });
    channel_drop(c);
    (items, end)
}

fn received(c: &'static Channel, sent: usize, end: Next) {
    let (items, got) = receive_all(c);
    assert!(got == end, "property: the end is as the senders': {got:?}");
    let sum: usize = items.iter().sum();
    assert!(sum == sent, "property: the end comes after all items: {items:?}");
}

/// Two senders, an item each, and a receiver that sleeps.
fn channel() {
    let c = rawwaker_channel_new(2, 2);
    let threads = [1, 2].map(|item| {
        go(move || {
            assert!(rawwaker_sender_try_send(c, item) == Sent::Sent, "property: there is room");
            rawwaker_sender_drop(c);
        })
    });
    received(c, 3, Next::Done);
    join(threads);
    assert!(c.is_freed(), "property: freed with the last reference");
}

/// Sends an item, and awaits rooms as long as there is none.
fn send_in_a_room(c: &'static Channel, item: usize) {
    while rawwaker_sender_try_send(c, item) == Sent::Full {
        let r = rawwaker_sender_room(c);
        rawwaker_block_on(Parker::new(), |w| room_poll(r, w));
        room_drop(r);
    }
}

/// One sender, one place, and two items.
fn channel_reused() {
    let c = rawwaker_channel_new(1, 1);
    let sends = go(move || {
        send_in_a_room(c, 1);
        send_in_a_room(c, 2);
        rawwaker_sender_drop(c);
    });
    received(c, 3, Next::Done);
    join([sends]);
    assert!(c.is_freed(), "property: freed with the last reference");
}

/// A sender fails while another one sends. That one ends when the stream has.
fn channel_failed() {
    let c = rawwaker_channel_new(2, 2);
    let sent = keep(Counter::new(0));
    let threads = [
        go(move || {
            if rawwaker_sender_try_send(c, 1) == Sent::Sent {
                sent.fetch_add(1, Relaxed);
            }
        }),
        go(move || rawwaker_sender_fail(c, 7)),
    ];
    let (items, end) = receive_all(c);
    join(threads);
    assert!(end == Next::Panicked(7), "property: the end is the failure: {end:?}");
    let all = items.len() + c.destroyed.load(Relaxed);
    assert!(c.destroyed.load(Relaxed) == 0, "property: an item comes before the failure");
    assert!(all == sent.load(Relaxed), "property: each item once");
    rawwaker_sender_drop(c);
    assert!(c.is_freed(), "property: freed with the last reference");
}

/// The only sender fails: the end is not DONE.
fn channel_failed_last() {
    let c = rawwaker_channel_new(1, 1);
    let fails = go(move || rawwaker_sender_fail(c, 7));
    received(c, 0, Next::Panicked(7));
    join([fails]);
    assert!(c.is_freed(), "property: freed with the last reference");
}

/// Two senders, and the stream is dropped beside them.
fn channel_dropped() {
    let c = rawwaker_channel_new(2, 2);
    let sent = keep(Counter::new(0));
    let threads = [1, 2].map(|item| {
        go(move || {
            if rawwaker_sender_try_send(c, item) == Sent::Sent {
                sent.fetch_add(1, Relaxed);
            }
            rawwaker_sender_drop(c);
        })
    });
    channel_drop(c);
    join(threads);
    let destroyed = c.destroyed.load(Relaxed);
    assert!(destroyed == sent.load(Relaxed), "property: each item is destroyed once");
    assert!(c.is_freed(), "property: freed with the last reference");
}

/// A place that one sender has seen to be free is used by another.
fn channel_handed() {
    let c = rawwaker_channel_new(1, 2);
    assert!(rawwaker_sender_try_send(c, 1) == Sent::Sent, "property: there is room");
    let threads = [2, 3].map(|item| {
        go(move || {
            rawwaker_sender_try_send(c, item);
            rawwaker_sender_drop(c);
        })
    });
    let p = Parker::new();
    let got = channel_poll_next(c, Waker::Parker(p));
    assert!(got == Next::Item(1), "property: the item is there");
    join(threads);
    channel_drop(c);
    parker_drop(p);
    assert!(c.is_freed() && p.head.is_freed(), "property: freed with the last reference");
}

/// A full channel, whose receiver takes one item, and a room.
fn channel_room() {
    let c = rawwaker_channel_new(1, 1);
    assert!(rawwaker_sender_try_send(c, 1) == Sent::Sent, "property: there is room");
    let sends = go(move || {
        send_in_a_room(c, 2);
        rawwaker_sender_drop(c);
    });
    received(c, 3, Next::Done);
    join([sends]);
    assert!(c.is_freed(), "property: freed with the last reference");
}

/// A full channel and two rooms. The newer one, which is woken first, is dropped.
fn channel_rooms() {
    let c = rawwaker_channel_new(1, 1);
    assert!(rawwaker_sender_try_send(c, 1) == Sent::Sent, "property: there is room");
    let (waits, given_up) = (rawwaker_sender_room(c), rawwaker_sender_room(c));
    let p = Parker::new();
    assert!(!room_poll(given_up, Waker::Parker(p)), "property: it is full");
    let threads = [
        go(move || {
            rawwaker_block_on(Parker::new(), |w| room_poll(waits, w));
            room_drop(waits);
            let sent = rawwaker_sender_try_send(c, 2);
            assert!(sent == Sent::Sent, "property: there is room after READY");
            rawwaker_sender_drop(c);
        }),
        go(move || {
            room_drop(given_up);
            parker_drop(p);
        }),
    ];
    received(c, 3, Next::Done);
    join(threads);
    assert!(c.is_freed() && p.head.is_freed(), "property: freed with the last reference");
}

/// A room is made while another one is dropped that was woken.
fn channel_room_made() {
    let c = rawwaker_channel_new(1, 1);
    assert!(rawwaker_sender_try_send(c, 1) == Sent::Sent, "property: there is room");
    let given_up = rawwaker_sender_room(c);
    let p = Parker::new();
    assert!(!room_poll(given_up, Waker::Parker(p)), "property: it is full");
    let threads = [
        go(move || {
            send_in_a_room(c, 2);
            rawwaker_sender_drop(c);
        }),
        go(move || {
            room_drop(given_up);
            parker_drop(p);
        }),
    ];
    received(c, 3, Next::Done);
    join(threads);
    assert!(c.is_freed() && p.head.is_freed(), "property: freed with the last reference");
}

/// Two threads wake a room: the receiver, and a failure.
fn channel_room_woken() {
    let c = rawwaker_channel_new(1, 2);
    assert!(rawwaker_sender_try_send(c, 1) == Sent::Sent, "property: there is room");
    let room = rawwaker_sender_room(c);
    let p = Parker::new();
    assert!(!room_poll(room, Waker::Parker(p)), "property: it is full");
    let fails = go(move || rawwaker_sender_fail(c, 7));
    received(c, 1, Next::Panicked(7));
    join([fails]);
    room_drop(room);
    parker_drop(p);
    rawwaker_sender_drop(c);
    assert!(c.is_freed() && p.head.is_freed(), "property: freed with the last reference");
}

/// A room for two places is polled while two places become free and one of them is used. A room for
/// one place waits beside it, and is woken in any case.
fn channel_room_for_two() {
    let c = rawwaker_channel_new(2, 1);
    for item in [1, 2] {
        assert!(rawwaker_sender_try_send(c, item) == Sent::Sent, "property: there is room");
    }
    let last = rawwaker_sender_room(c);
    let both = rawwaker_sender_room_for(c, 2);
    let first = rawwaker_sender_room(c);
    let (p, theirs) = (Parker::new(), Parker::new());
    let (w, other) = (Waker::Parker(p), Waker::Parker(theirs));
    assert!(!room_poll(last, w), "property: it is full");
    assert!(!room_poll(both, other), "property: it is full");
    assert!(!room_poll(first, Waker::Parker(theirs)), "property: it is full");
    let polls = go(move || {
        room_poll(both, Waker::Parker(theirs));
        room_drop(both);
    });
    let receive = |item| {
        let got = channel_poll_next(c, Waker::Parker(theirs));
        assert!(got == Next::Item(item), "property: the items come in order: {got:?}");
    };
    receive(1);
    assert!(room_poll(first, Waker::Parker(theirs)), "property: it is woken first, and fits");
    room_drop(first);
    receive(2);
    assert!(rawwaker_sender_try_send(c, 3) == Sent::Sent, "property: there is room after READY");
    parker_park(p);
    assert!(room_poll(last, Waker::Parker(p)), "property: there is room after the wake");
    room_drop(last);
    join([polls]);
    rawwaker_sender_drop(c);
    channel_drop(c);
    parker_drop(p);
    parker_drop(theirs);
    assert!(c.is_freed() && p.head.is_freed(), "property: freed with the last reference");
    assert!(theirs.head.is_freed(), "property: freed with the last reference");
}

/// Reads all that is listed.
fn drain(s: &Sink, mut each: impl FnMut(Notice)) {
    let mut list = rawwaker_sink_take(s);
    while let Some(n) = rawwaker_box_read(&mut list) {
        each(n);
    }
}

/// A host: drains, polls what was woken, sleeps, until poll returns that all is done. Returns the
/// number of polls.
fn host(s: &Sink, mut poll: impl FnMut(usize) -> bool) -> usize {
    let (mut polls, mut done) = (0, false);
    loop {
        drain(s, |n| {
            if n.woken {
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

/// A host that sleeps against two producers, each with its own box, on a sink that is never freed:
/// no steps but those of the flag and the list.
fn sleep() {
    let s = rawwaker_sink_new(true);
    let flags = Flags::new(2);
    let boxes = [0, 1].map(|i| rawwaker_box_new(s, i, false));
    let threads = [0, 1].map(|i| {
        let w = rawwaker_box_ref(boxes[i]);
        go(move || {
            flags.set(i);
            w.wake();
        })
    });
    let mut seen = [false; 2];
    let polls = host(s, |id| {
        assert!(
            flags.is_set(id),
            "property: the poll after a wake sees what was written before it"
        );
        seen[id] = true;
        seen == [true; 2]
    });
    join(threads);
    assert!(polls == 2, "property: one poll for each wake");
    for b in boxes {
        rawwaker_box_close(b);
        assert!(b.head.is_freed(), "property: freed with the last reference");
    }
}

/// The same, but one of the two threads stops permanently after STEPS steps of its wake. The
/// other's wake is delivered.
fn stopped<const STEPS: usize>() {
    let s = rawwaker_sink_new(true);
    let flags = Flags::new(2);
    let boxes = [0, 1].map(|i| rawwaker_box_new(s, i, false));
    let threads = [0, 1].map(|i| {
        let w = rawwaker_box_ref(boxes[i]);
        go(move || {
            if i == 0 {
                stop_after(STEPS);
            }
            flags.set(i);
            w.wake();
        })
    });
    host(s, |id| {
        assert!(
            flags.is_set(id),
            "property: the poll after a wake sees what was written before it"
        );
        id == 1
    });
    join(threads);
}

/// A Go BlockOn that spins (Parker.spin) on its own box in LOOP. It stays in LOOP during the poll
/// after a spin that was woken, and parks if no wake has come. The dispatcher, which sleeps on the
/// sink, delivers what the spinner has not found. A second box ends the dispatcher.
fn spin() {
    block_on_that_spins(|flags, _, _| flags.all_set());
}

/// The same with polls of a C future under its box: they do not change LOOP, or loop themselves.
fn spin_poll() {
    block_on_that_spins(|flags, s, spinner| {
        let (ready, woken) = rawwaker_box_poll(s, &mut Some(spinner.b), 2, |_| flags.all_set());
        if woken {
            spinner.p.wake();
        }
        ready
    });
}

fn block_on_that_spins(poll: impl Fn(&Flags, &'static Sink, &go::Spinner) -> bool) {
    let s = rawwaker_sink_new(true);
    let [b, last] = [0, 1].map(|i| rawwaker_box_new(s, i, false));
    let flags = Flags::new(2);
    let p = go::Parker::new();
    let [v, w] = [b, last].map(rawwaker_box_ref);
    let wakes = go(move || {
        flags.set(0);
        v.wake_by_ref();
        flags.set(1);
        v.wake();
        w.wake();
    });
    let dispatcher = go(move || {
        host(s, |id| {
            if id == 0 {
                p.wake();
            }
            id == 1
        });
    });
    let mut spinner = go::Spinner::new(p, b);
    let mut parks = 0;
    while !poll(flags, s, &spinner) {
        parks += 1;
        spinner.park();
    }
    rawwaker_box_close(b); // Core.End
    join([wakes, dispatcher]);
    assert!(parks <= 2 + 1, "property: one poll for each wake, and for each that a C poll reports");
    rawwaker_box_close(last);
    assert!(b.head.is_freed() && last.head.is_freed(), "property: freed with the last reference");
}

/// A host sets a hook while it sleeps and two wakes are under way. Then it gives its sleep a new
/// number and checks once more (Inbox.Asleep). A wake that has not found the hook ends no sleep
/// that the hook is to end.
fn asleep() {
    let s = rawwaker_sink_new(true);
    let boxes = [0, 1].map(|i| rawwaker_box_new(s, i, false));
    let threads = boxes.map(|b| {
        let w = rawwaker_box_ref(b);
        go(move || w.wake())
    });
    let p = Parker::new();
    let (mut polls, mut hooked) = (0, false);
    loop {
        drain(s, |_| polls += 1);
        if polls == boxes.len() {
            break;
        }
        if !rawwaker_sink_sleep(s) {
            continue;
        }
        if !std::mem::replace(&mut hooked, true) {
            rawwaker_sink_on_wake(s, Waker::Parker(p).clone_ref());
            let next = s.sleeps.fetch_add(1, Relaxed) + 1;
            if !go::asleep(&s.sleeping, next, || s.head.load(ACQUIRE) == 0) {
                continue;
            }
        }
        parker_park(p); // until the hook is called
    }
    join(threads);
    for b in boxes {
        rawwaker_box_close(b);
        assert!(b.head.is_freed(), "property: freed with the last reference");
    }
}

/// Two producers wake one box. The drainer never sleeps: it takes twice, and once more at the end.
fn list() {
    let s = rawwaker_sink_new(false);
    let b = rawwaker_box_new(s, 7, false);
    let flags = Flags::new(3);
    let (v, w) = (rawwaker_box_ref(b), rawwaker_box_ref(b));
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
            n.id == 7 && n.woken,
            "property: a notice has the box's number, and reports the wake"
        );
        polls += 1;
        seen = flags.all_set();
        if broken(Twin::poll_clears_queued) {
            b.queued.exchange(0, ACQ_REL);
        }
    };
    drain(s, &mut poll);
    drain(s, &mut poll);
    join(threads);
    drain(s, &mut poll);
    assert!(seen, "property: the poll after a wake sees what was written before it");
    assert!(polls <= 3, "property: one poll for each wake at most");
    rawwaker_box_close(b);
    rawwaker_sink_drop(s);
    assert!(b.head.is_freed() && s.is_freed(), "property: freed with the last reference");
}

/// The same with a host that sleeps, closes the box, perhaps while the producers push, and drops
/// the sink.
fn list_and_sleep() {
    let s = rawwaker_sink_new(false);
    let b = rawwaker_box_new(s, 7, false);
    let flags = Flags::new(2);
    let (v, w) = (rawwaker_box_ref(b), rawwaker_box_ref(b));
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
    assert!(b.head.is_freed() && s.is_freed(), "property: freed with the last reference");
}

/// A wake, the drainer, and close, each on its own thread.
fn close() {
    let s = rawwaker_sink_new(false);
    let b = rawwaker_box_new(s, 7, false);
    let (v, w) = (rawwaker_box_ref(b), rawwaker_box_ref(b));
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
    assert!(b.queued.load(RELAXED) == WOKEN, "property: a closed box stays WOKEN");
    w.wake_by_ref();
    assert!(s.head.load(RELAXED) == 0, "property: no wake lists a closed box");
    w.drop_ref();
    rawwaker_sink_drop(s);
    assert!(b.head.is_freed() && s.is_freed(), "property: freed with the last reference");
}

/// The sink's owner drops it, and two wakes come late.
fn sink_drop() {
    let s = rawwaker_sink_new(false);
    let boxes = [0, 1].map(|i| rawwaker_box_new(s, i, false));
    let threads = boxes.map(|b| {
        let w = rawwaker_box_ref(b);
        go(move || w.wake())
    });
    for b in boxes {
        rawwaker_box_close(b);
    }
    rawwaker_sink_drop(s);
    join(threads);
    assert!(
        boxes.iter().all(|b| b.head.is_freed()) && s.is_freed(),
        "property: freed with the last reference"
    );
}

/// Two wakes find a sleeper, and its owner drops the sink meanwhile: nothing is written to a closed
/// descriptor, which is closed once.
fn closed_asleep() {
    closed_by(&[0, 1]);
}

fn closed_by_one() {
    closed_by(&[0]);
}

fn closed_by(ids: &[usize]) {
    let s = rawwaker_sink_new(false);
    let boxes: Vec<_> = ids.iter().map(|i| rawwaker_box_new(s, *i, false)).collect();
    assert!(rawwaker_sink_sleep(s), "property: nothing is listed yet");
    let threads: Vec<_> = boxes
        .iter()
        .map(|b| {
            let w = rawwaker_box_ref(b);
            go(move || w.wake())
        })
        .collect();
    for b in &boxes {
        rawwaker_box_close(b);
    }
    rawwaker_sink_drop(s);
    join(threads);
    assert!(s.descriptor.is_closed(), "property: the descriptor is closed after the last write");
    assert!(
        boxes.iter().all(|b| b.head.is_freed()) && s.is_freed(),
        "property: freed with the last reference"
    );
}

/// A box that tells: of its two references one is woken and one dropped. The wake must be reported,
/// and the last drop too, once.
fn last() {
    let s = rawwaker_sink_new(false);
    let b = rawwaker_box_new(s, 7, true);
    let flags = Flags::new(1);
    let (v, w) = (rawwaker_box_ref(b), rawwaker_box_ref(b));
    let threads = [
        go(move || {
            flags.set(0);
            v.wake();
        }),
        go(move || w.drop_ref()),
    ];
    let (mut seen, mut retired) = (false, 0);
    let mut poll = |n: Notice| {
        if n.woken {
            seen = flags.all_set();
        }
        if n.last && rawwaker_box_retire(b) {
            retired += 1;
        }
    };
    drain(s, &mut poll);
    join(threads);
    drain(s, &mut poll);
    assert!(seen, "property: the poll after a wake sees what was written before it");
    assert!(retired == 1, "property: the last drop is reported, once");
    rawwaker_sink_drop(s);
    assert!(b.head.is_freed() && s.is_freed(), "property: freed when it is retired");
}

/// The last drop of a box that tells, and close, under the lock that excludes retire. A last notice
/// that comes late is answered nevertheless.
fn last_close() {
    let s = rawwaker_sink_new(false);
    let b = rawwaker_box_new(s, 7, true);
    let w = rawwaker_box_ref(b);
    let held = keep(Lock(Mutex::new(true)));
    let drops = go(move || w.drop_ref());
    let drains = go(move || {
        drain(s, |n| {
            let mut held = held.0.lock().unwrap();
            if n.last && (*held || !broken(Twin::late_last_ignored)) && rawwaker_box_retire(b) {
                *held = false;
            }
        })
    });
    let mut there = held.0.lock().unwrap();
    if std::mem::replace(&mut *there, false) {
        rawwaker_box_close(b);
    }
    drop(there);
    join([drops, drains]);
    rawwaker_sink_drop(s);
    assert!(b.head.is_freed() && s.is_freed(), "property: freed with the last reference");
}

/// C's last drop, against a new reference that the runtime gives out under the lock that excludes
/// retire.
fn retire() {
    let s = rawwaker_sink_new(false);
    let b = rawwaker_box_new(s, 7, true);
    let flags = Flags::new(1);
    let registered = keep(Lock(Mutex::new(true)));
    let w = rawwaker_box_ref(b);
    let threads = [
        go(move || w.drop_ref()),
        go(move || {
            let there = registered.0.lock().unwrap();
            let w = there.then(|| rawwaker_box_ref(b));
            drop(there);
            if let Some(w) = w {
                flags.set(0);
                w.wake();
            }
        }),
    ];
    let (mut retired, mut seen) = (0, false);
    let mut poll = |n: Notice| {
        if n.woken {
            seen = flags.is_set(0);
            assert!(
                seen,
                "property: the poll after a wake sees what was written before it; a drop is no wake"
            );
        }
        if !n.last {
            return;
        }
        let mut there = registered.0.lock().unwrap();
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
    assert!(b.head.is_freed() && s.is_freed(), "property: freed when it is retired");
}

/// loom's lock, for what the runtime must exclude.
struct Lock(Mutex<bool>);

/// Two futures of one task share the waker. The first is polled under the box, the second once for
/// each poll of the task. Each waits for a flag that another thread sets.
fn poll_loop() {
    let s = rawwaker_sink_new(false);
    let mut b = Some(rawwaker_box_new(s, 7, false));
    let flags = Flags::new(2);
    let threads = [0, 1].map(|i| {
        let w = rawwaker_box_ref(b.unwrap());
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
            (first, woken) = rawwaker_box_poll(s, &mut b, 2, |_| flags.is_set(0));
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
    rawwaker_box_close(b.unwrap());
    rawwaker_sink_drop(s);
    assert!(b.unwrap().head.is_freed() && s.is_freed(), "property: freed with the last reference");
}

/// The loop, a wake, and close on a third thread. The polling thread has a reference of its own.
fn poll_loop_close() {
    let s = rawwaker_sink_new(false);
    let mut b = Some(rawwaker_box_new(s, 7, false));
    let mine = rawwaker_box_ref(b.unwrap());
    let w = rawwaker_box_ref(b.unwrap());
    let closed = b.unwrap();
    let threads = [go(move || w.wake()), go(move || rawwaker_box_close(closed))];
    rawwaker_box_poll(s, &mut b, 2, |_| false);
    drain(s, |_| {});
    join(threads);
    drain(s, |_| {});
    assert!(closed.queued.load(RELAXED) == WOKEN, "property: a closed box stays WOKEN");
    mine.wake_by_ref();
    assert!(s.head.load(RELAXED) == 0, "property: no wake lists a closed box");
    mine.drop_ref();
    rawwaker_sink_drop(s);
    assert!(closed.head.is_freed() && s.is_freed(), "property: freed with the last reference");
}

/// Two threads poll two futures under one box, and a third wakes it. To a future that has not seen
/// the flag the wake is reported: by its own poll, by the other's, or by a notice.
fn poll_by_two() {
    let s = rawwaker_sink_new(false);
    let b = rawwaker_box_new(s, 7, false);
    let flags = Flags::new(1);
    let (reported, blind) = (keep(Counter::new(0)), keep(Counter::new(0)));
    let poll = move || {
        let (ready, woken) = rawwaker_box_poll(s, &mut Some(b), 2, |_| flags.is_set(0));
        reported.fetch_add(usize::from(woken), Relaxed);
        blind.fetch_add(usize::from(!ready), Relaxed);
    };
    let w = rawwaker_box_ref(b);
    let threads = [
        go(move || {
            flags.set(0);
            w.wake();
        }),
        go(poll),
    ];
    poll();
    join(threads);
    let mut notices = 0;
    drain(s, |n| notices += usize::from(n.woken));
    let reported = reported.load(Relaxed) + notices;
    assert!(
        reported > 0 || blind.load(Relaxed) == 0,
        "property: a wake is reported to a future that has not seen its flag"
    );
    assert!(notices <= 1, "property: a wake lists the box once");
    rawwaker_box_close(b);
    rawwaker_sink_drop(s);
    assert!(b.head.is_freed() && s.is_freed(), "property: freed with the last reference");
}

/// The first poll of a task, under a box that is made for it. The future gives its waker to two
/// threads: one wakes it, one drops it.
fn born() {
    let s = rawwaker_sink_new(false);
    let mut b = None;
    let flags = Flags::new(1);
    let mut threads = Vec::new();
    let mut polls = 1;
    let (mut ready, mut woken) = rawwaker_box_poll(s, &mut b, 2, |w| {
        if threads.is_empty() {
            let (v, w) = (w.clone_ref(), w.clone_ref());
            threads.push(go(move || {
                flags.set(0);
                v.wake();
            }));
            threads.push(go(move || {
                if let Waker::Box(b) = w {
                    let id = rawwaker_box_id(b);
                    assert!(id == 0 || id == 7, "property: no number, or its own");
                }
                w.drop_ref();
            }));
        }
        flags.all_set()
    });
    if let Some(b) = b {
        woken |= rawwaker_box_adopt(b, 7);
    }
    if woken {
        polls += 1;
        ready = flags.all_set();
    }
    if !ready && b.is_some() {
        polls += host(s, |id| {
            assert!(id == 7, "property: a notice has the box's number");
            flags.all_set()
        });
        ready = true;
    }
    join(threads);
    assert!(ready, "property: the poll after a wake sees what was written before it");
    assert!(polls <= 2, "property: one poll for each wake at most");
    if let Some(b) = b {
        rawwaker_box_close(b);
    }
    rawwaker_sink_drop(s);
    assert!(s.is_freed(), "property: freed with the last reference");
}

/// A host that sleeps has set a hook, and another thread sets a second one, while a wake is under
/// way.
fn hook() {
    let s = rawwaker_sink_new(false);
    let b = rawwaker_box_new(s, 7, false);
    let p = Parker::new();
    rawwaker_sink_on_wake(s, Waker::Parker(p).clone_ref());
    let w = rawwaker_box_ref(b);
    let wakes = go(move || w.wake());
    let newer = Waker::Parker(p).clone_ref();
    let hooks = go(move || rawwaker_sink_on_wake(s, newer));
    let polls = host(s, |_| true);
    join([hooks]);
    rawwaker_box_close(b);
    rawwaker_sink_drop(s);
    rawwaker_sink_reap(s);
    join([wakes]);
    rawwaker_sink_reap(s);
    parker_drop(p);
    assert!(polls == 1, "property: one poll for the wake");
    assert!(b.head.is_freed() && s.is_freed(), "property: freed with the last reference");
    assert!(p.head.is_freed(), "property: every hook's waker is dropped with the sink, once");
}

/// A send, and a thread that blocks on the future.
fn oneshot() {
    let (o, p) = (rawwaker_oneshot_new(), Parker::new());
    let sends = go(move || {
        assert!(rawwaker_oneshot_send(o), "property: the future is there");
    });
    let polls = rawwaker_block_on(p, |w| oneshot_poll(o, w));
    oneshot_drop(o);
    join([sends]);
    assert!(polls <= 2, "property: one poll for the wake at most, and the first");
    assert!(o.is_freed() && p.head.is_freed(), "property: freed with the last reference");
}

/// The future moves to another task after its first poll.
fn oneshot_of_two() {
    let (o, first, second) = (rawwaker_oneshot_new(), Parker::new(), Parker::new());
    let sends = go(move || {
        assert!(rawwaker_oneshot_send(o), "property: the future is there");
    });
    if !oneshot_poll(o, Waker::Parker(first)) {
        rawwaker_block_on(second, |w| oneshot_poll(o, w));
    } else {
        parker_drop(second);
    }
    oneshot_drop(o);
    parker_drop(first);
    join([sends]);
    assert!(o.is_freed() && o.taken.load(Relaxed) == 1, "property: the value is taken, once");
    assert!(
        first.head.is_freed() && second.head.is_freed(),
        "property: each waker is woken or dropped, once"
    );
}

/// The future is dropped, after a poll or without one.
fn oneshot_drop_beside_send<const POLLED: bool>() {
    let (o, p) = (rawwaker_oneshot_new(), Parker::new());
    let sent = keep(Counter::new(0));
    let sends = go(move || {
        sent.fetch_add(rawwaker_oneshot_send(o) as usize, Relaxed);
    });
    if POLLED {
        oneshot_poll(o, Waker::Parker(p));
    }
    o.arg.set(1);
    oneshot_drop(o);
    join([sends]);
    parker_drop(p);
    let (taken, destroyed) = (o.taken.load(Relaxed), o.destroyed.load(Relaxed));
    assert!(taken + destroyed == 1, "property: the value is taken or destroyed, once");
    assert!(
        o.cancels.load(Relaxed) + sent.load(Relaxed) == 1,
        "property: either the drop cancels, or the send comes first"
    );
    assert!(o.is_freed() && p.head.is_freed(), "property: freed with the last reference");
}

/// A watcher is set while another thread makes a sender.
fn watched() {
    let w = watching();
    let sets = go(move || rawwaker_watch(w));
    assert!(rawwaker_watch_made(w).unwrap_or(7) == 7, "property: a watcher has its fields");
    join([sets]);
}

/// Two wakes each defer a hook, and a thread reaps meanwhile: each is dropped once.
fn defer() {
    let deferred = keep(Word::new(0));
    let p = Parker::new();
    let threads = [0, 1].map(|_| {
        let w = Waker::Parker(p).clone_ref();
        go(move || defer_one(deferred, w))
    });
    reap(deferred);
    join(threads);
    reap(deferred);
    parker_drop(p);
    assert!(p.head.is_freed(), "property: a hook that a wake defers is dropped, once");
}

/// A task of two workers, woken by two threads.
fn task() {
    let q = go::Queue::new();
    let flags = Flags::new(2);
    let t = go::Task::spawn(q);
    let ready = move || flags.all_set();
    let worker = go(move || q.work(ready));
    let wakers = [0, 1].map(|i| {
        go(move || {
            flags.set(i);
            t.wake();
        })
    });
    q.work(ready);
    join([worker]);
    join(wakers);
    assert!(t.is_done() && !t.err(), "property: ready is the outcome");
    assert!(t.polls() <= 3, "property: one poll for each wake at most, and the first");
}

/// Abort against a wake that makes the task ready.
fn task_abort() {
    let q = go::Queue::new();
    let flags = Flags::new(1);
    let t = go::Task::spawn(q);
    let wakes = go(move || {
        flags.set(0);
        t.wake();
    });
    let aborts = go(move || t.abort());
    let worker = go(move || q.work(move || flags.all_set()));
    join([wakes, aborts, worker]);
    assert!(t.is_done(), "property: it ends");
    assert!(t.err() || t.value() == 7, "property: a result, or an error");
    assert!(t.polls() <= 3, "property: one poll for each wake at most, and the first");
}

/// A task that nothing else ends.
fn task_abort_asleep() {
    let q = go::Queue::new();
    let t = go::Task::spawn(q);
    let aborts = go(move || t.abort());
    q.work(|| false);
    join([aborts]);
    assert!(t.is_done() && t.err(), "property: the error is the outcome");
    assert!(t.polls() <= 2, "property: one poll for each wake at most, and the first");
}

/// The task, and a thread that awaits its handle.
fn task_join() {
    let q = go::Queue::new();
    let flags = Flags::new(1);
    let t = go::Task::spawn(q);
    let p = go::Parker::new();
    let wakes = go(move || {
        flags.set(0);
        t.wake();
    });
    let worker = go(move || q.work(move || flags.all_set()));
    while !t.join(p) {
        p.park();
    }
    assert!(t.value() == 7 && !t.err(), "property: the handle sees the result");
    join([wakes, worker]);
}

/// Two wakes against a sleeper that is cancelled: no token is left for the next park.
fn park_cancel() {
    let p = go::Parker::new();
    let threads = [go(move || p.wake()), go(move || p.cancel())];
    p.park();
    join(threads);
    assert!(p.tokens_left() == 0, "property: no token is left in the channel");
}

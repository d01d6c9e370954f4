//! channel/rawwaker_channel.c, function by function, under the same names. The list of free rooms
//! is not modelled: each room is a new one.

use std::sync::atomic::{AtomicUsize as Counter, Ordering::Relaxed};

use crate::orders::*;
use crate::raw::*;
use crate::world::*;

const AWAKE: usize = 0;
const WAITING: usize = 1;
const GONE: usize = 2;

const IDLE: usize = 1;
const WAITS: usize = 2;
const WOKEN: usize = 3;
const FREE: usize = 0;

const SHUT: usize = 1;
const STEP: usize = 2;
const NULL: usize = 0;

pub struct Room {
    state: Word,
    cell: &'static Cell,
    places: Word,
    channel: &'static Channel,
    next: Mem<usize>,
}

struct Place {
    stamp: Word,
    item: Mem<usize>,
}

pub struct Channel {
    life: &'static Life,
    refs: Word,
    senders: Word,
    text: Word,
    reason: Mem<usize>,
    rooms: Word,
    turn: Word,
    tail: Word,
    head_seen: Word,
    head: Word,
    waiters: Word,
    rx: Word,
    cell: &'static Cell,
    ring: Vec<Place>,
    capacity: usize,
    pub destroyed: Counter,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sent {
    Sent,
    Full,
    Closed,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Next {
    Item(usize),
    Pending,
    Done,
    Panicked(usize),
}

/// A channel with so many senders.
pub fn rawwaker_channel_new(capacity: usize, senders: usize) -> &'static Channel {
    let life = keep(Life::new());
    let word = |v| Word::of(life, v);
    let places = capacity.next_power_of_two();
    keep(Channel {
        life,
        refs: word(2),
        senders: word(senders),
        text: word(NULL),
        reason: Mem::new(0),
        rooms: word(NULL),
        turn: word(NULL),
        tail: word(0),
        head_seen: word(0),
        head: word(0),
        waiters: word(0),
        rx: word(AWAKE),
        cell: Cell::new(),
        ring: (0..places).map(|_| Place { stamp: word(0), item: Mem::new(0) }).collect(),
        capacity,
        destroyed: Counter::new(0),
    })
}

impl Channel {
    fn place(&self, position: usize) -> &Place {
        &self.ring[position % self.ring.len()]
    }
    pub fn is_freed(&self) -> bool {
        self.life.has_ended()
    }
}

fn channel_unref(c: &Channel) {
    if c.refs.fetch_sub(1, CHANNEL_UNREF) == 1 {
        c.life.free();
    }
}

// ---- rooms

impl Room {
    // SAFETY: every address in rooms, turn and next is that of a Room that keep() keeps.
    fn at(address: usize) -> &'static Room {
        unsafe { &*(address as *const Room) }
    }
}

fn free_places(c: &Channel) -> usize {
    let head = c.head.load(CHANNEL_WAIT);
    let tail = c.tail.load(CHANNEL_WAIT);
    if tail & SHUT != 0 {
        return usize::MAX;
    }
    c.capacity.saturating_sub((tail / STEP).saturating_sub(head))
}

fn room_places(r: &Room) -> usize {
    r.places.load(RELAXED)
}

fn room_wake(c: &Channel, r: &Room) -> bool {
    if r.state.load(CHANNEL_WAIT) != WAITS {
        return false;
    }
    if !broken(Twin::wakes_a_room_that_does_not_fit)
        && room_places(r) > 1
        && free_places(c) < room_places(r)
    {
        return false;
    }
    if broken(Twin::room_woken_by_load_and_store) {
        r.state.store(WOKEN, CHANNEL_WAIT);
    } else if !r.state.compare_exchange(&mut { WAITS }, WOKEN, CHANNEL_WAIT) {
        return false;
    }
    let was = c.waiters.fetch_sub(1, CHANNEL_WAIT);
    assert!(was != 0, "property: a room is counted out once");
    rawwaker_cell_wake(r.cell);
    true
}

fn wake_one(c: &Channel) {
    if c.waiters.load(CHANNEL_TAKEN) == 0 {
        return;
    }
    let turn = c.turn.load(CHANNEL_LOOK);
    if !wake_first(c, turn, NULL) {
        wake_first(c, c.rooms.load(CHANNEL_LOOK), turn);
    }
}

fn wake_first(c: &Channel, mut at: usize, until: usize) -> bool {
    while at != until {
        let r = Room::at(at);
        if room_wake(c, r) {
            c.turn.store(r.next.get(), CHANNEL_SEEN);
            return true;
        }
        at = r.next.get();
    }
    false
}

fn wake_all(c: &Channel) {
    if c.waiters.load(CHANNEL_SHUT) == 0 {
        return;
    }
    let mut at = c.rooms.load(CHANNEL_LOOK);
    while at != NULL {
        let r = Room::at(at);
        room_wake(c, r);
        at = r.next.get();
    }
}

fn room_end(r: &Room, to: usize) -> bool {
    let was = r.state.exchange(to, CHANNEL_WAIT);
    if was == WAITS {
        r.channel.waiters.fetch_sub(1, CHANNEL_WAIT);
    }
    was == WOKEN
}

fn room_ready(r: &Room) -> bool {
    let places = free_places(r.channel);
    if places < room_places(r) {
        return false;
    }
    let woken = room_end(r, IDLE);
    if places > 1 || (woken && free_places(r.channel) > 1) {
        wake_one(r.channel);
    }
    true
}

pub fn room_poll(r: &Room, w: Waker) -> bool {
    if room_ready(r) {
        return true;
    }
    rawwaker_cell_register(r.cell, w);
    let late = broken(Twin::room_counted_after_the_check);
    if !late {
        r.channel.waiters.fetch_add(1, CHANNEL_WAIT);
    }
    let was = r.state.exchange(WAITS, CHANNEL_WAIT);
    if was == WAITS {
        r.channel.waiters.fetch_sub(1, CHANNEL_WAIT);
    }
    if broken(Twin::room_does_not_look_again) {
        return false;
    }
    let ready = room_ready(r);
    if late && !ready {
        r.channel.waiters.fetch_add(1, CHANNEL_WAIT);
    }
    let passes = was == WOKEN
        && !broken(Twin::room_that_does_not_fit_passes_nothing_on)
        && !broken(Twin::wakes_a_room_that_does_not_fit);
    if !ready && passes && free_places(r.channel) != 0 {
        wake_one(r.channel);
    }
    ready
}

pub fn room_drop(r: &Room) {
    rawwaker_cell_drop(r.cell);
    let woken = room_end(r, FREE);
    if woken && !broken(Twin::woken_room_passes_nothing_on) && free_places(r.channel) != 0 {
        wake_one(r.channel);
    }
    channel_unref(r.channel);
}

pub fn rawwaker_sender_room(c: &'static Channel) -> &'static Room {
    rawwaker_sender_room_for(c, 1)
}

pub fn rawwaker_sender_room_for(c: &'static Channel, places: usize) -> &'static Room {
    let first = c.rooms.load(CHANNEL_LOOK);
    let r = keep(Room {
        state: Word::of(c.life, IDLE),
        cell: Cell::new(),
        places: Word::of(c.life, 1),
        channel: c,
        next: Mem::new(first),
    });
    let (mut next, address) = (first, r as *const Room as usize);
    while !c.rooms.compare_exchange_or(&mut next, address, CHANNEL_LIST, CHANNEL_LOOK) {
        r.next.set(next);
    }
    r.places.store(places, RELAXED);
    c.refs.fetch_add(1, CHANNEL_REF);
    r
}

// ---- sending

fn wake_receiver(c: &Channel) {
    if c.rx.load(CHANNEL_SENT) == WAITING
        && c.rx.compare_exchange(&mut { WAITING }, AWAKE, CHANNEL_SENT)
    {
        rawwaker_cell_wake(c.cell);
    }
}

fn destroy_items(c: &Channel) {
    let mut head = c.head.load(CHANNEL_LOOK);
    loop {
        let p = c.place(head);
        if p.stamp.load(CHANNEL_RECEIVE) != head + 1 {
            return;
        }
        if broken(Twin::destroy_without_comparing) {
            c.head.store(head + 1, CHANNEL_CLAIM);
        } else {
            let next = head + 1;
            if !c.head.compare_exchange_or(&mut head, next, CHANNEL_CLAIM, CHANNEL_LOOK) {
                continue;
            }
        }
        assert!(p.item.get() != 0, "property: an item is there when it is destroyed");
        p.item.set(0); // destroy may write it
        c.destroyed.fetch_add(1, Relaxed);
        head += 1;
    }
}

pub fn rawwaker_sender_try_send(c: &Channel, item: usize) -> Sent {
    let mut tail = c.tail.load(CHANNEL_LOOK);
    loop {
        if tail & SHUT != 0 {
            return Sent::Closed;
        }
        let full = |head: usize| (tail / STEP).wrapping_sub(head) >= c.capacity;
        if full(c.head_seen.load(CHANNEL_LOOK)) {
            let head = c.head.load(CHANNEL_LOOK);
            c.head_seen.store(head, CHANNEL_SEEN);
            if full(head) {
                let now = c.tail.load(CHANNEL_LOOK);
                if now == tail {
                    return Sent::Full;
                }
                tail = now;
                continue;
            }
        }
        let next = tail + STEP;
        if c.tail.compare_exchange_or(&mut tail, next, CHANNEL_CLAIM, CHANNEL_LOOK) {
            break;
        }
    }
    let p = c.place(tail / STEP);
    p.item.set(item);
    let early = broken(Twin::rx_read_before_the_stamp).then(|| c.rx.load(CHANNEL_SENT));
    p.stamp.exchange(tail / STEP + 1, CHANNEL_SENT);
    match early.unwrap_or_else(|| c.rx.load(CHANNEL_SENT)) {
        WAITING => wake_receiver(c),
        GONE if !broken(Twin::sender_ignores_gone) => destroy_items(c),
        _ => {}
    }
    Sent::Sent
}

fn sender_end(c: &Channel) {
    if broken(Twin::last_sender_wakes_first) {
        wake_receiver(c);
    }
    if c.senders.fetch_sub(1, CHANNEL_SHUT) != 1 {
        return;
    }
    if !broken(Twin::last_sender_wakes_first) {
        wake_receiver(c);
    }
    channel_unref(c);
}

pub fn rawwaker_sender_drop(c: &Channel) {
    sender_end(c);
}

pub fn rawwaker_sender_fail(c: &Channel, reason: usize) {
    c.reason.set(reason); // the malloc'd text; one sender fails in these models
    c.text.compare_exchange(&mut { NULL }, 1, CHANNEL_SHUT);
    if broken(Twin::fail_wakes_first) {
        wake_receiver(c);
    }
    c.tail.fetch_or(SHUT, CHANNEL_SHUT);
    if !broken(Twin::fail_wakes_first) {
        wake_receiver(c);
    }
    wake_all(c);
    sender_end(c);
}

// ---- receiving

fn receive(c: &Channel) -> Option<usize> {
    let head = c.head.load(RELAXED);
    let p = c.place(head);
    if p.stamp.load(CHANNEL_RECEIVE) != head + 1 {
        return None;
    }
    let early = broken(Twin::head_moves_before_the_copy);
    if early {
        c.head.store(head + 1, CHANNEL_TAKEN);
    }
    let item = p.item.get();
    if !early {
        c.head.store(head + 1, CHANNEL_TAKEN);
    }
    wake_one(c);
    Some(item)
}

pub fn channel_poll_next(c: &Channel, w: Waker) -> Next {
    if let Some(item) = receive(c) {
        return Next::Item(item);
    }
    rawwaker_cell_register(c.cell, w);
    let late = broken(Twin::waits_after_it_looked);
    if !late {
        c.rx.store_among_exchanges(WAITING, CHANNEL_RECEIVE);
    }
    let alone = || c.senders.load(CHANNEL_RECEIVE) == 0;
    let tail = || c.tail.load(CHANNEL_RECEIVE);
    let (alone, tail) = if broken(Twin::alone_read_after_tail) {
        let tail = tail();
        (alone(), tail)
    } else {
        (alone(), tail())
    };
    if let Some(item) = receive(c) {
        c.rx.store_among_exchanges(AWAKE, CHANNEL_RECEIVE);
        return Next::Item(item);
    }
    let pending = || {
        if late {
            c.rx.store_among_exchanges(WAITING, CHANNEL_RECEIVE);
        }
        Next::Pending
    };
    if tail & SHUT == 0 {
        return if alone { Next::Done } else { pending() };
    }
    if !broken(Twin::fails_before_an_item_on_its_way) && tail / STEP != c.head.load(RELAXED) {
        return pending();
    }
    assert!(c.text.load(CHANNEL_LOOK) != NULL, "property: a failure has its text");
    Next::Panicked(c.reason.get())
}

pub fn channel_drop(c: &Channel) {
    c.tail.fetch_or(SHUT, CHANNEL_SHUT);
    c.rx.exchange(GONE, CHANNEL_RECEIVE);
    wake_all(c);
    rawwaker_cell_drop(c.cell);
    destroy_items(c);
    c.senders.load(ACQUIRE); // for cancel, which is not modelled
    channel_unref(c);
}

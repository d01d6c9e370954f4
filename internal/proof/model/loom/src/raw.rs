//! rawwaker.c, function by function, under the same names. Pointers in atomic words are addresses
//! of objects that [`keep`] keeps.

use std::sync::atomic::{AtomicUsize as Counter, Ordering::Relaxed};

use loom::thread;

use crate::orders::*;
use crate::world::*;

// ---- the verbs

#[derive(Clone, Copy)]
pub enum Waker {
    Parker(&'static Parker),
    Box(&'static RawBox),
}

impl Waker {
    pub fn will_wake(self, other: Waker) -> bool {
        match (self, other) {
            (Waker::Parker(a), Waker::Parker(b)) => std::ptr::eq(a, b),
            (Waker::Box(a), Waker::Box(b)) => std::ptr::eq(a, b),
            _ => false,
        }
    }
    pub fn clone_ref(self) -> Waker {
        match self {
            Waker::Parker(p) => counted_ref(&p.head, 1),
            Waker::Box(b) => counted_ref(&b.head, REF),
        }
        self
    }
    pub fn wake_by_ref(self) {
        match self {
            Waker::Parker(p) => parker_wake_by_ref(p),
            Waker::Box(b) => box_wake_by_ref(b),
        }
    }
    pub fn wake(self) {
        match self {
            Waker::Parker(p) => parker_wake(p),
            Waker::Box(b) => box_wake(b),
        }
    }
    pub fn drop_ref(self) {
        match self {
            Waker::Parker(p) => parker_drop(p),
            Waker::Box(b) => box_unref(b),
        }
    }
}

// ---- counted wakers

pub struct Counted {
    refs: Word,
    life: &'static Life,
}

impl Counted {
    fn new(refs: usize) -> Counted {
        let life = keep(Life::new());
        Counted { refs: Word::of(life, refs), life }
    }
    /// A word of the object whose head this is.
    fn word(&self, v: usize) -> Word {
        Word::of(self.life, v)
    }
    pub fn is_freed(&self) -> bool {
        self.life.has_ended()
    }
}

fn counted_ref(c: &Counted, n: usize) {
    let was = c.refs.fetch_add(n, ORD_REF);
    assert!(was != 0, "property: a reference was made from none");
}

fn counted_unref(c: &Counted) -> bool {
    let order = if broken(Twin::unref_relaxed) { RELAXED } else { ORD_UNREF };
    c.refs.fetch_sub(1, order) == 1
}

// ---- the parker

const EMPTY: usize = 0;
const NOTIFIED: usize = 1;
const PARKED: usize = 2;

pub struct Parker {
    pub head: Counted,
    state: Word,
    sleep: Semaphore,
}

impl Parker {
    pub fn new() -> &'static Parker {
        let head = Counted::new(1);
        let state = head.word(EMPTY);
        keep(Parker { head, state, sleep: Semaphore::new() })
    }
}

fn parker_wake_by_ref(p: &Parker) {
    if broken(Twin::wake_only_reads) && p.state.load(ACQUIRE) == NOTIFIED {
        return;
    }
    if p.state.exchange(NOTIFIED, ORD_NOTIFY) == PARKED {
        p.head.life.touch();
        p.sleep.post();
    }
}

pub fn parker_drop(p: &Parker) {
    if !counted_unref(&p.head) {
        return;
    }
    p.head.life.free(); // semaphore_fini, counted_free
}

fn parker_wake(p: &Parker) {
    parker_wake_by_ref(p);
    parker_drop(p);
}

pub fn parker_park(p: &Parker) {
    if broken(Twin::sleeps_without_checking) {
        p.state.exchange(PARKED, ORD_CONSUME);
        p.sleep.wait();
    } else if p.state.compare_exchange(&mut { EMPTY }, PARKED, ORD_CONSUME) {
        p.sleep.wait();
    }
    if broken(Twin::clears_by_store) {
        p.state.store(EMPTY, ORD_CONSUME);
        return;
    }
    p.state.exchange(EMPTY, ORD_CONSUME);
}

/// Returns the number of polls.
pub fn rawwaker_block_on(p: &'static Parker, mut poll: impl FnMut(Waker) -> bool) -> usize {
    let mut polls = 1;
    while !poll(Waker::Parker(p)) {
        parker_park(p);
        polls += 1;
    }
    parker_drop(p);
    polls
}

// ---- the cell

const WAITING: usize = 0;
const REGISTERING: usize = 1;
const WAKING: usize = 2;

pub struct Cell {
    word: Word,
    waker: Mem<Option<Waker>>,
}

impl Cell {
    pub fn new() -> &'static Cell {
        keep(Cell { word: Word::new(WAITING), waker: Mem::new(None) })
    }
}

pub fn rawwaker_cell_register(c: &Cell, w: Waker) {
    if !c.word.compare_exchange_or(&mut { WAITING }, REGISTERING, ORD_REGISTER, ORD_REGISTER) {
        if !broken(Twin::register_keeps_nothing_and_does_not_wake) {
            w.wake_by_ref();
            thread::yield_now(); // for loom: the cell's owner continues before the next register
        }
        return;
    }
    let kept = c.waker.get();
    let mut old = None;
    if !kept.is_some_and(|kept| kept.will_wake(w)) {
        old = kept;
        c.waker.set(Some(w.clone_ref()));
    }
    if broken(Twin::register_ends_by_a_store) {
        c.word.store(WAITING, ORD_REGISTERED);
    } else if !c.word.compare_exchange(&mut { REGISTERING }, WAITING, ORD_REGISTERED) {
        c.waker.set(None);
        let was = given_back(c, ORD_REGISTERED, Twin::register_gives_back_by_load_and_store);
        assert!(was == REGISTERING | WAKING, "property: only a take comes between");
        if broken(Twin::register_drops_what_it_was_to_wake) {
            w.drop_ref();
        } else {
            w.wake();
        }
    }
    if let Some(old) = old {
        old.drop_ref();
    }
}

fn given_back(c: &Cell, o: Ord, torn: Twin) -> usize {
    if broken(torn) {
        let was = c.word.load(o);
        c.word.store(WAITING, o);
        return was;
    }
    c.word.exchange(WAITING, o)
}

fn rawwaker_cell_take(c: &Cell) -> Option<Waker> {
    let was = c.word.fetch_or(WAKING, ORD_TAKE);
    if was != WAITING && !(broken(Twin::cell_take_ignores_a_register) && was == REGISTERING) {
        return None;
    }
    let kept = c.waker.get();
    c.waker.set(None);
    let was = given_back(c, ORD_TAKEN, Twin::take_gives_back_by_load_and_store);
    assert!(was == WAKING, "property: a take is alone");
    kept
}

pub fn rawwaker_cell_wake(c: &Cell) {
    if broken(Twin::cell_wakes_what_it_keeps) {
        if let Some(w) = c.waker.get() {
            w.wake_by_ref();
        }
        return;
    }
    if let Some(w) = rawwaker_cell_take(c) {
        w.wake();
    }
}

pub fn rawwaker_cell_drop(c: &Cell) {
    if let Some(w) = rawwaker_cell_take(c) {
        w.drop_ref();
    }
}

// ---- the oneshot

const LISTENING: usize = 1;
const SETTLED: usize = 2;
const HUNG_UP: usize = 4;
const SIDE: usize = 8;

pub struct Oneshot {
    word: Word,
    life: &'static Life,
    waker: Mem<Option<Waker>>,
    value: Mem<usize>,
    /// What the thread that drops the future has written before.
    pub arg: Mem<usize>,
    pub taken: Counter,
    pub destroyed: Counter,
    pub cancels: Counter,
}

pub fn rawwaker_oneshot_new() -> &'static Oneshot {
    let life = keep(Life::new());
    keep(Oneshot {
        word: Word::of(life, 2 * SIDE),
        life,
        waker: Mem::new(None),
        value: Mem::new(0),
        arg: Mem::new(0),
        taken: Counter::new(0),
        destroyed: Counter::new(0),
        cancels: Counter::new(0),
    })
}

impl Oneshot {
    pub fn is_freed(&self) -> bool {
        self.life.has_ended()
    }
}

fn oneshot_leave(o: &Oneshot) {
    let order = if broken(Twin::unref_relaxed) { RELAXED } else { ORD_UNREF };
    if o.word.fetch_sub(SIDE, order) / SIDE == 1 {
        o.life.free();
    }
}

fn oneshot_destroy(o: &Oneshot) {
    o.life.touch();
    assert!(o.value.get() == 7, "property: destroy sees the value");
    o.destroyed.fetch_add(1, Relaxed);
}

/// An or, or its broken twin.
fn or(w: &Word, bits: usize, o: Ord, torn: Twin) -> usize {
    if broken(torn) {
        let was = w.load(o);
        w.store(was | bits, o);
        return was;
    }
    w.fetch_or(bits, o)
}

fn oneshot_settle(o: &Oneshot) -> bool {
    let mut word = o.word.load(RELAXED);
    let short = word & (LISTENING | HUNG_UP) == 0 || broken(Twin::settles_in_one_step_always);
    let settled = (word | SETTLED) - SIDE;
    if short && o.word.compare_exchange(&mut word, settled, ORD_SETTLE) {
        return true;
    }
    word = or(&o.word, SETTLED, ORD_SETTLE, Twin::settles_by_load_and_store);
    if word & HUNG_UP != 0 && !broken(Twin::hung_up_is_not_looked_at) {
        return false;
    }
    if broken(Twin::leaves_before_the_wake) {
        oneshot_leave(o);
    }
    if word & LISTENING != 0 && !broken(Twin::settles_without_a_wake) {
        o.life.touch();
        o.waker.get().expect("property: LISTENING, and no waker").wake();
    }
    if !broken(Twin::leaves_before_the_wake) {
        oneshot_leave(o);
    }
    true
}

pub fn rawwaker_oneshot_send(o: &Oneshot) -> bool {
    o.life.touch();
    o.value.set(7);
    if oneshot_settle(o) {
        return true;
    }
    assert!(o.arg.get() == 1, "property: a sender that is refused sees what came before the drop");
    oneshot_destroy(o);
    oneshot_leave(o);
    false
}

fn oneshot_listen(o: &Oneshot, w: Waker, word: usize) -> bool {
    let mut old = None;
    if word & LISTENING != 0 {
        if o.waker.get().is_some_and(|kept| kept.will_wake(w)) {
            return false;
        }
        if !broken(Twin::replaces_without_clearing)
            && o.word.fetch_and(!LISTENING, ORD_LISTEN) & SETTLED != 0
        {
            return true;
        }
        old = o.waker.get();
    }
    o.waker.set(Some(w.clone_ref()));
    let mut settled = o.word.fetch_or(LISTENING, ORD_LISTEN) & SETTLED != 0;
    if broken(Twin::listens_after_the_check) {
        settled = false;
    }
    if settled {
        w.drop_ref();
    }
    if let Some(old) = old {
        old.drop_ref();
    }
    settled
}

/// Whether it is ready.
pub fn oneshot_poll(o: &Oneshot, w: Waker) -> bool {
    let word = o.word.load(ORD_SETTLED);
    if word & SETTLED == 0 && !oneshot_listen(o, w, word) {
        return false;
    }
    o.life.touch();
    assert!(o.value.get() == 7, "property: the poll sees the value");
    o.taken.fetch_add(1, Relaxed);
    true
}

pub fn oneshot_drop(o: &Oneshot) {
    let mut word = o.word.load(ORD_SETTLED);
    if word & SETTLED == 0 {
        word = or(&o.word, HUNG_UP, ORD_HANG_UP, Twin::hangs_up_by_load_and_store);
    }
    if word & (LISTENING | SETTLED) == LISTENING {
        o.waker.get().expect("property: LISTENING, and no waker").drop_ref();
    }
    if word & SETTLED == 0 {
        o.cancels.fetch_add(1, Relaxed);
    } else if o.taken.load(Relaxed) == 0 {
        oneshot_destroy(o);
    }
    if word / SIDE == 1 {
        o.life.free();
    } else {
        oneshot_leave(o);
    }
}

// ---- watching senders

pub struct Watching {
    watcher: Word,
    fields: Mem<usize>,
}

pub fn watching() -> &'static Watching {
    keep(Watching { watcher: Word::new(NULL), fields: Mem::new(0) })
}

pub fn rawwaker_watch(w: &Watching) {
    if broken(Twin::watcher_before_its_fields) {
        w.watcher.store(1, ORD_WATCH);
    }
    w.fields.set(7);
    w.watcher.store(1, ORD_WATCH);
}

/// Returns what the watcher's fields are, if there is one.
pub fn rawwaker_watch_made(w: &Watching) -> Option<usize> {
    (w.watcher.load(ORD_WATCHED) != NULL).then(|| w.fields.get())
}

// ---- the sink

const CLOSED: usize = 1;
const GONE: usize = 2;
const USER: usize = 4;

fn use_begin(u: &Word) -> bool {
    let mut n = u.load(RELAXED);
    loop {
        if n & CLOSED != 0 && !broken(Twin::refused_uses_are_counted) {
            return false;
        }
        if broken(Twin::use_checks_then_counts) {
            u.fetch_add(USER, ORD_USE);
            return true;
        }
        if broken(Twin::refused_uses_are_counted) {
            return u.fetch_add(USER, ORD_USE) & CLOSED == 0;
        }
        let more = n + USER;
        if u.compare_exchange(&mut n, more, ORD_USE) {
            return true;
        }
    }
}

fn use_end(u: &Word) -> bool {
    if u.fetch_sub(USER, ORD_USE) != USER | CLOSED {
        return false;
    }
    broken(Twin::refused_uses_are_counted)
        || u.compare_exchange(&mut { CLOSED }, CLOSED | GONE, ORD_USE)
}

/// use_begin, used, use_end, and ended by the last one out; nothing if the word is CLOSED.
fn while_open(u: &Word, used: impl FnOnce(), ended: impl FnOnce()) {
    if use_begin(u) {
        used();
    } else if !broken(Twin::refused_uses_are_counted) {
        return;
    }
    if use_end(u) {
        ended();
    }
}

pub struct Sink {
    pub head: Word,
    pub sleeping: Word,
    forever: bool,
    refs: Word,
    uses: Word,
    hooked: Word,
    hook: Word,
    pub descriptor: Descriptor,
    /// The hooks that wakes have left to rawwaker_sink_reap. In C there is one such list for all
    /// sinks, which stays when this sink is freed.
    deferred: Word,
    life: &'static Life,
    /// How often the flag was set, and the descriptor written.
    pub sleeps: Counter,
    pub kicks: Counter,
}

struct Hook {
    w: Mem<Option<Waker>>,
    older: Mem<usize>,
    life: Life,
}

impl Hook {
    // SAFETY: every address in a sink's hook is that of a Hook that keep() keeps.
    fn at(address: usize) -> &'static Hook {
        unsafe { &*(address as *const Hook) }
    }
}

const NULL: usize = 0;
/// The address of the box `dropped`.
const DROPPED: usize = 1;

fn sink_ref(s: &Sink) {
    s.life.touch();
    if !s.forever {
        s.refs.fetch_add(1, ORD_REF);
    }
}

pub fn rawwaker_sink_new(forever: bool) -> &'static Sink {
    let life = keep(Life::new());
    keep(Sink {
        head: Word::of(life, NULL),
        sleeping: Word::of(life, 0),
        forever,
        refs: Word::of(life, 1),
        uses: Word::of(life, 0),
        hooked: Word::of(life, 0),
        hook: Word::of(life, NULL),
        descriptor: Descriptor::new(),
        deferred: Word::new(NULL),
        life,
        sleeps: Counter::new(0),
        kicks: Counter::new(0),
    })
}

impl Sink {
    pub fn is_freed(&self) -> bool {
        self.life.has_ended()
    }
}

fn sink_unref(s: &Sink) {
    s.life.touch();
    if s.forever || s.refs.fetch_sub(1, ORD_UNREF) != 1 {
        return;
    }
    s.life.free();
}

fn hooks_drop(mut h: usize) {
    while h != NULL {
        let hook = Hook::at(h);
        hook.life.touch();
        h = hook.older.get();
        if let Some(w) = hook.w.get() {
            w.drop_ref();
        }
        hook.life.free();
    }
}

fn hooks_defer(deferred: &Word, newest: usize) {
    if newest == NULL {
        return;
    }
    if broken(Twin::a_wake_drops_the_hook) {
        panic!("property: no wake drops a hook");
    }
    let mut oldest = Hook::at(newest);
    while oldest.older.get() != NULL {
        oldest = Hook::at(oldest.older.get());
    }
    let mut older = deferred.load(RELAXED);
    oldest.older.set(older);
    if broken(Twin::deferred_pushed_by_load_and_store) {
        oldest.older.set(deferred.load(ORD_LIST));
        deferred.store(newest, ORD_LIST);
        return;
    }
    while !deferred.compare_exchange(&mut older, newest, ORD_LIST) {
        oldest.older.set(older);
    }
}

/// A wake defers a hook.
pub fn defer_one(deferred: &Word, w: Waker) {
    let h = keep(Hook { w: Mem::new(Some(w)), older: Mem::new(NULL), life: Life::new() });
    hooks_defer(deferred, h as *const Hook as usize);
}

pub fn reap(deferred: &Word) {
    if broken(Twin::deferred_taken_by_load_and_store) {
        let all = deferred.load(ORD_LIST);
        deferred.store(NULL, ORD_LIST);
        return hooks_drop(all);
    }
    hooks_drop(deferred.exchange(NULL, ORD_LIST));
}

pub fn rawwaker_sink_reap(s: &Sink) {
    reap(&s.deferred);
}

pub fn rawwaker_sink_on_wake(s: &Sink, w: Waker) {
    let late = broken(Twin::hook_before_its_fields);
    let h = keep(Hook { w: Mem::new(None), older: Mem::new(NULL), life: Life::new() });
    let open = s.forever || use_begin(&s.hooked);
    if open {
        let mut older = s.hook.load(RELAXED);
        if !late {
            h.w.set(Some(w));
        }
        h.older.set(older);
        while !s.hook.compare_exchange(&mut older, h as *const Hook as usize, ORD_HOOK) {
            h.older.set(older);
        }
        if late {
            h.w.set(Some(w));
        }
        if broken(Twin::hook_frees_older) && older != NULL {
            h.older.set(NULL);
            hooks_drop(older);
        }
    }
    if open && !s.forever && use_end(&s.hooked) {
        hooks_drop(sink_hooks(s));
    }
    if !open {
        w.drop_ref();
    }
}

fn sink_hooks(s: &Sink) -> usize {
    s.hook.load(ORD_HOOKED)
}

fn sink_write(s: &Sink) {
    s.life.touch();
    s.kicks.fetch_add(1, Relaxed);
    s.descriptor.kick();
}

fn sink_call(s: &Sink) {
    let h = sink_hooks(s);
    if h != NULL {
        let hook = Hook::at(h);
        hook.life.touch();
        let w = hook.w.get();
        w.expect("property: a hook is set before it is read").wake_by_ref();
    }
}

fn flag_cleared(s: &Sink, sleep: usize) {
    if broken(Twin::flag_cleared_by_store) {
        s.sleeping.store_among_exchanges(0, ORD_SLEEP);
    } else if broken(Twin::flag_cleared_by_load_and_store) {
        if s.sleeping.load(ORD_SLEEP) == sleep {
            s.sleeping.store_among_exchanges(0, ORD_SLEEP);
        }
    } else {
        s.sleeping.compare_exchange(&mut { sleep }, 0, ORD_SLEEP);
    }
}

fn sink_unpark(s: &Sink, sleep: usize) {
    if broken(Twin::flag_cleared_before_the_write) {
        flag_cleared(s, sleep);
        if stops() {
            return;
        }
    }
    if s.forever {
        sink_write(s);
        if stops() {
            return;
        }
        sink_call(s);
    } else {
        while_open(&s.uses, || sink_write(s), || s.descriptor.close());
        while_open(&s.hooked, || sink_call(s), || hooks_defer(&s.deferred, sink_hooks(s)));
    }
    flag_cleared(s, sleep);
}

pub fn rawwaker_sink_close(s: &Sink) {
    let close = |u: &Word| {
        if broken(Twin::closes_by_load_and_store) {
            let n = u.load(ORD_USE);
            u.store(n | CLOSED, ORD_USE);
        } else {
            u.fetch_or(CLOSED, ORD_USE);
        }
    };
    while_open(&s.uses, || close(&s.uses), || s.descriptor.close());
    while_open(&s.hooked, || close(&s.hooked), || hooks_drop(sink_hooks(s)));
}

pub fn rawwaker_sink_sleep(s: &Sink) -> bool {
    let mut sleep = s.sleeps.fetch_add(1, Relaxed) + 1;
    if broken(Twin::flag_of_a_constant) {
        sleep = 1;
    }
    if broken(Twin::flag_set_plainly) {
        s.sleeping.store(sleep, RELAXED);
    } else {
        s.sleeping.store_among_exchanges(sleep, ORD_SLEEP);
    }
    if broken(Twin::sleeps_without_checking) || s.head.load(ORD_LIST) == NULL {
        return true;
    }
    s.sleeping.store_among_exchanges(0, ORD_SLEEP);
    false
}

/// What a host does if rawwaker_sink_sleep has returned true.
pub fn wait_and_ack(s: &Sink) {
    s.life.touch();
    s.descriptor.wait_and_ack();
}

// ---- the box

pub const IDLE: usize = 0;
pub const WOKEN: usize = 1;
const LAST: usize = 2;
pub const LOOP: usize = 3;
const HOLD: usize = 1;
const REF: usize = 2;

pub struct RawBox {
    pub head: Counted,
    pub queued: Word,
    closed: Word,
    next: Mem<usize>,
    sink: &'static Sink,
    id: Word,
    tell: bool,
}

impl RawBox {
    // SAFETY: every address in a list is that of a RawBox that keep() keeps, except DROPPED, for
    // which this is never called.
    fn at(address: usize) -> &'static RawBox {
        unsafe { &*(address as *const RawBox) }
    }
    fn address(&self) -> usize {
        self as *const RawBox as usize
    }
    fn touch(&self) {
        self.head.life.touch();
    }
}

fn box_push(b: &RawBox) {
    b.touch();
    let s = b.sink;
    let keeps = !broken(Twin::push_without_sink_ref);
    if keeps {
        sink_ref(s);
    }
    let mut head = s.head.load(RELAXED);
    loop {
        if head == DROPPED {
            box_unref(b);
            if keeps {
                sink_unref(s);
            }
            return;
        }
        b.touch();
        b.next.set(head);
        if s.head.compare_exchange(&mut head, b.address(), ORD_LIST) {
            break;
        }
    }
    if broken(Twin::touches_after_push) {
        b.touch();
    }
    if stops() {
        return;
    }
    let plain = broken(Twin::flag_read_plainly);
    let sleep = if plain { s.sleeping.load(RELAXED) } else { s.sleeping.load(ORD_SLEEP) };
    if stops() {
        return;
    }
    if sleep != 0 {
        sink_unpark(s, sleep);
    }
    if keeps {
        sink_unref(s);
    }
}

fn box_free(b: &RawBox) {
    b.touch();
    sink_unref(b.sink);
    b.head.life.free();
}

fn box_unref(b: &RawBox) {
    if !b.tell {
        let refs = b.head.refs.fetch_sub(REF, ORD_UNREF);
        assert!(refs >= REF, "property: a reference was given up that did not exist");
        if refs == REF {
            box_free(b);
        }
        return;
    }
    box_unref_telling(b)
}

fn box_unref_telling(b: &RawBox) {
    let mut refs = b.head.refs.load(RELAXED);
    loop {
        if refs == REF + HOLD && !broken(Twin::last_drop_not_reported) {
            if b.queued.compare_exchange(&mut { IDLE }, LAST, ORD_NOTIFY) {
                return box_push(b);
            }
            if !broken(Twin::last_drop_falls_through) && b.closed.load(ORD_CLOSE) == 0 {
                thread::yield_now(); // for loom: an old value is not read permanently
                refs = b.head.refs.load(RELAXED);
                continue;
            }
        }
        let less = refs.wrapping_sub(REF);
        if b.head.refs.compare_exchange(&mut refs, less, ORD_UNREF) {
            assert!(refs >= REF, "property: a reference was given up that did not exist");
            if refs == REF {
                box_free(b);
            }
            return;
        }
    }
}

/// The exchange of both wakes, and its broken twins.
fn box_notify(b: &RawBox) -> usize {
    if broken(Twin::wake_only_reads) && b.queued.load(ACQUIRE) == WOKEN {
        return WOKEN;
    }
    if broken(Twin::wake_from_idle_only) {
        let mut was = IDLE;
        b.queued.compare_exchange(&mut was, WOKEN, ORD_NOTIFY);
        return was;
    }
    b.queued.exchange(WOKEN, ORD_NOTIFY)
}

fn box_wake_by_ref(b: &RawBox) {
    if box_notify(b) != IDLE {
        return;
    }
    counted_ref(&b.head, REF);
    box_push(b);
}

fn box_wake(b: &RawBox) {
    if box_notify(b) != IDLE {
        box_unref(b);
    } else if !stops() {
        box_push(b);
    }
}

pub fn rawwaker_box_id(b: &RawBox) -> usize {
    b.id.load(RELAXED)
}

fn box_alloc(s: &'static Sink, id: usize, tell: bool) -> &'static RawBox {
    sink_ref(s);
    let head = Counted::new(HOLD);
    let (queued, closed, id) = (head.word(IDLE), head.word(0), head.word(id));
    keep(RawBox { head, queued, closed, next: Mem::new(NULL), sink: s, id, tell })
}

pub fn rawwaker_box_new(s: &'static Sink, id: usize, tell: bool) -> &'static RawBox {
    box_alloc(s, id, tell)
}

pub fn rawwaker_box_ref(b: &'static RawBox) -> Waker {
    Waker::Box(b).clone_ref()
}

pub fn rawwaker_box_close(b: &RawBox) {
    b.closed.store(1, ORD_CLOSE);
    if !broken(Twin::close_leaves_queued) {
        b.queued.exchange(WOKEN, ORD_CLOSE);
    }
    if b.head.refs.fetch_sub(HOLD, ORD_UNREF) == HOLD {
        box_free(b);
    }
}

pub fn rawwaker_box_retire(b: &RawBox) -> bool {
    if broken(Twin::retires_regardless)
        || b.head.refs.compare_exchange(&mut { REF + HOLD }, 0, ORD_UNREF)
    {
        box_free(b);
        return true;
    }
    box_unref(b);
    false
}

pub fn rawwaker_sink_take(s: &Sink) -> usize {
    let mut list = s.head.exchange(NULL, ORD_LIST);
    let mut fifo = NULL;
    while list != NULL {
        let b = RawBox::at(list);
        b.touch();
        let next = b.next.get();
        b.next.set(fifo);
        fifo = list;
        list = next;
    }
    fifo
}

pub fn rawwaker_sink_drop(s: &Sink) {
    s.life.touch();
    if s.forever {
        return;
    }
    let mark = if broken(Twin::drop_without_mark) { NULL } else { DROPPED };
    let mut b = if broken(Twin::drop_takes_by_load_and_store) {
        let all = s.head.load(ORD_LIST);
        s.head.store(mark, ORD_LIST);
        all
    } else {
        s.head.exchange(mark, ORD_LIST)
    };
    while b != NULL {
        let this = RawBox::at(b);
        this.touch();
        b = this.next.get();
        box_unref(this);
    }
    rawwaker_sink_close(s);
    sink_unref(s);
}

pub fn box_idle(b: &RawBox) -> usize {
    if b.closed.load(ORD_CLOSE) != 0 {
        b.queued.exchange(WOKEN, ORD_CLOSE);
        return IDLE;
    }
    let was = b.queued.exchange(IDLE, ORD_CLOSE);
    if !broken(Twin::idle_without_second_check) && b.closed.load(ORD_CLOSE) != 0 {
        b.queued.exchange(WOKEN, ORD_CLOSE);
        return IDLE;
    }
    was
}

#[derive(Clone, Copy)]
pub struct Notice {
    pub id: usize,
    pub woken: bool,
    pub last: bool,
}

/// Reads one notice, as rawwaker_box_read does n times.
pub fn rawwaker_box_read(list: &mut usize) -> Option<Notice> {
    if *list == NULL {
        return None;
    }
    let b = RawBox::at(*list);
    b.touch();
    let mut was = IDLE;
    if broken(Twin::idle_before_unlink) {
        was = box_idle(b);
    }
    *list = b.next.get();
    let id = b.id.load(RELAXED);
    if !broken(Twin::idle_before_unlink) {
        was = box_idle(b);
    }
    assert!(was != LOOP, "property: a box that is listed is not in LOOP");
    let last = b.tell && b.head.refs.load(RELAXED) == REF + HOLD;
    if !last {
        box_unref(b);
    }
    Some(Notice { id, woken: was == WOKEN, last })
}

// ---- box_poll

/// Returns whether f was ready, and *woken. There is no clock here: only the number of polls, which
/// is 64 in C, ends the loop.
pub fn rawwaker_box_poll(
    s: &'static Sink,
    box_: &mut Option<&'static RawBox>,
    most: usize,
    mut poll: impl FnMut(Waker) -> bool,
) -> (bool, bool) {
    let born = box_.is_none();
    let mut looping = born;
    let b = match *box_ {
        None => {
            let b = box_alloc(s, 0, false);
            b.queued.store(LOOP, RELAXED);
            b
        }
        Some(b) => {
            b.touch();
            if !b.tell {
                looping = if broken(Twin::loop_from_any) {
                    b.queued.exchange(LOOP, ORD_CONSUME);
                    true
                } else {
                    b.queued.compare_exchange(&mut { IDLE }, LOOP, ORD_CONSUME)
                };
            }
            b
        }
    };
    let mut woken = false;
    let mut polls = 1;
    let ready = loop {
        let ready = poll(Waker::Box(b));
        if !looping || ready {
            break ready;
        }
        if b.queued.load(RELAXED) != WOKEN {
            break ready;
        }
        if !broken(Twin::loop_does_not_report) {
            woken = true;
        }
        if polls == most {
            break ready;
        }
        if broken(Twin::loop_takes_by_load_and_store) {
            b.queued.load(ORD_CONSUME);
            b.queued.store(LOOP, ORD_CONSUME);
        } else {
            b.queued.exchange(LOOP, ORD_CONSUME);
        }
        polls += 1;
    };
    if !born {
        if looping {
            if broken(Twin::loop_leaves_by_store) {
                b.queued.store(IDLE, ORD_CLOSE);
            } else if box_idle(b) == WOKEN && !broken(Twin::loop_does_not_report) {
                woken = true;
            }
        }
        return (ready, woken);
    }
    if b.head.refs.load(ORD_KEPT) == HOLD || broken(Twin::born_always_freed) {
        if b.queued.load(ORD_CONSUMED) == WOKEN {
            woken = true;
        }
        sink_unref(s);
        b.head.life.free();
    } else {
        if b.queued.load(RELAXED) == WOKEN {
            woken = true;
        }
        *box_ = Some(b);
    }
    (ready, woken)
}

pub fn rawwaker_box_adopt(b: &RawBox, id: usize) -> bool {
    b.id.store(id, RELAXED);
    box_idle(b) == WOKEN && !broken(Twin::adopt_does_not_report)
}

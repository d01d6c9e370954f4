//! What shim.c calls: the atomic steps, the plain accesses, the memory and the system of the C
//! code, on loom. One operating system's thread runs everything, so the state here has no lock; no
//! reference to it is kept across a step of loom, at which another of loom's threads may run.

use std::cell::{RefCell, UnsafeCell as RawUnsafeCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU32, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle, Thread, ThreadId};

/// Words that only guide or count: no property depends on which value is read, so they are not
/// modelled, and their steps are none.
const STATISTICS: &[&str] = &["live", "spin_pays", "spin_skipped"];
/// Words whose steps are seq_cst only because C's shorter names are: to loom a seq_cst step is a
/// fence too, which would order everything else that a thread does in each poll.
const NO_FENCE: &[&str] = &["panic_key"];

const ARENA: usize = 1 << 20;
/// Rounds of a loop of loads, of which the longest that ends by itself has 64.
const ROUNDS: usize = 200;
/// A load that is repeated so often without another step of its thread never ends.
const SPINS_PERMANENTLY: usize = 100_000;

#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(i32)]
pub enum What {
    Load,
    Store,
    Exchange,
    Add,
    Sub,
    And,
    Or,
    Xor,
    Nand,
    Compare,
    /// Of the trace only.
    Read,
    Write,
    Free,
    Post,
    Wait,
    Kick,
    Ack,
}

/// One line of a trace.
#[derive(Clone, Copy)]
pub struct Step {
    pub thread: usize,
    /// In the library, or one of the AT_ below.
    pub at: usize,
    pub what: What,
    pub address: usize,
    pub size: usize,
    pub order: i32,
    pub read: Option<u64>,
    pub wrote: Option<u64>,
    /// The step whose value was read, and whether there are newer values.
    pub source: Option<usize>,
    pub old: bool,
}

/// Places that are in no C code.
pub const AT_FLAG: usize = 1;
pub const AT_PAYLOAD: usize = 2;
pub const AT_SYSTEM: usize = 3;

enum Word {
    Of1(AtomicU8),
    Of4(AtomicU32),
    Of8(AtomicU64),
}

struct Atom {
    word: Word,
    /// The steps that stored, and what.
    stores: RefCell<Vec<(Option<usize>, u64)>>,
}

/// An allocation, by its place in `allocs`.
pub struct Alloc {
    pub start: usize,
    pub size: usize,
    pub at: usize,
    freed: bool,
    /// Where it is known to have atomic words, and their sizes.
    words: Vec<(usize, usize)>,
}

/// Where an atomic word is, in every execution.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Place {
    Static(usize),
    /// By the place that has allocated it, its size, and the offset.
    Heap(usize, usize, usize),
}

#[derive(Clone, Copy)]
struct Learned {
    size: usize,
    /// Some step reads and writes it.
    rmw: bool,
}

/// Addresses are spread by one multiplication.
#[derive(Default, Clone)]
struct Address(u64);
impl Hasher for Address {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only addresses are keys");
    }
    fn write_usize(&mut self, n: usize) {
        self.0 = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    }
}
type Hashing = BuildHasherDefault<Address>;

struct Semaphore {
    count: AtomicUsize,
    asleep: Vec<Thread>,
}

struct Descriptor {
    readable: AtomicUsize,
    asleep: RawUnsafeCell<Vec<Thread>>,
}

struct Open {
    descriptor: Rc<Descriptor>,
    cell: Rc<UnsafeCell<()>>,
    open: bool,
}

#[derive(Default, Clone)]
struct Spinning {
    last: Option<(usize, usize, u64)>,
    times: usize,
    /// Where this thread has loaded since it last stored or acquired, what, and how often again.
    seen: Vec<(usize, usize, u64, usize)>,
    /// Where a compare-and-swap has failed, and which step's value it has found.
    failed: Vec<(usize, usize, Option<usize>)>,
}

pub struct Symbol {
    pub start: usize,
    pub size: usize,
    pub name: String,
}

#[derive(Default)]
pub struct World {
    pub base: usize,
    pub symbols: Vec<Symbol>,
    statics: Vec<(usize, Vec<u8>)>,
    statistics: Vec<usize>,
    no_fence: Vec<usize>,
    arena: usize,
    top: usize,
    learned: HashMap<Place, Learned>,
    /// This execution has found an atomic word, or a kind of step, that was not known.
    pub learned_now: bool,
    pub executions: u64,

    pub allocs: Vec<Alloc>,
    cells: HashMap<usize, Rc<UnsafeCell<()>>, Hashing>,
    atoms: HashMap<usize, Rc<Atom>, Hashing>,
    pending: Vec<(usize, usize)>,
    fences: Option<Rc<AtomicUsize>>,
    threads: Vec<ThreadId>,
    spinning: Vec<Spinning>,
    semaphores: HashMap<usize, Rc<RawUnsafeCell<Semaphore>>>,
    descriptors: Vec<Open>,
    keys: Vec<bool>,
    specific: HashMap<(usize, usize), usize>,
    pub steps: Vec<Step>,
}

struct Global(RawUnsafeCell<Option<World>>);
// SAFETY: all threads of loom run on one thread of the system.
unsafe impl Sync for Global {}
static WORLD: Global = Global(RawUnsafeCell::new(None));

pub fn world() -> &'static mut World {
    // SAFETY: as above; main sets it first.
    unsafe { (*WORLD.0.get()).get_or_insert_with(World::default) }
}

impl World {
    /// base is where the library is; statics are its writable segments.
    pub fn open(&mut self, base: usize, statics: &[(usize, usize)], symbols: Vec<Symbol>) {
        self.base = base;
        for (start, size) in statics {
            // SAFETY: the segment is mapped as long as this process runs.
            let bytes = unsafe { std::slice::from_raw_parts(*start as *const u8, *size) };
            self.statics.push((*start, bytes.to_vec()));
        }
        for s in &symbols {
            if STATISTICS.contains(&s.name.as_str()) {
                self.statistics.push(s.start);
            }
            if NO_FENCE.contains(&s.name.as_str()) {
                self.no_fence.push(s.start);
            }
        }
        self.symbols = symbols;
        let layout = std::alloc::Layout::from_size_align(ARENA, 4096).unwrap();
        // SAFETY: the size is not 0.
        self.arena = unsafe { std::alloc::alloc_zeroed(layout) } as usize;
    }

    fn alloc_of(&self, address: usize) -> Option<usize> {
        if address < self.arena || address >= self.arena + ARENA {
            return None;
        }
        let i = self.allocs.partition_point(|a| a.start <= address);
        if i == 0 {
            return None;
        }
        Some(i - 1)
    }

    /// The same in each process, unlike the address.
    fn offset(&self, at: usize) -> usize {
        if at > AT_SYSTEM {
            at - self.base
        } else {
            at
        }
    }

    fn in_statics(&self, address: usize) -> bool {
        self.statics.iter().any(|(s, b)| (*s..*s + b.len()).contains(&address))
    }

    fn place(&self, address: usize) -> Option<Place> {
        if let Some(i) = self.alloc_of(address) {
            let a = &self.allocs[i];
            return Some(Place::Heap(self.offset(a.at), a.size, address - a.start));
        }
        self.in_statics(address).then(|| Place::Static(address - self.base))
    }

    /// A name for the trace.
    pub fn name(&self, address: usize) -> String {
        if let Some(i) = self.alloc_of(address) {
            return format!("#{i}+{}", address - self.allocs[i].start);
        }
        let found = self.symbols.iter().find(|s| (s.start..s.start + s.size).contains(&address));
        match found {
            Some(s) if s.start == address => format!("&{}", s.name),
            Some(s) => format!("&{}+{}", s.name, address - s.start),
            None => format!("{address:#x}"),
        }
    }

    /// What is known of where atomic words are, as text.
    pub fn learned(&self) -> String {
        let mut all = String::new();
        for (p, l) in &self.learned {
            let (kind, a, b, c) = match p {
                Place::Static(offset) => (0, *offset, 0, 0),
                Place::Heap(at, size, offset) => (1, *at, *size, *offset),
            };
            all += &format!("{kind} {a} {b} {c} {} {}\n", l.size, l.rmw as usize);
        }
        all
    }
    pub fn learn(&mut self, all: &str) {
        for line in all.lines() {
            let n: Vec<usize> = line.split(' ').map(|n| n.parse().expect("a number")).collect();
            let heap = Place::Heap(n[1], n[2], n[3]);
            let p = if n[0] == 0 { Place::Static(n[1]) } else { heap };
            self.learned.insert(p, Learned { size: n[4], rmw: n[5] != 0 });
        }
    }

    fn record(&mut self, s: Step) -> usize {
        self.steps.push(s);
        self.steps.len() - 1
    }
}

/// Begins an execution.
pub fn begin() {
    let w = world();
    w.executions += 1;
    for (start, bytes) in &w.statics {
        // SAFETY: the segment is writable and of that size; no C code runs.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), *start as *mut u8, bytes.len()) };
    }
    // SAFETY: the arena is ours, and nothing in it is used any more.
    unsafe { std::ptr::write_bytes(w.arena as *mut u8, 0xa5, w.top) };
    w.top = 0;
    w.allocs.clear();
    w.cells.clear();
    w.atoms.clear();
    w.pending.clear();
    w.threads.clear();
    w.spinning.clear();
    w.semaphores.clear();
    w.descriptors.clear();
    w.keys.clear();
    w.specific.clear();
    w.steps.clear();
    w.fences = Some(Rc::new(AtomicUsize::new(0)));
    me();
    let w = world();
    let statics: Vec<_> = w.learned.iter().map(|(p, l)| (*p, *l)).collect();
    for (p, l) in statics {
        if let Place::Static(offset) = p {
            make(w.base + offset, l.size);
        }
    }
}

/// Ends an execution: all memory is free and all descriptors are closed.
pub fn end() {
    thread_end();
    let w = world();
    for (i, a) in w.allocs.iter().enumerate() {
        assert!(a.freed, "property: freed with the last reference: #{i} of {} bytes", a.size);
    }
    assert!(w.descriptors.iter().all(|d| !d.open), "property: each descriptor is closed");
}

fn thread_end() {
    let t = me();
    let texts: Vec<usize> =
        world().specific.iter().filter(|(k, _)| k.0 == t).map(|(_, v)| *v).collect();
    world().specific.retain(|k, _| k.0 != t);
    for text in texts.into_iter().filter(|v| *v != 0) {
        release(AT_SYSTEM, text as *mut c_void);
    }
}

/// This thread's number.
fn me() -> usize {
    let id = thread::current().id();
    let w = world();
    if let Some(i) = w.threads.iter().position(|t| *t == id) {
        return i;
    }
    w.threads.push(id);
    w.spinning.push(Spinning::default());
    w.threads.len() - 1
}

pub fn go(f: impl FnOnce() + 'static) -> JoinHandle<()> {
    flush();
    thread::spawn(move || {
        me();
        f();
        thread_end();
    })
}

/// Makes the atomic words that are known to be in what was just written. The thread that has
/// written them must make them: whoever reads their first value synchronises with it.
pub fn flush() {
    while let Some((address, size)) = world().pending.pop() {
        let Some(i) = world().alloc_of(address) else {
            continue;
        };
        for j in 0..world().allocs[i].words.len() {
            let a = &world().allocs[i];
            let (word, n) = (a.start + a.words[j].0, a.words[j].1);
            if word < address + size && address < word + n && !world().atoms.contains_key(&word) {
                make(word, n);
            }
        }
    }
}

fn make(address: usize, size: usize) -> Rc<Atom> {
    let v = peek(address, size);
    let word = match size {
        1 => Word::Of1(AtomicU8::new(v as u8)),
        4 => Word::Of4(AtomicU32::new(v as u32)),
        8 => Word::Of8(AtomicU64::new(v)),
        _ => panic!("an atomic word of {size} bytes"),
    };
    let a = Rc::new(Atom { word, stores: RefCell::new(vec![(None, v)]) });
    world().atoms.insert(address, a.clone());
    a
}

fn peek(address: usize, size: usize) -> u64 {
    // SAFETY: the C code was about to access it.
    unsafe {
        match size {
            1 => *(address as *const u8) as u64,
            4 => *(address as *const u32) as u64,
            _ => *(address as *const u64),
        }
    }
}
fn poke(address: usize, size: usize, v: u64) {
    // SAFETY: as above.
    unsafe {
        match size {
            1 => *(address as *mut u8) = v as u8,
            4 => *(address as *mut u32) = v as u32,
            _ => *(address as *mut u64) = v,
        }
    }
}

/// An access of any kind, for the pieces of four bytes it covers: each access to what was written
/// must come after the write, and each to memory before it is freed.
fn touch(address: usize, size: usize, writes: bool) {
    if let Some(i) = world().alloc_of(address) {
        let a = &world().allocs[i];
        assert!(!a.freed, "property: used after it was freed");
        assert!(address + size <= a.start + a.size, "property: used beyond its end");
    }
    for piece in (address & !3..address + size).step_by(4) {
        let w = world();
        let cell = match w.cells.get(&piece) {
            Some(c) => c.clone(),
            None if !writes => continue, // nothing has written it in this execution
            None => {
                let c = Rc::new(UnsafeCell::new(()));
                w.cells.insert(piece, c.clone());
                c
            }
        };
        if writes {
            cell.with_mut(|_| ());
        } else {
            cell.with(|_| ());
        }
    }
}

pub fn plain(at: usize, address: usize, size: usize, writes: bool) {
    let w = world();
    assert!(size == 0 || address >= 4096, "property: the code follows no NULL pointer");
    if size == 0 || w.place(address).is_none() {
        return; // a stack, a constant
    }
    flush();
    let thread = me();
    let what = if writes { What::Write } else { What::Read };
    let step = Step {
        thread,
        at,
        what,
        address,
        size,
        order: 0,
        read: None,
        wrote: None,
        source: None,
        old: false,
    };
    world().record(step);
    touch(address, size, writes);
    let w = world();
    if writes {
        if let Some(i) = w.alloc_of(address) {
            let a = &w.allocs[i];
            for (offset, n) in &a.words {
                let word = a.start + offset;
                if word < address + size && address < word + n {
                    w.atoms.remove(&word);
                }
            }
        }
        w.pending.push((address, size));
    }
}

// To loom a seq_cst access is an acq_rel one and only its fences are real, so each such access
// gets a fence before it. A load takes the acquire part of an order, a store the release part.
const RELAXED: i32 = 0;
const SEQ_CST: i32 = 5;

fn load_order(order: i32) -> Ordering {
    match order {
        0 | 3 => Ordering::Relaxed,
        _ => Ordering::Acquire,
    }
}
fn store_order(order: i32) -> Ordering {
    match order {
        0..=2 => Ordering::Relaxed,
        _ => Ordering::Release,
    }
}
fn both_orders(order: i32) -> Ordering {
    match order {
        0 => Ordering::Relaxed,
        1 | 2 => Ordering::Acquire,
        3 => Ordering::Release,
        _ => Ordering::AcqRel,
    }
}

/// To loom a fence is not a step: it tries no other order of two fences, and lets no thread come
/// between a fence and what its thread did before. A step on a word that all fences share makes up
/// for that. It is relaxed, so it orders nothing.
fn fenced(order: i32, address: usize) {
    if order != SEQ_CST || world().no_fence.contains(&address) {
        return;
    }
    let step = world().fences.clone().expect("an execution");
    step.fetch_add(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

// A step on an atomic of any size.
macro_rules! on {
    ($atom:expr, $a:ident, $t:ident => $e:expr) => {
        match &$atom.word {
            Word::Of1($a) => {
                type $t = u8;
                $e
            }
            Word::Of4($a) => {
                type $t = u32;
                $e
            }
            Word::Of8($a) => {
                type $t = u64;
                $e
            }
        }
    };
}

pub struct Access {
    pub at: usize,
    pub what: What,
    pub address: usize,
    pub size: usize,
    pub order: i32,
    pub failed: i32,
    pub operand: u64,
    pub expected: u64,
}

/// One atomic step. Returns the value that it has read.
#[allow(clippy::unnecessary_cast)] // of a u64, where others are smaller
pub fn atomic(a: &Access) -> u64 {
    let &Access { at, what, address, size, order, failed, operand, expected } = a;
    let mask = if size == 8 { u64::MAX } else { (1 << (8 * size)) - 1 };
    let w = world();
    if w.statistics.contains(&address) {
        return statistic(a, mask);
    }
    let place = w.place(address).expect("an atomic word on the heap, or static");
    flush();
    let thread = me();

    // A loop that loads until the value changes, or until it has tried often enough: what it reads
    // after its first time it might have read the first time, so the others are no steps.
    let w = world();
    let spin = &mut w.spinning[thread];
    if what == What::Load && order == RELAXED {
        if let Some((last_at, last, v)) = spin.last {
            if (last_at, last) == (at, address) {
                spin.times += 1;
                assert!(spin.times < SPINS_PERMANENTLY, "property: no thread waits by spinning");
                return v;
            }
        }
    }
    spin.last = None;
    spin.times = 0;
    // The same for a loop of several loads that makes no step of its own. After so many rounds it
    // waits for another thread: an old value is not read permanently.
    if what == What::Load {
        if let Some(seen) = spin.seen.iter_mut().find(|s| (s.0, s.1) == (at, address)) {
            seen.3 += 1;
            if seen.3 <= ROUNDS {
                return seen.2;
            }
            spin.seen.clear();
            thread::yield_now();
        }
    }
    // A compare-and-swap that would fail once more for the same reason waits for another step, as
    // the polls of a task do that find its cell owned.
    if what == What::Compare {
        let w = world();
        let newest = w.atoms.get(&address).and_then(|a| a.stores.borrow().last().map(|s| s.0));
        let failed = &mut w.spinning[thread].failed;
        if newest.is_some_and(|s| failed.contains(&(at, address, s))) {
            failed.clear();
            w.spinning[thread].seen.clear();
            thread::yield_now();
        }
    }

    fenced(order, address);
    touch(address, size, false);
    let w = world();
    let rmw = !matches!(what, What::Load | What::Store);
    let known = w.learned.get(&place).copied();
    if known.is_none_or(|l| l.size != size || (rmw && !l.rmw)) {
        let rmw = rmw || known.is_some_and(|l| l.rmw);
        w.learned.insert(place, Learned { size, rmw });
        w.learned_now = true;
    }
    let among_exchanges = w.learned[&place].rmw;
    let atom = match w.atoms.get(&address) {
        Some(a) => a.clone(),
        None => make(address, size),
    };
    let operand = operand & mask;
    let mut stored = None;
    let both = both_orders(order);
    let read = match what {
        What::Load => on!(atom, a, _T => a.load(load_order(order)) as u64),
        // What an exchange stores comes directly after what it has read, so no store comes between.
        // loom does not know that, and lets a load take the exchange's value for the newer one. An
        // exchange that acquires nothing is ordered correctly.
        What::Store if among_exchanges => {
            stored = Some(operand);
            on!(atom, a, T => a.swap(operand as T, store_order(order)) as u64)
        }
        What::Store => {
            stored = Some(operand);
            on!(atom, a, T => a.store(operand as T, store_order(order)));
            0
        }
        What::Compare => {
            let (failed, expected) = (load_order(failed), expected & mask);
            on!(atom, a, T => {
                match a.compare_exchange(expected as T, operand as T, both, failed) {
                    Ok(was) => {
                        stored = Some(operand);
                        was as u64
                    }
                    Err(was) => was as u64,
                }
            })
        }
        What::Exchange => {
            stored = Some(operand);
            on!(atom, a, T => a.swap(operand as T, both) as u64)
        }
        _ => {
            let was = on!(atom, a, T => {
                let v = operand as T;
                (match what {
                    What::Add => a.fetch_add(v, both),
                    What::Sub => a.fetch_sub(v, both),
                    What::And => a.fetch_and(v, both),
                    What::Or => a.fetch_or(v, both),
                    What::Xor => a.fetch_xor(v, both),
                    other => panic!("{other:?} is not modelled"),
                }) as u64
            });
            stored = Some(apply(what, was, operand) & mask);
            was
        }
    };
    drop(atom);
    finish(a, thread, (what != What::Store).then_some(read), stored);
    if what == What::Load {
        let w = world();
        let from = w.steps.last().and_then(|s| s.source).map(|i| w.steps[i].thread);
        let spin = &mut w.spinning[thread];
        if order == RELAXED {
            spin.last = Some((at, address, read));
        } else if from.is_some_and(|t| t != thread) {
            spin.seen.clear();
        }
        spin.seen.push((at, address, read, 0));
    }
    read
}

fn apply(what: What, was: u64, operand: u64) -> u64 {
    match what {
        What::Add => was.wrapping_add(operand),
        What::Sub => was.wrapping_sub(operand),
        What::And => was & operand,
        What::Or => was | operand,
        What::Xor => was ^ operand,
        What::Exchange | What::Store => operand,
        _ => was,
    }
}

/// Records the step, and writes the value to the memory itself, where a plain read finds it.
fn finish(a: &Access, thread: usize, read: Option<u64>, stored: Option<u64>) {
    let w = world();
    let atom = w.atoms.get(&a.address).cloned();
    let (mut source, mut old) = (None, false);
    if let (Some(v), Some(atom)) = (read, &atom) {
        let stores = atom.stores.borrow();
        let found = stores.iter().rposition(|(_, stored)| *stored == v);
        source = found.and_then(|i| stores[i].0);
        old = found.is_some_and(|i| i + 1 != stores.len());
    }
    let step = Step {
        thread,
        at: a.at,
        what: a.what,
        address: a.address,
        size: a.size,
        order: a.order,
        read,
        wrote: stored,
        source,
        old,
    };
    let i = w.record(step);
    if a.what == What::Compare && stored.is_none() {
        w.spinning[thread].failed.push((a.at, a.address, source));
    }
    if let Some(v) = stored {
        poke(a.address, a.size, v);
        w.spinning[thread].seen.clear();
        if let Some(atom) = atom {
            atom.stores.borrow_mut().push((Some(i), v));
        }
    }
}

fn statistic(a: &Access, mask: u64) -> u64 {
    let was = peek(a.address, a.size);
    if !matches!(a.what, What::Load | What::Compare) {
        poke(a.address, a.size, apply(a.what, was, a.operand & mask) & mask);
    }
    was
}

// ---- memory

pub fn alloc(at: usize, size: usize) -> *mut c_void {
    flush();
    let w = world();
    let start = w.arena + w.top;
    assert!(w.top + size + 32 < ARENA, "the arena is full");
    w.top += (size + 31) & !15;
    let key = (w.offset(at), size);
    let known = w.learned.iter().filter_map(|(p, l)| match p {
        Place::Heap(at, size, offset) if (*at, *size) == key => Some((*offset, l.size)),
        _ => None,
    });
    let mut words: Vec<_> = known.collect();
    words.sort_unstable();
    w.allocs.push(Alloc { start, size, at, freed: false, words });
    start as *mut c_void
}

pub fn release(at: usize, p: *mut c_void) {
    flush();
    let address = p as usize;
    let found = world().alloc_of(address).filter(|i| world().allocs[*i].start == address);
    let i = found.expect("property: only what was allocated is freed");
    let (size, freed) = (world().allocs[i].size, world().allocs[i].freed);
    assert!(!freed, "property: freed twice");
    let step = Step {
        thread: me(),
        at,
        what: What::Free,
        address,
        size,
        order: 0,
        read: None,
        wrote: None,
        source: None,
        old: false,
    };
    world().record(step);
    touch(address, size, true);
    world().allocs[i].freed = true;
}

// ---- the system

fn system(at: usize, what: What, address: usize) {
    let thread = me();
    let w = world();
    w.spinning[thread] = Spinning::default();
    w.record(Step {
        thread,
        at,
        what,
        address,
        size: 4,
        order: 0,
        read: None,
        wrote: None,
        source: None,
        old: false,
    });
}

/// Threads that sleep. loom switches threads only at its own operations, and here are none: failing
/// an atomic step and then sleeping is one step, and so is another atomic step and the unpark after
/// it. A thread that is unparked has seen what came before.
fn sleep(asleep: &mut Vec<Thread>) {
    asleep.push(thread::current());
}

fn semaphore_at(s: usize) -> Rc<RawUnsafeCell<Semaphore>> {
    world().semaphores.get(&s).expect("property: a semaphore is used until it is ended").clone()
}

/// What comes before a post comes before the return of the wait that it ends, as in POSIX.
pub fn semaphore(at: usize, what: i32, s: usize) {
    flush();
    touch(s, 4, what == 0 || what == 3);
    match what {
        0 => {
            let new = Semaphore { count: AtomicUsize::new(0), asleep: Vec::new() };
            world().semaphores.insert(s, Rc::new(RawUnsafeCell::new(new)));
        }
        1 => {
            let it = semaphore_at(s);
            // SAFETY: no reference to the list is kept across a step of loom.
            unsafe { &*it.get() }.count.fetch_add(1, Ordering::AcqRel);
            system(at, What::Post, s);
            let sleeper = unsafe { &mut *it.get() }.asleep.pop();
            if let Some(t) = sleeper {
                t.unpark();
            }
        }
        2 => {
            let it = semaphore_at(s);
            let mut n = 1;
            loop {
                // SAFETY: as above.
                let count = &unsafe { &*it.get() }.count;
                match count.compare_exchange(n, n - 1, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(0) => {
                        sleep(&mut unsafe { &mut *it.get() }.asleep);
                        thread::park();
                        n = 1;
                    }
                    Err(found) => n = found,
                }
            }
            system(at, What::Wait, s);
        }
        _ => {
            world().semaphores.remove(&s);
        }
    }
}

fn descriptor_at(d: i32) -> Rc<Descriptor> {
    let open = world().descriptors.get(d as usize).filter(|o| o.open);
    let (it, cell) = {
        let o = open.expect("property: a descriptor is used until it is closed");
        (o.descriptor.clone(), o.cell.clone())
    };
    cell.with(|_| ());
    it
}

fn ack(it: &Descriptor) -> bool {
    it.readable.swap(0, Ordering::Relaxed) != 0
}

/// It orders nothing by itself, unless a thread sleeps on it.
pub fn descriptor(what: i32, d: i32, to: i32) -> i32 {
    flush();
    match what {
        0 => {
            let asleep = RawUnsafeCell::new(Vec::new());
            let it = Descriptor { readable: AtomicUsize::new(0), asleep };
            let cell = Rc::new(UnsafeCell::new(()));
            world().descriptors.push(Open { descriptor: Rc::new(it), cell, open: true });
            return world().descriptors.len() as i32 - 1;
        }
        1 => {
            let it = descriptor_at(d);
            it.readable.swap(1, Ordering::Relaxed);
            system(AT_SYSTEM, What::Kick, d as usize);
            // SAFETY: no reference to the list is kept across a step of loom.
            let sleeper = unsafe { &mut *it.asleep.get() }.pop();
            if let Some(t) = sleeper {
                t.unpark();
            }
        }
        2 => {
            let it = descriptor_at(d);
            let was = ack(&it);
            system(AT_SYSTEM, What::Ack, d as usize);
            return was as i32;
        }
        3 => {
            descriptor_at(d);
            let cell = world().descriptors[d as usize].cell.clone();
            cell.with_mut(|_| ());
            world().descriptors[d as usize].open = false;
        }
        _ => {
            descriptor_at(to);
            world().descriptors[to as usize].descriptor = descriptor_at(d);
        }
    }
    0
}

/// Waits until d is readable, as poll() does.
pub fn wait_readable(d: i32) {
    let it = descriptor_at(d);
    loop {
        if it.readable.fetch_add(0, Ordering::Relaxed) != 0 {
            system(AT_SYSTEM, What::Wait, d as usize);
            return;
        }
        // SAFETY: as above.
        sleep(unsafe { &mut *it.asleep.get() });
        thread::park();
    }
}

pub fn key(what: i32, key: u32, v: usize) -> usize {
    let slot = (me(), key as usize);
    let w = world();
    match what {
        0 => {
            w.keys.push(true);
            w.keys.len() - 1
        }
        1 => 0,
        2 => w.specific.get(&slot).copied().unwrap_or(0),
        _ => {
            w.specific.insert(slot, v);
            0
        }
    }
}

// ---- what C calls

#[repr(C)]
pub struct Ops {
    atomic: extern "C" fn(usize, i32, usize, usize, i32, i32, u64, u64) -> u64,
    plain: extern "C" fn(usize, usize, usize, bool),
    alloc: extern "C" fn(usize, usize) -> *mut c_void,
    release: extern "C" fn(usize, *mut c_void),
    aborted: extern "C" fn(),
    semaphore: extern "C" fn(usize, i32, *mut c_void),
    descriptor: extern "C" fn(i32, i32, i32) -> i32,
    key: extern "C" fn(i32, u32, *const c_void, *mut *mut c_void) -> i32,
}

extern "C" fn c_atomic(
    at: usize,
    what: i32,
    address: usize,
    size: usize,
    order: i32,
    failed: i32,
    operand: u64,
    expected: u64,
) -> u64 {
    const ALL: [What; 10] = [
        What::Load,
        What::Store,
        What::Exchange,
        What::Add,
        What::Sub,
        What::And,
        What::Or,
        What::Xor,
        What::Nand,
        What::Compare,
    ];
    let what = ALL[what as usize];
    atomic(&Access { at, what, address, size, order, failed, operand, expected })
}
extern "C" fn c_plain(at: usize, address: usize, size: usize, writes: bool) {
    plain(at, address, size, writes)
}
extern "C" fn c_alloc(at: usize, size: usize) -> *mut c_void {
    alloc(at, size)
}
extern "C" fn c_release(at: usize, p: *mut c_void) {
    release(at, p)
}
extern "C" fn c_aborted() {
    panic!("property: the code does not abort");
}
extern "C" fn c_semaphore(at: usize, what: i32, s: *mut c_void) {
    semaphore(at, what, s as usize)
}
extern "C" fn c_descriptor(what: i32, d: i32, to: i32) -> i32 {
    descriptor(what, d, to)
}
extern "C" fn c_key(what: i32, k: u32, v: *const c_void, got: *mut *mut c_void) -> i32 {
    let r = key(what, k, v as usize);
    if !got.is_null() {
        // SAFETY: shim.c gives a place for the value.
        unsafe { *got = r as *mut c_void };
        return 0;
    }
    if what == 0 {
        r as i32
    } else {
        0
    }
}

pub const OPS: Ops = Ops {
    atomic: c_atomic,
    plain: c_plain,
    alloc: c_alloc,
    release: c_release,
    aborted: c_aborted,
    semaphore: c_semaphore,
    descriptor: c_descriptor,
    key: c_key,
};

//! The memory orders, read from the tables at the top of rawwaker.c and rawwaker_channel.c, and
//! loom's atomics under them.

use std::sync::atomic::{AtomicBool as Mark, AtomicPtr, AtomicU8, Ordering::Relaxed};

use loom::sync::atomic::{fence, AtomicUsize, Ordering};

use crate::world::{keep, Life};

#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(u8)]
pub enum Order {
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    SeqCst,
}

/// What an access is given: a name of the table, or an order that the C code writes out.
#[derive(Clone, Copy)]
pub enum Ord {
    Table(usize),
    Is(Order),
}

macro_rules! table {
    ($($name:ident)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Index { $($name),* }
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(pub const $name: Ord = Ord::Table(Index::$name as usize);)*
        static VALUES: [AtomicU8; NAMES.len()] = [const { AtomicU8::new(0) }; NAMES.len()];
        static USED: [Mark; NAMES.len()] = [const { Mark::new(false) }; NAMES.len()];
    };
}
table!(ORD_REF ORD_UNREF ORD_NOTIFY ORD_CONSUME ORD_CONSUMED ORD_KEPT ORD_CLOSE ORD_LIST ORD_SLEEP
    ORD_REGISTER ORD_REGISTERED ORD_TAKE ORD_TAKEN ORD_USE ORD_HOOK ORD_HOOKED
    ORD_SETTLE ORD_SETTLED ORD_LISTEN ORD_HANG_UP ORD_WATCH ORD_WATCHED
    CHANNEL_REF CHANNEL_UNREF CHANNEL_CLAIM CHANNEL_SENT CHANNEL_RECEIVE CHANNEL_SHUT CHANNEL_TAKEN
    CHANNEL_WAIT CHANNEL_SEEN CHANNEL_LOOK CHANNEL_LIST);

/// For the places at which the C code itself writes memory_order_relaxed.
pub const RELAXED: Ord = Ord::Is(Order::Relaxed);
pub const SEQ_CST: Ord = Ord::Is(Order::SeqCst);
pub const ACQ_REL: Ord = Ord::Is(Order::AcqRel);
pub const ACQUIRE: Ord = Ord::Is(Order::Acquire);

/// Orders of statistics, which order nothing.
const NOT_MODELLED: &[&str] = &["ORD_COUNT"];

/// The files with tables. The models call ORD_X of the second one CHANNEL_X.
pub const ORD: &str = "ORD_";
pub const CHANNEL: &str = "CHANNEL_";

/// Reads the table out of a file.
pub fn read(source: &str, prefix: &str) -> Result<(), String> {
    let mut found: Vec<bool> = NAMES.iter().map(|n| !n.starts_with(prefix)).collect();
    for line in source.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("#define") {
            continue;
        }
        let Some(name) = words.next().filter(|n| n.starts_with("ORD_")) else {
            continue;
        };
        let order = match words.next() {
            Some("memory_order_relaxed") => Order::Relaxed,
            Some("memory_order_acquire") => Order::Acquire,
            Some("memory_order_release") => Order::Release,
            Some("memory_order_acq_rel") => Order::AcqRel,
            Some("memory_order_seq_cst") => Order::SeqCst,
            other => return Err(format!("{name} is {other:?}, which is not an order")),
        };
        if NOT_MODELLED.contains(&name) {
            continue;
        }
        let name = &name.replacen(ORD, prefix, 1);
        let Some(i) = NAMES.iter().position(|n| n == name) else {
            return Err(format!("{name} is in the table, but in no model"));
        };
        if std::mem::replace(&mut found[i], true) {
            return Err(format!("{name} is in the table twice"));
        }
        VALUES[i].store(order as u8, Relaxed);
    }
    match found.iter().position(|f| !f) {
        Some(i) => Err(format!("{} is in the models, but not in the table", NAMES[i])),
        None => Ok(()),
    }
}

/// The names that no execution has used so far.
pub fn unused() -> Vec<&'static str> {
    let used = |i: &usize| !USED[*i].load(Relaxed);
    (0..NAMES.len()).filter(used).map(|i| NAMES[i]).collect()
}

impl Ord {
    fn order(self) -> Order {
        let i = match self {
            Ord::Is(o) => return o,
            Ord::Table(i) => i,
        };
        USED[i].store(true, Relaxed);
        match VALUES[i].load(Relaxed) {
            0 => Order::Relaxed,
            1 => Order::Acquire,
            2 => Order::Release,
            3 => Order::AcqRel,
            _ => Order::SeqCst,
        }
    }

    // To loom a seq_cst access is an acq_rel one and only its fences are real, so each such access
    // gets a fence before it. A load takes the acquire part of an order, a store the release part.
    fn load(self) -> Ordering {
        match self.order() {
            Order::Relaxed | Order::Release => Ordering::Relaxed,
            Order::Acquire | Order::AcqRel => Ordering::Acquire,
            Order::SeqCst => fenced(Ordering::Acquire),
        }
    }
    fn store(self) -> Ordering {
        match self.order() {
            Order::Relaxed | Order::Acquire => Ordering::Relaxed,
            Order::Release | Order::AcqRel => Ordering::Release,
            Order::SeqCst => fenced(Ordering::Release),
        }
    }
    fn both(self) -> Ordering {
        match self.order() {
            Order::Relaxed => Ordering::Relaxed,
            Order::Acquire => Ordering::Acquire,
            Order::Release => Ordering::Release,
            Order::AcqRel => Ordering::AcqRel,
            Order::SeqCst => fenced(Ordering::AcqRel),
        }
    }
}

/// To loom a fence is not a step: it tries no other order of two fences, and lets no thread come
/// between a fence and what its thread did before. A step on a word that all fences share makes up
/// for that. It is relaxed, so it orders nothing.
fn fenced(o: Ordering) -> Ordering {
    let step = FENCES.load(Relaxed);
    // SAFETY: keep() keeps it until the next execution begins, which sets another.
    unsafe { &*step }.fetch_add(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    o
}

static FENCES: AtomicPtr<AtomicUsize> = AtomicPtr::new(std::ptr::null_mut());

/// Begins an execution.
pub fn begin() {
    FENCES.store(keep(AtomicUsize::new(0)) as *const AtomicUsize as *mut AtomicUsize, Relaxed);
}

/// An atomic word, or an atomic pointer as a number.
pub struct Word {
    a: AtomicUsize,
    life: Option<&'static Life>,
}

impl Word {
    pub fn new(v: usize) -> Word {
        Word { a: AtomicUsize::new(v), life: None }
    }
    /// A word in memory that will be freed.
    pub fn of(life: &'static Life, v: usize) -> Word {
        Word { a: AtomicUsize::new(v), life: Some(life) }
    }
    /// Called after the fence, which would otherwise order the check and not the access itself.
    fn touch(&self) -> &AtomicUsize {
        if let Some(life) = self.life {
            life.touch();
        }
        &self.a
    }
    pub fn load(&self, o: Ord) -> usize {
        let o = o.load();
        self.touch().load(o)
    }
    pub fn store(&self, v: usize, o: Ord) {
        let o = o.store();
        self.touch().store(v, o)
    }
    /// A store to a word that other threads exchange meanwhile. What an exchange stores comes
    /// directly after what it has read, so no store comes between. loom does not know that, and
    /// lets a load take the exchange's value for the newer one. An exchange that acquires nothing
    /// is ordered correctly.
    pub fn store_among_exchanges(&self, v: usize, o: Ord) {
        let o = o.store();
        self.touch().swap(v, o);
    }
    pub fn exchange(&self, v: usize, o: Ord) -> usize {
        let o = o.both();
        self.touch().swap(v, o)
    }
    pub fn fetch_add(&self, n: usize, o: Ord) -> usize {
        let o = o.both();
        self.touch().fetch_add(n, o)
    }
    pub fn fetch_sub(&self, n: usize, o: Ord) -> usize {
        let o = o.both();
        self.touch().fetch_sub(n, o)
    }
    pub fn fetch_or(&self, n: usize, o: Ord) -> usize {
        let o = o.both();
        self.touch().fetch_or(n, o)
    }
    pub fn fetch_and(&self, n: usize, o: Ord) -> usize {
        let o = o.both();
        self.touch().fetch_and(n, o)
    }
    /// A compare-and-swap whose failure is relaxed, as almost all in rawwaker.c. If it returns
    /// false, expected is what it has found.
    pub fn compare_exchange(&self, expected: &mut usize, new: usize, o: Ord) -> bool {
        self.compare_exchange_or(expected, new, o, RELAXED)
    }
    pub fn compare_exchange_or(
        &self,
        expected: &mut usize,
        new: usize,
        o: Ord,
        failed: Ord,
    ) -> bool {
        let (o, failed) = (o.both(), failed.load());
        match self.touch().compare_exchange(*expected, new, o, failed) {
            Ok(_) => true,
            Err(found) => {
                *expected = found;
                false
            }
        }
    }
}

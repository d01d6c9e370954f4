//! Panics that cross the FFI boundary.
//!
//! C sees the text of a panic. The payload itself is kept beside C, so that Rust code which awaits
//! a Rust future through the C ABI panics with the same payload. Each poll of a C future by this
//! crate opens a slot of its thread, and closes it when the poll returns. A Rust future that panics
//! during that time puts its payload there. So no payload outlives the poll that could take it, and
//! none reaches another poll. The slot is a variable of this copy of the crate: two copies in one
//! process exchange only texts.
//!
//! A panic that leaves the thread of its slot, as through Go, arrives as its text. So that its
//! message is not printed twice, the texts that were printed and have not arrived are noted.

use std::any::Any;
use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::ffi::CStr;
use std::fmt;
use std::hash::Hasher;
use std::io::Write;
use std::mem::{forget, ManuallyDrop};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::sys::{self, PANICKED};

type Payload = Box<dyn Any + Send>;

/// The text of a payload that is not a string: what std prints for it.
const NO_STRING: &str = "Box<dyn Any>";

/// The longest text that `rawwaker_set_panic` keeps, in bytes.
const TEXT_MAX: usize = 1024;

/// What a thread's slot holds during a poll of a C future.
pub(crate) struct Slot {
    open: bool,
    /// Of the last panic of a Rust future in this poll.
    payload: Option<Payload>,
    /// How many such payloads were not strings: their texts do not tell them apart.
    nameless: u32,
}

impl Slot {
    const CLOSED: Slot = Slot { open: false, payload: None, nameless: 0 };
    const OPEN: Slot = Slot { open: true, payload: None, nameless: 0 };

    /// Drops the payload: no panic continues with it in this poll.
    pub(crate) fn discard(self) {
        if let Some(payload) = self.payload {
            leave(payload);
        }
    }
}

thread_local! {
    /// ManuallyDrop, so that the variable needs no destructor and stays usable while a thread ends.
    /// It holds no payload then, because no poll is in progress.
    static SLOT: Cell<ManuallyDrop<Slot>> = const { Cell::new(ManuallyDrop::new(Slot::CLOSED)) };
}

/// Calls `poll`, a poll slot of C, which does not unwind. Returns its code and what Rust futures
/// have put into the slot meanwhile.
pub(crate) fn with_slot(poll: impl FnOnce() -> u8) -> (u8, Slot) {
    let outer = SLOT.replace(ManuallyDrop::new(Slot::OPEN));
    let code = poll();
    (code, ManuallyDrop::into_inner(SLOT.replace(outer)))
}

/// The last texts that the panic hook has printed and that have not arrived, as their hashes; 0 is
/// none. A new one takes the place of the oldest.
static PRINTED: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish() | 1
}

/// Drops the payload of a panic that may arrive on another thread or in another poll, as its text.
fn leave(payload: Payload) {
    let at = NEXT.fetch_add(1, Relaxed) % PRINTED.len();
    PRINTED[at].store(hash(as_c(text_of(&*payload))), Relaxed);
    discard(payload);
}

/// Whether `text` is noted. Removes it.
fn was_printed(text: &[u8]) -> bool {
    let hash = hash(text);
    !text.is_empty()
        && PRINTED.iter().any(|at| at.compare_exchange(hash, 0, Relaxed, Relaxed).is_ok())
}

/// Puts `payload` into the slot. Returns one that has no place there.
fn keep(payload: Payload) -> Option<Payload> {
    let mut slot = SLOT.replace(ManuallyDrop::new(Slot::CLOSED));
    let left = if slot.open {
        let nameless = u32::from(string_of(&*payload).is_none());
        slot.nameless = slot.nameless.saturating_add(nameless);
        slot.payload.replace(payload)
    } else {
        Some(payload) // this crate does not await the future
    };
    SLOT.set(slot);
    left
}

/// Ends a poll slot whose future has panicked with `payload`.
pub(crate) fn raise(payload: Payload) -> u8 {
    let text = text_of(&*payload).to_owned();
    if let Some(left) = keep(payload) {
        leave(left);
    }
    panicked(&text) // last: the drop of a payload may poll, which sets the text
}

/// Ends a poll slot with a text and without a payload.
pub(crate) fn panicked(text: &str) -> u8 {
    // SAFETY: C copies the bytes.
    unsafe { sys::rawwaker_set_panic(text.as_ptr().cast(), text.len()) };
    PANICKED
}

fn string_of(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// The text of a panic as C sees it, but for C's limits.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> &str {
    string_of(payload).unwrap_or(NO_STRING)
}

/// The bytes of `text` that `rawwaker_last_panic` returns.
fn as_c(text: &str) -> &[u8] {
    let cut = &text.as_bytes()[..text.len().min(TEXT_MAX)];
    cut.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Drops a value that no caller takes. If its drop panics, drops that panic's payload too. If that
/// drop panics as well, leaks the second payload, since its drop might panic again without end.
pub(crate) fn discard<T>(value: T) {
    let quietly = |drops: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(drops)).err();
    let mut value = Some(value);
    let mut again = quietly(&mut || drop(value.take()));
    if let Some(last) = quietly(&mut || drop(again.take())) {
        forget(last);
    }
}

/// Ends the process with one line. For what C has no way to receive.
pub(crate) fn die(why: &str) -> ! {
    let line = format!("rawwaker: {}\n", why.replace(['\n', '\r'], " "));
    let _ = std::io::stderr().write_all(line.as_bytes()); // not eprintln, which may panic
    std::process::abort()
}

/// A panic of a future or stream of C, Go or Rust that was awaited through the C ABI: the error of
/// [`Foreign::outcome`](crate::Foreign::outcome).
///
/// It owns its text and, if there is one, the original payload. Any thread may use or drop it. To
/// let the panic continue, call [`resume`](ForeignPanic::resume).
pub struct ForeignPanic {
    message: String,
    /// It began in a Rust future, whose panic ran the panic hook.
    reported: bool,
    /// The original payload if it is not a string. The Mutex is never locked: it makes this Sync.
    payload: Option<Mutex<Payload>>,
}

impl ForeignPanic {
    /// The panic behind the `PANICKED` that the poll with this `slot` has just returned.
    pub(crate) fn new(slot: Slot) -> ForeignPanic {
        // SAFETY: never NULL, and valid until this thread's next poll. What follows may poll, so
        // the text is copied first.
        let text = unsafe { CStr::from_ptr(sys::rawwaker_last_panic()) }.to_owned();
        let message = text.to_string_lossy();
        // The panic is the one in the slot if C has passed it on. If C has caught that one and
        // panics for a reason of its own, the texts differ.
        let (same, other): (Option<Payload>, _) = match slot.payload {
            Some(p) if as_c(text_of(&*p)) == text.to_bytes() => (Some(p), None),
            other => (None, other),
        };
        let mut panic =
            ForeignPanic { message: message.into(), reported: same.is_some(), payload: None };
        match same {
            Some(payload) => match string_of(&*payload) {
                Some(whole) => panic.message = whole.to_owned(), // C may have cut it
                None if slot.nameless == 1 => panic.payload = Some(Mutex::new(payload)),
                None => discard(payload), // it may be another one than C has passed on
            },
            None => {
                panic.reported = was_printed(text.to_bytes());
                other.into_iter().for_each(leave);
            }
        }
        panic
    }

    /// The panic of a poll slot that returned a code which it must not return.
    pub(crate) fn of_code(slot: &str, code: u8) -> ForeignPanic {
        let message = format!("slot {slot} returned {code}, which is not a rawwaker_poll");
        ForeignPanic { message, reported: false, payload: None }
    }

    /// The text of the panic, empty if there is none.
    ///
    /// It is what `rawwaker_last_panic` returned, at most 1 KiB. If a Rust future has panicked, it
    /// is the whole text, or `Box<dyn Any>` if the payload is not a string.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the value for [`resume_unwind`] or a log: the original payload of a Rust future's
    /// panic if it is not a string, and a `String` otherwise.
    ///
    /// The payload of a Rust future arrives if this copy of the crate has exported the future, and
    /// the future was polled on the thread of the poll that failed. C code in between must pass the
    /// text on. If several such payloads were caught in that poll, none arrives, because their
    /// texts are equal.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        match self.payload {
            Some(payload) => payload.into_inner().unwrap_or_else(PoisonError::into_inner),
            None => Box::new(self.message),
        }
    }

    /// Continues the panic on this thread, as awaiting the future without `outcome` does.
    ///
    /// If it began in a Rust future that this copy of the crate has exported, its message has been
    /// printed, and the panic hook does not run again. Otherwise this panics with the text of C or
    /// Go, and the hook runs. If the Rust future was polled on another thread, as Go does, only the
    /// text shows that: among the last 32 such texts, an equal one counts.
    ///
    /// # Panics
    ///
    /// Always.
    pub fn resume(self) -> ! {
        if self.reported {
            resume_unwind(self.into_payload())
        }
        panic!("{self}")
    }
}

impl fmt::Display for ForeignPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.message.as_str() {
            "" => "a foreign future panicked without a message",
            text => text,
        })
    }
}

impl fmt::Debug for ForeignPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignPanic")
            .field("message", &self.message)
            .field("has_payload", &self.payload.is_some())
            .finish()
    }
}

impl std::error::Error for ForeignPanic {}

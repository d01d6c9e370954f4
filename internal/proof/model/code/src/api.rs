//! The library under test: loaded, and called. The names are those of rawwaker.h and
//! rawwaker_channel.h.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_void, CStr, CString};

use crate::shim::{self, Ops, Symbol};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Waker {
    pub data: *mut c_void,
    pub vtable: *const c_void,
}

#[repr(C)]
pub struct Context {
    pub waker: *const Waker,
}

pub const READY: u8 = 0;
pub const PENDING: u8 = 1;
pub const PANICKED: u8 = 2;
pub const DONE: u8 = 3;

#[repr(C)]
pub struct FutureVtable {
    pub poll: extern "C" fn(*mut c_void, *mut Context, *mut c_void) -> u8,
    pub drop: extern "C" fn(*mut c_void),
}

/// A future, or a stream.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Future {
    pub data: *mut c_void,
    pub vtable: *const FutureVtable,
}

#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Notice {
    pub id: u64,
    pub woken: u32,
    pub last: u32,
}

/// Of a oneshot, or of a channel.
#[repr(C)]
pub struct OneshotOps {
    pub start: Option<extern "C" fn(*mut c_void)>,
    pub cancel: Option<extern "C" fn(*mut c_void)>,
    pub destroy: Option<extern "C" fn(*mut c_void, *mut c_void)>,
    pub release: Option<extern "C" fn(*mut c_void)>,
}

#[repr(C)]
pub struct JobOps {
    pub submit: extern "C" fn(*mut c_void, *mut c_void),
    pub cancel: Option<extern "C" fn(*mut c_void, *mut c_void)>,
    pub destroy: Option<extern "C" fn(*mut c_void, *mut c_void)>,
    pub release: Option<extern "C" fn(*mut c_void)>,
}

extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
    fn dl_iterate_phdr(
        f: extern "C" fn(*const Loaded, usize, *mut c_void) -> c_int,
        arg: *mut c_void,
    ) -> c_int;
}

#[repr(C)]
struct Loaded {
    base: usize,
    name: *const c_char,
    headers: *const Header,
    count: u16,
}

#[repr(C)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_size: u64,
    size: u64,
    align: u64,
}

const RTLD_NOW: c_int = 2;
const PT_LOAD: u32 = 1;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const PF_W: u32 = 2;

struct Wanted {
    path: CString,
    base: usize,
    writable: Vec<(usize, usize)>,
}

extern "C" fn look(l: *const Loaded, _: usize, arg: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr gives both, and arg is the Wanted below.
    let (l, wanted) = unsafe { (&*l, &mut *(arg as *mut Wanted)) };
    if l.name.is_null() || unsafe { CStr::from_ptr(l.name) } != wanted.path.as_c_str() {
        return 0;
    }
    wanted.base = l.base;
    let headers = unsafe { std::slice::from_raw_parts(l.headers, l.count as usize) };
    let relro = headers.iter().find(|h| h.kind == PT_GNU_RELRO);
    let read_only = relro.map_or(0, |h| (l.base + (h.address + h.size) as usize + 4095) & !4095);
    for h in headers.iter().filter(|h| h.kind == PT_LOAD && h.flags & PF_W != 0) {
        let start = (l.base + h.address as usize).max(read_only);
        let end = l.base + (h.address + h.size) as usize;
        if start < end {
            wanted.writable.push((start, end - start));
        }
    }
    1
}

macro_rules! api {
    ($($name:ident($($arg:ident: $t:ty),*) $(-> $r:ty)?;)*) => {
        struct Api {
            $($name: usize,)*
        }
        fn find(library: *mut c_void) -> Api {
            Api { $($name: symbol(library, stringify!($name)),)* }
        }
        $(pub fn $name($($arg: $t),*) $(-> $r)? {
            // SAFETY: the headers declare it so; main has loaded the library.
            unsafe {
                let f: extern "C" fn($($t),*) $(-> $r)? =
                    std::mem::transmute((*API.0.get()).as_ref().expect("a library").$name);
                f($($arg),*)
            }
        })*
    };
}

type Ptr = *mut c_void;

api! {
    rawwaker_clone(w: *const Waker) -> Waker;
    rawwaker_wake(w: Waker);
    rawwaker_wake_by_ref(w: *const Waker);
    rawwaker_drop(w: Waker);
    rawwaker_from_fn(wake: extern "C" fn(Ptr), arg: Ptr, drop: Option<extern "C" fn(Ptr)>) -> Waker;
    rawwaker_block_on(f: Future, out: Ptr) -> u8;
    rawwaker_cell_register(c: Ptr, w: *const Waker);
    rawwaker_cell_wake(c: Ptr);
    rawwaker_cell_drop(c: Ptr);
    rawwaker_watch(w: *const c_void);
    rawwaker_watch_made(sender: Ptr, call: *const c_char) -> Ptr;
    rawwaker_oneshot_new(size: usize, align: usize, ops: *const OneshotOps, arg: Ptr, tx: *mut Ptr)
        -> Future;
    rawwaker_oneshot_send(tx: Ptr, value: *const c_void) -> bool;
    rawwaker_oneshot_closed(tx: Ptr) -> bool;
    rawwaker_oneshot_fail(tx: Ptr, text: *const c_char, len: usize);
    rawwaker_sink_new(flags: u32) -> Ptr;
    rawwaker_sink_drop(s: Ptr);
    rawwaker_sink_close(s: Ptr);
    rawwaker_sink_fd(s: Ptr) -> i32;
    rawwaker_sink_ack(s: Ptr);
    rawwaker_sink_sleep(s: Ptr) -> bool;
    rawwaker_sink_take(s: Ptr) -> Ptr;
    rawwaker_sink_on_wake(s: Ptr, w: Waker) -> bool;
    rawwaker_sink_reap();
    rawwaker_sink_words(s: Ptr, head: *mut Ptr, sleeping: *mut Ptr);
    rawwaker_box_new(s: Ptr, id: u64, flags: u32) -> Ptr;
    rawwaker_box_ref(b: Ptr) -> Waker;
    rawwaker_box_id(w: *const Waker) -> u64;
    rawwaker_box_close(b: Ptr);
    rawwaker_box_retire(b: Ptr) -> bool;
    rawwaker_box_read(list: *mut Ptr, out: *mut Notice, n: usize) -> usize;
    rawwaker_box_poll(s: Ptr, b: *mut Ptr, f: Future, out: Ptr, woken: *mut bool) -> u8;
    rawwaker_box_adopt(b: Ptr, id: u64) -> bool;
    rawwaker_queue_new() -> Ptr;
    rawwaker_queue_fd(q: Ptr) -> i32;
    rawwaker_queue_push(q: Ptr, n: Ptr) -> bool;
    rawwaker_queue_clone(q: Ptr) -> Ptr;
    rawwaker_queue_take(q: Ptr) -> Ptr;
    rawwaker_queue_next(n: Ptr) -> Ptr;
    rawwaker_queue_close(q: Ptr) -> Ptr;
    rawwaker_queue_drop(q: Ptr);
    rawwaker_queue_run(q: Ptr, engine: Ptr) -> bool;
    rawwaker_queue_stop(q: Ptr);
    rawwaker_queue_end(q: Ptr);
    rawwaker_job_new(q: Ptr, ops: *const JobOps, size: usize, align: usize, data: usize,
        job: *mut Ptr) -> Future;
    rawwaker_job_send(j: Ptr, value: *const c_void) -> bool;
    rawwaker_channel_new(size: usize, align: usize, capacity: usize, ops: *const OneshotOps,
        arg: Ptr, tx: *mut Ptr) -> Future;
    rawwaker_sender_try_send(tx: Ptr, item: *const c_void) -> c_int;
    rawwaker_sender_room(tx: Ptr) -> Future;
    rawwaker_sender_room_for(tx: Ptr, n: usize) -> Future;
    rawwaker_sender_clone(tx: Ptr) -> Ptr;
    rawwaker_sender_drop(tx: Ptr);
    rawwaker_sender_fail(tx: Ptr, text: *const c_char, len: usize);
}

struct Global(UnsafeCell<Option<Api>>);
// SAFETY: it is set once, before the first model runs, on the one thread that there is.
unsafe impl Sync for Global {}
static API: Global = Global(UnsafeCell::new(None));

fn symbol(library: *mut c_void, name: &str) -> usize {
    let c = CString::new(name).expect("a name");
    // SAFETY: the library is loaded.
    let found = unsafe { dlsym(library, c.as_ptr()) } as usize;
    assert!(found != 0, "the library has no {name}");
    found
}

/// Loads the library, whose symbols `nm -S` has written to symbols.
pub fn open(path: &str, symbols: &str) {
    let mut wanted =
        Wanted { path: CString::new(path).expect("a path"), base: 0, writable: Vec::new() };
    // SAFETY: it is ours, and made for this.
    unsafe {
        let library = dlopen(wanted.path.as_ptr(), RTLD_NOW);
        if library.is_null() {
            panic!("{}", CStr::from_ptr(dlerror()).to_string_lossy());
        }
        *(symbol(library, "code_ops") as *mut Ops) = shim::OPS;
        *API.0.get() = Some(find(library));
        dl_iterate_phdr(look, (&mut wanted) as *mut Wanted as *mut c_void);
    }
    assert!(wanted.base != 0, "{path} is an absolute path without links");
    let mut all = Vec::new();
    for line in symbols.lines() {
        let [start, size, _, name] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            continue;
        };
        let number = |s: &str| usize::from_str_radix(s, 16).expect("a number of nm");
        all.push(Symbol {
            start: wanted.base + number(start),
            size: number(size),
            name: name.to_string(),
        });
    }
    shim::world().open(wanted.base, &wanted.writable, all);
}

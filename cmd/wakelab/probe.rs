// Prints where rustc has put the fields of its wakers. `wakelab layout` compiles and runs this. By
// hand:
//
//     rustc --edition 2021 probe.rs && ./probe
//
// The fields are private and their places are not specified. So the program builds each struct from
// values that it knows, and finds those among the struct's bytes. It prints one line for each: the
// name, then size and alignment, or offset and size.
use std::mem::{align_of, size_of, size_of_val};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

// Four functions that a compiler cannot merge: each adds its own number.
static CALLS: AtomicUsize = AtomicUsize::new(0);

fn clone(data: *const ()) -> RawWaker {
    CALLS.fetch_add(1, Relaxed);
    RawWaker::new(data, &VTABLE)
}
fn wake(_: *const ()) {
    CALLS.fetch_add(2, Relaxed);
}
fn wake_by_ref(_: *const ()) {
    CALLS.fetch_add(3, Relaxed);
}
fn drop_waker(_: *const ()) {
    CALLS.fetch_add(4, Relaxed);
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// The bytes of v, as a debugger reads them: padding too.
fn bytes<T>(v: &T) -> Vec<u8> {
    let at = v as *const T as *const u8;
    // SAFETY: all size_of_val(v) bytes belong to v, which does not move. They are read as volatile,
    // so that the compiler assumes nothing about them.
    (0..size_of_val(v)).map(|i| unsafe { at.add(i).read_volatile() }).collect()
}

/// Prints each place in v that holds word.
fn field<T>(name: &str, v: &T, word: usize) {
    let size = size_of::<usize>();
    let bytes = bytes(v);
    let windows = bytes.windows(size).enumerate();
    let places = windows.filter(|(_, w)| *w == word.to_ne_bytes()).map(|(i, _)| i.to_string());
    let places: Vec<String> = places.collect();
    let places = if places.is_empty() { "?".to_string() } else { places.join("|") };
    println!("{name} {places} {size}");
}

fn whole<T>(name: &str) {
    println!("{name} {} {}", size_of::<T>(), align_of::<T>());
}

fn main() {
    let data = 0x1234_5670usize;
    let vtable = &VTABLE as *const RawWakerVTable as usize;

    let raw = RawWaker::new(data as *const (), &VTABLE);
    whole::<RawWaker>("RawWaker");
    field("RawWaker.data", &raw, data);
    field("RawWaker.vtable", &raw, vtable);

    whole::<RawWakerVTable>("RawWakerVTable");
    field("RawWakerVTable.clone", &VTABLE, clone as *const () as usize);
    field("RawWakerVTable.wake", &VTABLE, wake as *const () as usize);
    field("RawWakerVTable.wake_by_ref", &VTABLE, wake_by_ref as *const () as usize);
    field("RawWakerVTable.drop", &VTABLE, drop_waker as *const () as usize);

    // SAFETY: the four functions keep RawWakerVTable's contract: they do not dereference data.
    let waker = unsafe { Waker::from_raw(raw) };
    let context = Context::from_waker(&waker);
    whole::<Context>("Context"); // it has a second reference to the waker, as local_waker
    field("Context.waker", &context, &waker as *const Waker as usize);
}

//! Tests futures and wakers of C, and of the crate async-ffi, each polled by the other.

use async_ffi::{FfiContext, FfiFuture, FfiPoll, FutureExt};
use asyncffi_test::*;
use futures::executor::block_on;
use futures::FutureExt as _;
use std::cell::RefCell;
use std::ffi::c_void;
use std::future::{pending, poll_fn, Future};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

// ------------------------------------------------------------------------------------- helpers

/// A task of an executor that does not use rawwaker.c. It must outlive its wakers.
#[derive(Default)]
struct Foreign {
    clones: AtomicUsize,
    wakes: AtomicUsize,
    wakes_by_ref: AtomicUsize,
    drops: AtomicUsize,
}

impl Foreign {
    /// Returns the borrowed waker, which is not counted.
    fn waker(&self) -> RawWaker {
        RawWaker { data: (&raw const *self).cast_mut().cast(), vtable: &FOREIGN }
    }
    fn clones(&self) -> usize {
        self.clones.load(SeqCst)
    }
    /// Returns the number of calls of wake and wake_by_ref.
    fn woken(&self) -> usize {
        self.wakes.load(SeqCst) + self.wakes_by_ref.load(SeqCst)
    }
    /// Returns the number of clones that were neither woken nor dropped.
    fn held(&self) -> usize {
        self.clones() - self.wakes.load(SeqCst) - self.drops.load(SeqCst)
    }
}

static FOREIGN: RawWakerVTable = {
    /// # Safety
    /// `data` must be a valid Foreign.
    unsafe fn of<'a>(data: *mut c_void) -> &'a Foreign {
        // SAFETY: as promised.
        unsafe { &*data.cast::<Foreign>() }
    }
    unsafe extern "C" fn clone(data: *mut c_void) -> RawWaker {
        // SAFETY: the data of this vtable.
        let f = unsafe { of(data) };
        f.clones.fetch_add(1, SeqCst);
        f.waker()
    }
    unsafe extern "C" fn wake(data: *mut c_void) {
        // SAFETY: the data of this vtable.
        unsafe { of(data) }.wakes.fetch_add(1, SeqCst);
    }
    unsafe extern "C" fn wake_by_ref(data: *mut c_void) {
        // SAFETY: the data of this vtable.
        unsafe { of(data) }.wakes_by_ref.fetch_add(1, SeqCst);
    }
    unsafe extern "C" fn drop(data: *mut c_void) {
        // SAFETY: the data of this vtable.
        unsafe { of(data) }.drops.fetch_add(1, SeqCst);
    }
    RawWakerVTable { clone, wake, wake_by_ref, drop }
};

struct Count(AtomicUsize);

impl futures::task::ArcWake for Count {
    fn wake_by_ref(count: &Arc<Self>) {
        count.0.fetch_add(1, SeqCst);
    }
}

/// Returns a Rust waker that counts.
fn counting_waker() -> (Waker, Arc<Count>) {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    (futures::task::waker(count.clone()), count)
}

/// Wakes itself n times. Its result counts how often will_wake was false.
struct Counting {
    left: u32,
    kept: Option<Waker>,
    misses: u32,
}

impl Counting {
    fn ffi(polls: u32) -> FfiFuture<u32> {
        Counting { left: polls, kept: None, misses: 0 }.into_ffi()
    }
}

impl Future for Counting {
    type Output = u32;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<u32> {
        match &self.kept {
            Some(w) if w.will_wake(cx.waker()) => {}
            kept => {
                self.misses += u32::from(kept.is_some());
                self.kept = Some(cx.waker().clone());
            }
        }
        if self.left == 0 {
            return Poll::Ready(self.misses);
        }
        self.left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Returns PENDING once; a thread wakes it.
#[derive(Default)]
struct WokenByThread(Option<JoinHandle<()>>);

impl Future for WokenByThread {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<()> {
        if let Some(thread) = self.0.take() {
            thread.join().unwrap();
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        self.0 = Some(std::thread::spawn(move || waker.wake()));
        Poll::Pending
    }
}

/// Records that it was dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Never ready. Adds a clone of each poll's waker to the list; if `exchange` is set, the clone
/// replaces the former one.
fn stashes(list: &Arc<Mutex<Vec<Waker>>>, exchange: bool) -> RawFuture<u32> {
    let list = list.clone();
    let f = poll_fn(move |cx| {
        let mut list = list.lock().unwrap();
        if exchange {
            list.clear();
        }
        list.push(cx.waker().clone());
        Poll::Pending
    });
    u32::into_raw(f.into_ffi())
}

thread_local! {
    static SEEN: RefCell<Vec<RawWaker>> = const { RefCell::new(Vec::new()) };
}

fn see(w: &RawWaker) {
    SEEN.with_borrow_mut(|s| s.push(*w));
}
fn seen() -> Vec<RawWaker> {
    SEEN.take()
}

// ---------------------------------------------------------------------------------- the layout

#[test]
fn sizes_and_tags_agree_with_the_crate() {
    let _alone = alone();
    fn check<T: Fixture + Copy>(zero_is: fn(T) -> bool) {
        assert_eq!(T::poll_size(), size_of::<FfiPoll<T>>());
        assert_eq!(T::future_size(), size_of::<FfiFuture<T>>());
        for (tag, p) in [(PENDING, FfiPoll::<T>::Pending), (PANICKED, FfiPoll::Panicked)] {
            // SAFETY: the first byte of repr(C, u8) is the tag.
            assert_eq!(unsafe { (&raw const p).cast::<u8>().read() }, tag);
        }
        // SAFETY: all tags are among the three, and zero is one of each of these types.
        unsafe {
            assert!(matches!(T::tagged(READY), FfiPoll::Ready(v) if zero_is(v)));
            assert!(matches!(T::tagged(PENDING), FfiPoll::Pending));
            assert!(matches!(T::tagged(PANICKED), FfiPoll::Panicked));
        }
    }
    check::<()>(|()| true);
    check::<u8>(|v| v == 0);
    check::<u32>(|v| v == 0);
    check::<u64>(|v| v == 0);
    check::<f32>(|v| v == 0.0);
    check::<f64>(|v| v == 0.0);
    check::<[u64; 2]>(|v| v == [0, 0]);
    assert_eq!(context_size(), size_of::<FfiContext>());
    assert_eq!(async_ffi::ABI_VERSION, 2);
}

// ------------------------------------------------------------------------- Rust's futures in C

#[test]
fn c_awaits_a_rust_async_block() {
    let _alone = alone();
    assert_eq!(c_blocks_on(async { 42u32 }.into_ffi()), (READY, 42));
}

#[test]
fn c_awaits_a_rust_async_block_that_another_thread_wakes() {
    let _alone = alone();
    let f = async {
        WokenByThread::default().await;
        WokenByThread::default().await;
        42u32
    };
    assert_eq!(c_blocks_on(f.into_ffi()), (READY, 42));
}

#[test]
fn a_panic_in_rust_is_panicked_with_a_text_in_c() {
    let _alone = alone();
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = Dropped(dropped.clone());
    let f = async move {
        let _guard = guard;
        WokenByThread::default().await;
        if true {
            panic!("its text is lost in async-ffi");
        }
        1u32
    };
    assert_eq!(c_blocks_on(f.into_ffi()).0, PANICKED);
    assert_eq!(last_panic(), "async-ffi future panicked");
    assert!(dropped.load(SeqCst));
}

#[test]
fn a_drop_in_c_cancels_the_rust_async_block() {
    let _alone = alone();
    let (task, dropped) = (Foreign::default(), Arc::new(AtomicBool::new(false)));
    let guard = Dropped(dropped.clone());
    let mut f = u32::into_raw(
        async move {
            let _guard = guard;
            let mut kept = None;
            poll_fn(|cx| {
                kept = Some(cx.waker().clone());
                Poll::<u32>::Pending
            })
            .await
        }
        .into_ffi(),
    );
    assert_eq!(f.poll(&task.waker(), &mut 0u32), PENDING);
    assert!(!dropped.load(SeqCst));
    drop(f);
    assert!(dropped.load(SeqCst));
    assert_eq!((task.clones(), task.held(), task.woken()), (1, 0, 0));
}

#[test]
fn a_rust_future_that_is_never_polled_is_dropped_in_c() {
    let _alone = alone();
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = Dropped(dropped.clone());
    drop(<()>::into_raw(async move { drop(guard) }.into_ffi()));
    assert!(dropped.load(SeqCst));
}

// ------------------------------------------------------------------------- C's futures in Rust

#[test]
fn tokio_awaits_a_c_future_that_its_thread_wakes() {
    let _alone = alone();
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    assert_eq!(rt.block_on(c_thread(End::Ready, 42u32)), 42);
    let tasks: Vec<_> = (0..20u32).map(|n| rt.spawn(c_thread(End::Ready, n))).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(rt.block_on(task).unwrap(), n);
    }
}

#[test]
fn the_futures_executor_awaits_a_c_future_that_its_thread_wakes() {
    let _alone = alone();
    assert_eq!(block_on(c_thread(End::Ready, 42u32)), 42);
    let all = futures::future::join_all((0..20u32).map(|n| c_thread(End::Ready, n)));
    assert_eq!(block_on(all), (0..20).collect::<Vec<u32>>());
}

#[test]
fn a_panic_in_c_is_a_panic_in_rust() {
    let _alone = alone();
    let dropped = c_threads_dropped();
    let got = catch_unwind(|| block_on(c_thread(End::Panicked, 0u32)));
    assert_eq!(*got.unwrap_err().downcast::<&str>().unwrap(), "FFI future panicked");
    assert_eq!(last_panic(), "the thread is unwell");
    assert_eq!(c_threads_dropped(), dropped + 1);

    // A panic without a text does not repeat the text of another.
    assert!(catch_unwind(|| block_on(c_thread(End::Silently, 0u32))).is_err());
    assert_eq!(last_panic(), "");
    assert_eq!(c_threads_dropped(), dropped + 2);

    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    assert!(rt.block_on(rt.spawn(c_thread(End::Panicked, ()))).unwrap_err().is_panic());
    assert_eq!(c_threads_dropped(), dropped + 3);
}

#[test]
fn a_drop_in_rust_cancels_the_c_future() {
    let _alone = alone();
    let dropped = c_threads_dropped();
    assert_eq!(c_thread(End::Never, 0u32).now_or_never(), None);
    assert_eq!(c_threads_dropped(), dropped + 1);

    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    rt.block_on(async {
        tokio::select! {
            biased;
            _ = c_thread(End::Never, 0u32) => unreachable!(),
            _ = async {} => {}
        }
    });
    assert_eq!(c_threads_dropped(), dropped + 2);
    let task = rt.spawn(c_thread(End::Never, 0u32));
    task.abort();
    assert!(rt.block_on(task).unwrap_err().is_cancelled());
    assert_eq!(c_threads_dropped(), dropped + 3);
}

#[test]
fn a_c_future_that_is_polled_after_completion_panics() {
    let _alone = alone();
    let mut f = pin!(u32::from_raw(c_counting(0)));
    assert_eq!(block_on(f.as_mut()), 0);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(catch_unwind(AssertUnwindSafe(|| f.as_mut().poll(&mut cx))).is_err());
    assert_eq!(last_panic(), "future polled after completion");
}

#[test]
fn a_code_that_poll_may_not_return_aborts() {
    if std::env::var_os("ASYNCFFI_TEST_DIES").is_some() {
        block_on(c_thread(End::Oddly, 0u32));
        return;
    }
    let _alone = alone();
    let died = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_code_that_poll_may_not_return_aborts", "--nocapture"])
        .env("ASYNCFFI_TEST_DIES", "")
        .output()
        .unwrap();
    assert!(!died.status.success());
    let text = String::from_utf8_lossy(&died.stderr);
    assert!(
        text.contains("rawwaker: async-ffi poll: slot poll returned an unknown code\n"),
        "{text}"
    );
}

// ----------------------------------------------------------------------------- kinds of result

#[test]
fn each_way_of_returning_a_result_works_in_both_directions() {
    let _alone = alone();
    fn check<T: Fixture + Copy + Default + PartialEq + std::fmt::Debug + Send + 'static>(value: T) {
        let from_rust = async move {
            WokenByThread::default().await;
            value
        };
        assert_eq!(c_blocks_on(from_rust.into_ffi()), (READY, value));
        assert_eq!(block_on(c_thread(End::Ready, value)), value);
        // C's future through Rust's, back to C.
        let f = async move { c_thread(End::Ready, value).await };
        assert_eq!(c_blocks_on(f.into_ffi()), (READY, value));
    }
    check(());
    check(0xA5u8);
    check(0xDEAD_BEEFu32);
    check(u64::MAX - 1);
    check(1.5f32); // beside the tag, in an integer register
    check(-2.25f64); // in a register of its own
    check([u64::MAX, 1 << 63]); // through memory
}

// ---------------------------------------------------------------------------------- the wakers

#[test]
fn a_box_goes_in_and_the_same_box_comes_out() {
    let _alone = alone();
    let w = FnWaker::new();
    // C polls an async-ffi future, which polls a C future, three levels deep.
    let mut f = c_counting(1).spied_on(see);
    for _ in 0..3 {
        f = u32::into_raw(u32::from_raw(f)).spied_on(see);
    }
    assert_eq!(f.poll(&w.0, &mut 0u32), PENDING);
    assert_eq!(seen(), [w.0; 4]);
}

#[test]
fn a_foreign_waker_goes_in_and_the_same_waker_comes_out() {
    let _alone = alone();
    let task = Foreign::default();
    let mut f = c_counting(1).spied_on(see);
    for _ in 0..3 {
        f = u32::into_raw(u32::from_raw(f)).spied_on(see);
    }
    assert_eq!(f.poll(&task.waker(), &mut 0u32), PENDING);
    assert_eq!(seen(), [task.waker(); 4]);
    drop(f);
    assert_eq!((task.held(), task.woken()), (0, 1));
}

#[test]
fn rust_sees_the_boxs_own_pointer() {
    let _alone = alone();
    let w = FnWaker::new();
    let mine = w.0.data as usize;
    let f = poll_fn(move |cx| Poll::Ready(u32::from(cx.waker().data() as usize == mine)));
    let mut same = 0;
    assert_eq!(u32::into_raw(f.into_ffi()).poll(&w.0, &mut same), READY);
    assert_eq!(same, 1);
}

#[test]
fn a_waker_of_rust_goes_through_c_to_rust_as_it_is() {
    let _alone = alone();
    let inner = poll_fn(|cx| Poll::Ready(cx.waker().data() as usize as u64)).into_ffi();
    let pointer = block_on(u64::from_raw(u64::into_raw(inner).spied_on(see)));
    let seen = seen();
    assert_eq!(seen.len(), 1);
    assert!(!is_box(&seen[0]));
    assert_eq!(seen[0].data as usize as u64, pointer);
}

#[test]
fn a_clone_of_a_waker_of_rust_wakes_it_after_the_poll() {
    let _alone = alone();
    thread_local!(static KEPT: RefCell<Vec<RawWaker>> = const { RefCell::new(Vec::new()) });
    // SAFETY: the waker is alive during the poll.
    let mut f = pin!(u32::from_raw(
        c_counting(1).spied_on(|w| KEPT.with_borrow_mut(|k| k.push(unsafe { clone(w) })))
    ));
    let (host, count) = counting_waker();
    assert!(f.as_mut().poll(&mut Context::from_waker(&host)).is_pending());
    assert_eq!(count.0.load(SeqCst), 1);
    let kept = KEPT.take().pop().unwrap();
    // SAFETY: kept is owned; so is its clone.
    unsafe {
        let again = clone(&kept);
        wake(kept);
        wake(again);
    }
    assert_eq!(count.0.load(SeqCst), 3);
    // The counting future keeps one clone, in async-ffi's Box.
    assert_eq!(Arc::strong_count(&count), 3);
}

#[test]
fn between_two_files_wakers_are_wrapped_and_wakes_arrive() {
    let _alone = alone();
    let task = Foreign::default();
    let mut f = u32::into_raw(other_from_raw(c_counting(3).spied_on(see)));
    let mut misses = 0;
    for _ in 0..3 {
        assert_eq!(f.poll(&task.waker(), &mut misses), PENDING);
    }
    assert_eq!(f.poll(&task.waker(), &mut misses), READY);
    drop(f);
    // Wrapped, but in the same adapter each time.
    assert!(seen().iter().all(|w| *w != task.waker()));
    assert_eq!((misses, task.clones(), task.held(), task.woken()), (0, 1, 0, 3));

    // A box is recognised in each file.
    let w = FnWaker::new();
    let mut f = u32::into_raw(other_from_raw(c_counting(1).spied_on(see)));
    assert_eq!(f.poll(&w.0, &mut misses), PENDING);
    assert_eq!(seen(), [w.0]);

    // An adapter of one file under an adapter of the other.
    let mut f = other_into_raw(u32::from_raw(u32::into_raw(Counting::ffi(1))));
    assert_eq!(f.poll(&task.waker(), &mut misses), PENDING);
    assert_eq!(task.woken(), 4);
    assert_eq!(f.poll(&task.waker(), &mut misses), READY);
    drop(f);
    assert_eq!((misses, task.held()), (0, 0));
}

#[test]
fn a_waker_that_changes_is_followed_and_old_clones_wake_the_old_task() {
    let _alone = alone();
    let (a, b, c) = (Foreign::default(), Foreign::default(), Foreign::default());
    let list = Arc::new(Mutex::new(Vec::new()));
    let mut f = stashes(&list, false);
    for task in [&a, &b, &a, &c, &c] {
        assert_eq!(f.poll(&task.waker(), &mut 0u32), PENDING);
    }
    let woken = || [&a, &b, &c].map(Foreign::woken);
    let mut expected = [0; 3];
    let mut wakers = std::mem::take(&mut *list.lock().unwrap()).into_iter();
    for task in [0, 1, 0] {
        wakers.next().unwrap().wake();
        expected[task] += 1;
        assert_eq!(woken(), expected);
    }
    // Clones outlive the future, and keep its memory.
    drop(f);
    for waker in wakers {
        waker.wake();
        expected[2] += 1;
        assert_eq!(woken(), expected);
    }
    assert_eq!([&a, &b, &c].map(Foreign::held), [0; 3]);
}

#[test]
fn a_waker_that_is_no_longer_used_is_dropped_with_the_next_poll() {
    let _alone = alone();
    let (a, b) = (Foreign::default(), Foreign::default());
    let list = Arc::new(Mutex::new(Vec::new()));
    let mut f = stashes(&list, true);
    for _ in 0..3 {
        assert_eq!(f.poll(&a.waker(), &mut 0u32), PENDING);
        assert_eq!((a.held(), b.held()), (1, 0));
        assert_eq!(f.poll(&b.waker(), &mut 0u32), PENDING);
        assert_eq!((a.held(), b.held()), (0, 1));
    }
    // Under a box no adapter is needed.
    let w = FnWaker::new();
    assert_eq!(f.poll(&w.0, &mut 0u32), PENDING);
    assert_eq!((a.held(), b.held()), (0, 0));
    list.lock().unwrap().clear();
}

#[test]
fn a_future_that_nothing_can_wake_keeps_no_waker() {
    let _alone = alone();
    let task = Foreign::default();
    let mut polled = false;
    let f = poll_fn(move |cx| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(1u32),
        false => {
            let own = cx.waker().clone();
            own.wake();
            Poll::Pending
        }
    });
    let mut f = u32::into_raw(f.into_ffi());
    assert_eq!(f.poll(&task.waker(), &mut 0u32), PENDING);
    assert_eq!(
        (task.held(), task.woken()),
        (0, 1),
        "a task that its wakers keep alive would never be freed"
    );
    assert_eq!(f.poll(&task.waker(), &mut 0u32), READY);
    assert_eq!((task.clones(), task.held()), (2, 0));
}

#[test]
fn the_noop_waker_serves_rust_too() {
    let _alone = alone();
    let mut f = u32::into_raw(Counting::ffi(1));
    let mut misses = 9;
    assert_eq!(f.poll(&noop(), &mut misses), PENDING);
    assert_eq!(f.poll(&noop(), &mut misses), READY);
    assert_eq!(misses, 0);
}

#[test]
fn clones_are_woken_and_dropped_on_many_threads_while_the_waker_changes() {
    let _alone = alone();
    const THREADS: usize = 4;
    const POLLS: usize = 2000;
    let tasks = [Foreign::default(), Foreign::default()];
    let (send, threads): (Vec<_>, Vec<_>) = (0..THREADS)
        .map(|_| {
            let (send, receive) = std::sync::mpsc::channel::<Waker>();
            let thread = std::thread::spawn(move || {
                for waker in receive {
                    waker.wake_by_ref();
                    drop(waker.clone());
                    let other = waker.clone();
                    other.wake();
                    drop(waker);
                }
            });
            (send, thread)
        })
        .unzip();
    let f = poll_fn(move |cx| {
        for s in &send {
            s.send(cx.waker().clone()).unwrap();
        }
        Poll::<u32>::Pending
    });
    let mut f = u32::into_raw(f.into_ffi());
    for n in 0..POLLS {
        assert_eq!(f.poll(&tasks[n / 3 % 2].waker(), &mut 0u32), PENDING);
    }
    drop(f);
    for t in threads {
        t.join().unwrap();
    }
    assert_eq!(tasks[0].woken() + tasks[1].woken(), THREADS * POLLS * 2);
    assert_eq!(tasks.each_ref().map(Foreign::held), [0, 0]);
}

// ------------------------------------------------------------------------------- what it costs

const POLLS: u32 = 1000;

/// Polls f POLLS + 1 times, and returns its result and how often malloc was called.
fn drive(f: &mut RawFuture<u32>, w: &RawWaker) -> (u32, usize) {
    let mut misses = u32::MAX;
    let (before, _) = allocations();
    for _ in 0..POLLS {
        assert_eq!(f.poll(w, &mut misses), PENDING);
    }
    assert_eq!(f.poll(w, &mut misses), READY);
    (misses, allocations().0 - before)
}

#[test]
fn each_conversion_is_one_allocation_and_one_free() {
    let _alone = alone();
    let f = Counting::ffi(0);
    let (mallocs, frees) = allocations();
    let f = u32::into_raw(f);
    assert_eq!(allocations(), (mallocs + 1, frees));
    let f = u32::from_raw(f);
    assert_eq!(allocations(), (mallocs + 2, frees));
    // The third is the Box that async-ffi allocates for the future.
    drop(f);
    assert_eq!(allocations(), (mallocs + 2, frees + 3));
}

#[test]
fn c_polls_rust_a_thousand_times_under_a_box_without_a_miss_or_an_allocation() {
    let _alone = alone();
    let w = FnWaker::new();
    assert_eq!(drive(&mut u32::into_raw(Counting::ffi(POLLS)), &w.0), (0, 0));
    assert_eq!(c_blocks_on(Counting::ffi(POLLS)), (READY, 0));
}

#[test]
fn c_polls_rust_a_thousand_times_under_a_foreign_waker_without_a_miss_or_an_allocation() {
    let _alone = alone();
    let task = Foreign::default();
    let mut f = u32::into_raw(Counting::ffi(POLLS));
    assert_eq!(drive(&mut f, &task.waker()), (0, 0));
    drop(f);
    assert_eq!((task.clones(), task.held(), task.woken()), (1, 0, POLLS as usize));
}

#[test]
fn c_polls_c_through_async_ffi_a_thousand_times_without_a_miss_or_an_allocation() {
    let _alone = alone();
    let (w, task) = (FnWaker::new(), Foreign::default());
    assert_eq!(drive(&mut u32::into_raw(u32::from_raw(c_counting(POLLS))), &w.0), (0, 0));
    assert_eq!(drive(&mut u32::into_raw(u32::from_raw(c_counting(POLLS))), &task.waker()), (0, 0));
    // One for the future, and one for each poll's adapter, of which no clone is kept.
    assert_eq!(
        (task.clones(), task.held(), task.woken()),
        (1 + POLLS as usize + 1, 0, POLLS as usize)
    );
}

/// async-ffi's Rust host keeps each poll's waker on its stack, and each clone in a Box of its own.
/// So will_wake is always false, and a future that keeps its waker costs one allocation for each poll.
/// The header adds none, and can avoid none.
#[test]
fn rust_polls_c_a_thousand_times_at_async_ffis_own_price() {
    let _alone = alone();
    fn drive(f: FfiFuture<u32>) -> (u32, usize) {
        let mut f = pin!(f);
        let mut cx = Context::from_waker(Waker::noop());
        let before = allocations().0;
        loop {
            if let Poll::Ready(misses) = f.as_mut().poll(&mut cx) {
                return (misses, allocations().0 - before);
            }
        }
    }
    let rust_alone = drive(Counting::ffi(POLLS));
    assert_eq!(drive(u32::from_raw(c_counting(POLLS))), rust_alone);
    // From Rust through C to Rust.
    assert_eq!(drive(u32::from_raw(u32::into_raw(Counting::ffi(POLLS)))), rust_alone);
    assert_eq!(rust_alone, (POLLS, POLLS as usize + 1));
}

#[test]
fn two_wakers_by_turns_cost_an_adapter_every_other_poll() {
    let _alone = alone();
    let tasks = [Foreign::default(), Foreign::default()];
    let list = Arc::new(Mutex::new(Vec::with_capacity(1)));
    let mut f = stashes(&list, true);
    let before = allocations().0;
    for n in 0..POLLS as usize {
        assert_eq!(f.poll(&tasks[n % 2].waker(), &mut 0u32), PENDING);
    }
    assert_eq!(allocations().0 - before, POLLS as usize / 2);
    drop(f);
    list.lock().unwrap().clear();
    assert_eq!(tasks.each_ref().map(Foreign::held), [0, 0]);
}

#[test]
fn all_that_changing_wakers_allocate_is_freed() {
    let _alone = alone();
    let tasks = [Foreign::default(), Foreign::default(), Foreign::default()];
    let list = Arc::new(Mutex::new(Vec::with_capacity(16)));
    for exchange in [true, false] {
        let (mallocs, frees) = allocations();
        let mut f = stashes(&list, exchange);
        for n in [0, 1, 1, 0, 2, 2, 1, 0, 2] {
            assert_eq!(f.poll(&tasks[n].waker(), &mut 0u32), PENDING);
        }
        drop(f);
        assert_eq!(tasks.iter().map(Foreign::held).sum::<usize>(), if exchange { 1 } else { 5 });
        list.lock().unwrap().clear();
        let now = allocations();
        assert_eq!(now.0 - mallocs, now.1 - frees);
        assert_eq!(tasks.iter().map(Foreign::held).sum::<usize>(), 0);
    }
}

#[test]
fn a_future_that_no_executor_polls_holds_no_waker() {
    let _alone = alone();
    let f = u32::into_raw(pending::<u32>().into_ffi());
    let (_, frees) = allocations();
    drop(u32::from_raw(f));
    assert_eq!(allocations().1 - frees, 2);
}

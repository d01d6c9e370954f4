//! Rust's wakers as the kit sees them: those of std, tokio, async-task, async-executor and futures,
//! and this crate's.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use async_task::Runnable;
use ffiwaker::{waker_from_raw, waker_into_raw, RawWaker, RawWakerVTable};
use futures::stream::FuturesUnordered;
use futures::StreamExt;

use crate::sys::{rawwaker_from_fn, Arg, Call, Shows, Task, TestWaker};

// ---------------------------------------------------------------------------------- how they cross

/// How a `Waker` becomes a C waker.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// Each reference in C is one `Waker`. This tests the `Waker`'s own clone, wake and drop.
    Each,
    /// By `waker_into_raw`, which counts C's references itself: the task sees at most one of them.
    Crate,
    /// By `waker_from_raw` of such a C waker. Each reference in C is one of the resulting `Waker`s.
    Back,
}

static EACH: RawWakerVTable = RawWakerVTable {
    clone: each_clone,
    wake: each_wake,
    wake_by_ref: each_wake_by_ref,
    drop: each_drop,
};

unsafe extern "C" fn each_clone(data: Arg) -> RawWaker {
    // SAFETY: data is a boxed Waker with a live reference, here and below.
    each(unsafe { (*data.cast::<Waker>()).clone() })
}
unsafe extern "C" fn each_wake(data: Arg) {
    // SAFETY: as above; the reference is consumed.
    unsafe { Box::from_raw(data.cast::<Waker>()) }.wake();
}
unsafe extern "C" fn each_wake_by_ref(data: Arg) {
    // SAFETY: as above.
    unsafe { (*data.cast::<Waker>()).wake_by_ref() };
}
unsafe extern "C" fn each_drop(data: Arg) {
    // SAFETY: as above; the reference is consumed.
    drop(unsafe { Box::from_raw(data.cast::<Waker>()) });
}

pub fn each(w: Waker) -> RawWaker {
    RawWaker { data: Box::into_raw(Box::new(w)).cast(), vtable: &EACH }
}

impl Way {
    pub fn cross(self, w: Waker) -> RawWaker {
        match self {
            Way::Each => each(w),
            Way::Crate => waker_into_raw(w),
            // SAFETY: each gives its reference away.
            Way::Back => each(unsafe { waker_from_raw(each(w)) }),
        }
    }
}

// ---------------------------------------------------------------- tasks with an Arc as their waker

/// A task that counts its wakes: each one if `exact`, else one per poll.
#[derive(Default)]
pub struct Own {
    exact: bool,
    woken: AtomicBool,
    wakes: AtomicUsize,
    completed: AtomicBool,
    hook: Mutex<Option<Call>>,
}

impl Own {
    fn notify(&self) {
        if self.completed.load(SeqCst) {
            return;
        }
        let hook = *self.hook.lock().unwrap();
        if let Some(f) = hook {
            f.call();
        }
        if !self.woken.swap(true, AcqRel) || self.exact {
            self.wakes.fetch_add(1, SeqCst);
        }
    }
}

struct ByWake(Own);
impl Wake for ByWake {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

struct ByArcWake(Own);
impl futures::task::ArcWake for ByArcWake {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.notify();
    }
}

/// The kit's hold on a task.
struct Held<T> {
    task: Arc<T>,
    own: fn(&T) -> &Own,
}

impl<T: Send + Sync + 'static> Task for Held<T> {
    fn wakes(&self) -> usize {
        (self.own)(&self.task).wakes.load(SeqCst)
    }
    fn live(&self) -> usize {
        Arc::strong_count(&self.task) - 1
    }
    fn poll(&self, during: Option<Call>) {
        (self.own)(&self.task).woken.swap(false, AcqRel);
        if let Some(f) = during {
            f.call();
        }
    }
    fn on_wake(&self, f: Option<Call>) {
        *(self.own)(&self.task).hook.lock().unwrap() = f;
    }
    fn end(&self) {
        (self.own)(&self.task).completed.store(true, SeqCst);
    }
    fn free(self) -> Result<(), String> {
        match Arc::strong_count(&self.task) {
            1 => Ok(()),
            n => Err(format!("{} references to the task are left", n - 1)),
        }
    }
}

const ALL: Shows = Shows { live: true, poll: true, on_wake: true, end: true, exact: false };
const EXACT: Shows = Shows { live: true, poll: false, on_wake: true, end: true, exact: true };

/// Only with `Way::Each` does the task's own count show each reference in C. Otherwise only `free`
/// checks it.
fn seen(shows: Shows, way: Way) -> Shows {
    Shows { live: shows.live && way == Way::Each, ..shows }
}

pub fn std_wake(way: Way) -> TestWaker {
    let task = Arc::new(ByWake(Own::default()));
    TestWaker::new(
        way.cross(Waker::from(task.clone())),
        Held { task, own: |t| &t.0 },
        seen(ALL, way),
    )
}
pub fn std_wake_exact(way: Way) -> TestWaker {
    let task = Arc::new(ByWake(Own { exact: true, ..Own::default() }));
    TestWaker::new(
        way.cross(Waker::from(task.clone())),
        Held { task, own: |t| &t.0 },
        seen(EXACT, way),
    )
}
pub fn arc_wake(way: Way) -> TestWaker {
    let task = Arc::new(ByArcWake(Own::default()));
    TestWaker::new(
        way.cross(futures::task::waker(task.clone())),
        Held { task, own: |t| &t.0 },
        seen(ALL, way),
    )
}

/// A box of the C library as a `Waker`, like those that Go and `rawwaker_block_on` make.
pub fn boxed(way: Way) -> TestWaker {
    unsafe extern "C" fn wake(arg: Arg) {
        // SAFETY: arg is an Arc, alive until it is dropped below.
        unsafe { (*arg.cast::<ByWake>()).0.notify() }
    }
    unsafe extern "C" fn dropped(arg: Arg) {
        // SAFETY: as above. The box owned this reference.
        drop(unsafe { Arc::from_raw(arg.cast::<ByWake>()) });
    }
    let task = Arc::new(ByWake(Own { exact: true, ..Own::default() }));
    let arg = Arc::into_raw(task.clone()).cast_mut().cast();
    // SAFETY: waker_from_raw takes over the one reference to a new waker.
    let waker = unsafe { waker_from_raw(rawwaker_from_fn(wake, arg, Some(dropped))) };
    TestWaker::new(way.cross(waker), Held { task, own: |t| &t.0 }, Shows { live: false, ..EXACT })
}

/// std's no-op. It has no task, so no wake of it is noticed.
pub fn noop(way: Way) -> TestWaker {
    struct NoTask;
    impl Task for NoTask {
        fn wakes(&self) -> usize {
            0
        }
        fn end(&self) {}
    }
    TestWaker::new(
        way.cross(Waker::noop().clone()),
        NoTask,
        Shows { end: true, ..Shows::default() },
    )
}

// ------------------------------------------------------------------ tasks with an executor's waker

/// How long a runtime may take for something that it must do.
const PATIENCE: Duration = Duration::from_secs(10);

/// The number of blocks of memory that hold a `Driven`, which the allocator knows by its alignment.
pub static MARKED: AtomicUsize = AtomicUsize::new(0);
pub const MARK: usize = 512;
/// The number of subjects that the kit holds. One scenario holds two.
static SUBJECTS: AtomicUsize = AtomicUsize::new(0);
/// The number before the first subject: `FuturesUnordered` has a stub as large as a child.
static BEFORE: OnceLock<usize> = OnceLock::new();

fn one_more() {
    BEFORE.get_or_init(|| MARKED.load(SeqCst));
    SUBJECTS.fetch_add(1, SeqCst);
}

#[repr(align(512))]
struct Mark;

#[derive(Default)]
struct State {
    waker: Option<Waker>,
    noticed: usize,
    ask: Option<Option<Call>>,
    answered: usize,
    completed: bool,
    gone: bool,
}

#[derive(Default)]
struct Control {
    state: Mutex<State>,
    changed: Condvar,
    told: AtomicBool, // whether the kit has woken since the last poll
}

/// A `Driven`'s waker as the kit holds it. It calls the slots of the raw one, and sets `told`.
struct Watched {
    raw: RawWaker,
    control: Arc<Control>,
}

static WATCHED: RawWakerVTable = RawWakerVTable {
    clone: watched_clone,
    wake: watched_wake,
    wake_by_ref: watched_wake_by_ref,
    drop: watched_drop,
};

impl Watched {
    fn into_raw(self) -> RawWaker {
        RawWaker { data: Box::into_raw(Box::new(self)).cast(), vtable: &WATCHED }
    }
}
unsafe extern "C" fn watched_clone(data: Arg) -> RawWaker {
    // SAFETY: data is a boxed Watched with a live reference, and so is its raw, here and below.
    let (raw, control) = unsafe {
        let w = &*data.cast::<Watched>();
        (((*w.raw.vtable).clone)(w.raw.data), w.control.clone())
    };
    Watched { raw, control }.into_raw()
}
unsafe extern "C" fn watched_wake(data: Arg) {
    // SAFETY: as above; the reference is consumed.
    unsafe {
        let w = Box::from_raw(data.cast::<Watched>());
        w.control.told.store(true, SeqCst);
        ((*w.raw.vtable).wake)(w.raw.data);
    }
}
unsafe extern "C" fn watched_wake_by_ref(data: Arg) {
    // SAFETY: as above.
    unsafe {
        let w = &*data.cast::<Watched>();
        w.control.told.store(true, SeqCst);
        ((*w.raw.vtable).wake_by_ref)(w.raw.data);
    }
}
unsafe extern "C" fn watched_drop(data: Arg) {
    // SAFETY: as above; the reference is consumed.
    unsafe {
        let w = Box::from_raw(data.cast::<Watched>());
        ((*w.raw.vtable).drop)(w.raw.data);
    }
}

impl Control {
    fn wait(&self, r: &impl Runtime, what: &str, until: impl Fn(&State) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            r.drive();
            let s = self.state.lock().unwrap();
            if until(&s) {
                return;
            }
            assert!(Instant::now() < end, "the runtime has not {what}");
            drop(self.changed.wait_timeout(s, Duration::from_millis(1)).unwrap());
        }
    }
}

/// The future that a runtime is given. A poll that the kit asked for does what the kit says. Any
/// other poll is a wake that was noticed, and so is a poll that both the kit and a wake asked for.
pub struct Driven {
    control: Arc<Control>,
    _mark: Mark,
}

impl Driven {
    fn new() -> (Driven, Arc<Control>) {
        let control = Arc::<Control>::default();
        (Driven { control: control.clone(), _mark: Mark }, control)
    }
}

impl Future for Driven {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut s = self.control.state.lock().unwrap();
        if s.completed {
            return Poll::Ready(());
        }
        let told = self.control.told.swap(false, SeqCst);
        if let Some(ask) = s.ask.take() {
            s.noticed += usize::from(told);
            drop(s);
            if let Some(f) = ask {
                f.call();
            }
            s = self.control.state.lock().unwrap();
            s.answered += 1;
        } else if s.waker.is_none() {
            s.waker = Some(cx.waker().clone());
        } else {
            s.noticed += 1;
        }
        self.control.changed.notify_all();
        Poll::Pending
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        let mut s = self.control.state.lock().unwrap();
        s.gone = true;
        self.control.changed.notify_all();
    }
}

pub trait Runtime: Send + Sync + Sized + 'static {
    fn spawn(&self, f: Driven);
    /// Runs the scheduled tasks, if no thread of the runtime does.
    fn drive(&self);
    /// Waits until the scheduled tasks have been polled, as far as that can be seen from outside.
    fn settle(&self) {
        self.drive();
    }
    fn on_wake(&self, _f: Option<Call>) {
        unreachable!("the task does not show this")
    }
}

struct UnderRuntime<R: Runtime> {
    runtime: Arc<R>,
    control: Arc<Control>,
}

impl<R: Runtime> UnderRuntime<R> {
    fn finish(&self) {
        let waker = {
            let mut s = self.control.state.lock().unwrap();
            s.completed = true;
            s.waker.take()
        };
        if let Some(w) = waker {
            w.wake();
        }
        self.control.wait(&*self.runtime, "dropped a future that is ready", |s| s.gone);
        self.runtime.settle();
    }
}

impl<R: Runtime> Task for UnderRuntime<R> {
    fn wakes(&self) -> usize {
        self.runtime.drive();
        self.control.state.lock().unwrap().noticed
    }
    fn poll(&self, during: Option<Call>) {
        let (w, n) = {
            let mut s = self.control.state.lock().unwrap();
            s.ask = Some(during);
            (s.waker.clone().expect("it has not completed"), s.answered)
        };
        w.wake();
        self.control.wait(&*self.runtime, "polled a task that was woken", |s| s.answered > n);
        self.runtime.settle();
    }
    fn on_wake(&self, f: Option<Call>) {
        self.runtime.on_wake(f);
    }
    fn end(&self) {
        self.finish();
    }
    fn free(self) -> Result<(), String> {
        self.finish();
        all_freed(|| self.runtime.drive())
    }
}

/// Removes one subject, and checks that at most one task's memory is left for each other subject.
fn all_freed(drive: impl Fn()) -> Result<(), String> {
    let others = SUBJECTS.fetch_sub(1, SeqCst) - 1 + BEFORE.get().expect("there was a first");
    let end = Instant::now() + PATIENCE / 10;
    while MARKED.load(SeqCst) > others {
        if Instant::now() > end {
            return Err(
                "a task has completed and has no waker left, but its memory was not freed".into()
            );
        }
        drive();
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

pub fn driven<R: Runtime>(runtime: &Arc<R>, way: Way, shows: Shows) -> TestWaker {
    one_more();
    let (f, control) = Driven::new();
    runtime.spawn(f);
    control.wait(&**runtime, "polled a new task", |s| s.waker.is_some());
    runtime.settle();
    let waker = control.state.lock().unwrap().waker.clone().expect("just seen");
    let waker = Watched { raw: way.cross(waker), control: control.clone() }.into_raw();
    TestWaker::new(waker, UnderRuntime { runtime: runtime.clone(), control }, shows)
}

pub const DRIVEN: Shows =
    Shows { live: false, poll: true, on_wake: false, end: true, exact: false };

/// tokio, on the thread that calls drive.
pub struct TokioHere(Mutex<tokio::runtime::Runtime>);
impl TokioHere {
    pub fn new() -> Arc<TokioHere> {
        Arc::new(TokioHere(Mutex::new(
            tokio::runtime::Builder::new_current_thread().build().unwrap(),
        )))
    }
}
impl Runtime for TokioHere {
    fn spawn(&self, f: Driven) {
        drop(self.0.lock().unwrap().spawn(f));
    }
    fn drive(&self) {
        self.0.lock().unwrap().block_on(async {
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// tokio with two threads.
pub struct TokioThreads(tokio::runtime::Runtime);
impl TokioThreads {
    pub fn new() -> Arc<TokioThreads> {
        Arc::new(TokioThreads(
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap(),
        ))
    }
}
impl Runtime for TokioThreads {
    fn spawn(&self, f: Driven) {
        drop(self.0.spawn(f));
    }
    fn drive(&self) {}
    // The runtime takes these after the tasks that were queued before, except for stolen ones.
    fn settle(&self) {
        for _ in 0..2 {
            self.0.block_on(self.0.spawn(async {})).unwrap();
        }
    }
}

/// async-executor, on the thread that calls drive.
pub struct Smol(async_executor::Executor<'static>);
impl Smol {
    pub fn new() -> Arc<Smol> {
        Arc::new(Smol(async_executor::Executor::new()))
    }
}
impl Runtime for Smol {
    fn spawn(&self, f: Driven) {
        self.0.spawn(f).detach();
    }
    fn drive(&self) {
        while self.0.try_tick() {}
    }
}

/// futures' ThreadPool.
pub struct Pool(futures::executor::ThreadPool);
impl Pool {
    pub fn new() -> Arc<Pool> {
        Arc::new(Pool(futures::executor::ThreadPool::builder().pool_size(2).create().unwrap()))
    }
}
impl Runtime for Pool {
    fn spawn(&self, f: Driven) {
        self.0.spawn_ok(f);
    }
    fn drive(&self) {}
    fn settle(&self) {
        for _ in 0..2 {
            let (done, wait) = std::sync::mpsc::channel();
            self.0.spawn_ok(async move { done.send(()).unwrap() });
            wait.recv().unwrap();
        }
    }
}

/// A child of `FuturesUnordered`, as in `LocalPool`, `join_all` and `buffer_unordered`.
pub struct Unordered {
    children: Mutex<FuturesUnordered<Driven>>,
    parent: Arc<ByWake>,
}
impl Unordered {
    pub fn new() -> Arc<Unordered> {
        Arc::new(Unordered { children: Mutex::default(), parent: Arc::new(ByWake(Own::default())) })
    }
}
impl Runtime for Unordered {
    fn spawn(&self, f: Driven) {
        self.children.lock().unwrap().push(f);
    }
    fn drive(&self) {
        let mut children = self.children.lock().unwrap();
        let waker = Waker::from(self.parent.clone());
        loop {
            self.parent.0.woken.swap(false, AcqRel);
            match children.poll_next_unpin(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(())) => {}
                Poll::Pending if self.parent.0.woken.load(SeqCst) => {}
                _ => return,
            }
        }
    }
    fn on_wake(&self, f: Option<Call>) {
        *self.parent.0.hook.lock().unwrap() = f;
    }
}

// ------------------------------------------------------- async-task, with an executor of this test

// Whether this test, and not the kit, wakes on this thread.
thread_local!(static OURS: Cell<bool> = const { Cell::new(false) });

#[derive(Default)]
struct Queue {
    runnables: Mutex<VecDeque<Runnable>>,
    schedules: AtomicUsize,
    hook: Mutex<Option<Call>>,
}

impl Queue {
    fn schedule(&self, r: Runnable) {
        if !OURS.get() {
            self.schedules.fetch_add(1, SeqCst);
        }
        self.runnables.lock().unwrap().push_back(r);
        let hook = *self.hook.lock().unwrap();
        if let Some(f) = hook {
            f.call();
        }
    }
    fn pop(&self) -> Option<Runnable> {
        self.runnables.lock().unwrap().pop_front()
    }
}

struct AsyncTask {
    queue: Arc<Queue>,
    control: Arc<Control>,
    task: Mutex<Option<async_task::Task<()>>>,
}

impl AsyncTask {
    fn run(&self) {
        if let Some(r) = self.queue.pop() {
            r.run();
            return;
        }
        let w = self.control.state.lock().unwrap().waker.clone().expect("it was polled");
        OURS.set(true);
        w.wake();
        OURS.set(false);
        // If another thread's wake came first, that thread is about to schedule the task.
        let r = std::iter::repeat_with(|| self.queue.pop())
            .inspect(|_| std::thread::yield_now())
            .flatten()
            .next();
        // If it came second, it found the task scheduled by this thread, and the poll noticed it.
        let noticed = || self.control.state.lock().unwrap().noticed;
        let before = noticed();
        r.expect("it repeats").run();
        self.queue.schedules.fetch_add(noticed() - before, SeqCst);
    }
}

impl Task for AsyncTask {
    fn wakes(&self) -> usize {
        self.queue.schedules.load(SeqCst)
    }
    fn poll(&self, during: Option<Call>) {
        self.control.state.lock().unwrap().ask = Some(during);
        self.run();
    }
    fn on_wake(&self, f: Option<Call>) {
        *self.queue.hook.lock().unwrap() = f;
    }
    fn end(&self) {
        self.control.state.lock().unwrap().completed = true;
        self.run();
        let kept = self.control.state.lock().unwrap().waker.take();
        drop(kept);
    }
    fn free(self) -> Result<(), String> {
        drop(self.task.into_inner().unwrap()); // cancels the task, which schedules it once more
        let kept = {
            let mut s = self.control.state.lock().unwrap();
            s.completed = true;
            s.waker.take()
        };
        drop(kept);
        while let Some(r) = self.queue.pop() {
            r.run();
        }
        all_freed(|| {})
    }
}

/// A task of async-task. If `detached`, only its wakers keep it alive.
fn async_task(way: Way, detached: bool) -> TestWaker {
    one_more();
    let (f, control) = Driven::new();
    let queue = Arc::<Queue>::default();
    let q = queue.clone();
    let (first, task) = async_task::spawn(f, move |r| q.schedule(r));
    first.run();
    let waker = control.state.lock().unwrap().waker.clone().expect("it was polled");
    let mut held = Some(task);
    let mut shows = Shows { on_wake: true, ..DRIVEN };
    if detached {
        held.take().expect("just put").detach();
        control.state.lock().unwrap().waker = None;
        shows = Shows { on_wake: true, ..Shows::default() };
    }
    let waker = Watched { raw: way.cross(waker), control: control.clone() }.into_raw();
    TestWaker::new(waker, AsyncTask { queue, control, task: Mutex::new(held) }, shows)
}

pub fn async_task_held(way: Way) -> TestWaker {
    async_task(way, false)
}
pub fn async_task_detached(way: Way) -> TestWaker {
    async_task(way, true)
}

//! tokio's own scheduler benchmarks (its benches/rt_multi_threaded.rs) on tokio and on smol's
//! async-executor, and the peers of the other figures of tasks. Both executors have one thread per
//! CPU and exist until the process ends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{pending, poll_fn, Future};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

pub trait Executor {
    /// Builds the executor if there is none. Called before the clock starts, so that no sample
    /// includes the start of threads.
    fn start();
    fn spawn(f: impl Future<Output = ()> + Send + 'static);
    fn block_on(f: impl Future<Output = ()>);
    fn yield_now() -> impl Future<Output = ()> + Send;
}

fn cpus() -> usize {
    available_parallelism().map_or(1, |n| n.get())
}

pub struct Tokio;

fn tokio() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cpus())
            .enable_time()
            .build()
            .expect("a runtime")
    })
}

impl Executor for Tokio {
    fn start() {
        tokio();
    }
    fn spawn(f: impl Future<Output = ()> + Send + 'static) {
        tokio().spawn(f);
    }
    fn block_on(f: impl Future<Output = ()>) {
        tokio().block_on(f)
    }
    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }
}

pub struct Smol;

fn smol() -> &'static async_executor::Executor<'static> {
    static EXECUTOR: OnceLock<&async_executor::Executor> = OnceLock::new();
    EXECUTOR.get_or_init(|| {
        let ex: &'static async_executor::Executor = Box::leak(Box::default());
        for _ in 0..cpus() {
            std::thread::spawn(|| futures_lite::future::block_on(ex.run(pending::<()>())));
        }
        ex
    })
}

impl Executor for Smol {
    fn start() {
        smol();
    }
    fn spawn(f: impl Future<Output = ()> + Send + 'static) {
        smol().spawn(f).detach();
    }
    fn block_on(f: impl Future<Output = ()>) {
        futures_lite::future::block_on(f)
    }
    fn yield_now() -> impl Future<Output = ()> + Send {
        futures_lite::future::yield_now()
    }
}

fn ns(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64
}

/// Sends on its channel when it reaches 0.
struct Countdown(AtomicUsize, SyncSender<()>);

impl Countdown {
    fn down(&self) {
        if self.0.fetch_sub(1, AcqRel) == 1 {
            self.1.send(()).unwrap();
        }
    }
}

/// Spawns n tasks. Returns nanoseconds for all of them.
pub fn spawn_many<E: Executor>(n: u64) -> f64 {
    E::start();
    let start = Instant::now();
    let (tx, rx) = sync_channel(1);
    let rem = Arc::new(Countdown(AtomicUsize::new(n as usize), tx));
    E::block_on(async {
        for _ in 0..n {
            let rem = rem.clone();
            E::spawn(async move { rem.down() });
        }
        rx.recv().unwrap();
    });
    ns(start)
}

/// Runs 200 tasks that yield n times each. Returns nanoseconds for all of them.
pub fn yield_many<E: Executor>(n: u64) -> f64 {
    const TASKS: usize = 200;
    E::start();
    let start = Instant::now();
    let (tx, rx) = sync_channel(TASKS);
    for _ in 0..TASKS {
        let tx = tx.clone();
        E::spawn(async move {
            for _ in 0..n {
                E::yield_now().await;
            }
            tx.send(()).unwrap();
        });
    }
    for _ in 0..TASKS {
        rx.recv().unwrap();
    }
    ns(start)
}

/// Runs n pairs of tasks that exchange two messages. Returns nanoseconds for all of them.
macro_rules! ping_pong {
    ($name:ident, $ex:ty, $channel:path) => {
        pub fn $name(n: u64) -> f64 {
            <$ex>::start();
            let start = Instant::now();
            let (done, rx) = sync_channel(1);
            let rem = Arc::new(Countdown(AtomicUsize::new(n as usize), done));
            <$ex>::block_on(async {
                <$ex>::spawn(async move {
                    for _ in 0..n {
                        let rem = rem.clone();
                        <$ex>::spawn(async move {
                            let (tx1, rx1) = $channel();
                            let (tx2, rx2) = $channel();
                            <$ex>::spawn(async move {
                                rx1.await.unwrap();
                                tx2.send(()).unwrap();
                            });
                            tx1.send(()).unwrap();
                            rx2.await.unwrap();
                            rem.down();
                        });
                    }
                });
                rx.recv().unwrap();
            });
            ns(start)
        }
    };
}
ping_pong!(tokio_ping_pong, Tokio, tokio::sync::oneshot::channel::<()>);
ping_pong!(smol_ping_pong, Smol, futures::channel::oneshot::channel::<()>);

fn chain<E: Executor + 'static>(done: SyncSender<()>, n: u64) {
    if n == 0 {
        done.send(()).unwrap();
    } else {
        E::spawn(async move { chain::<E>(done, n - 1) });
    }
}

/// Runs n tasks, each of which spawns the next. Returns nanoseconds for all of them.
pub fn chained_spawn<E: Executor + 'static>(n: u64) -> f64 {
    E::start();
    let start = Instant::now();
    let (done, rx) = sync_channel(1);
    E::block_on(async {
        E::spawn(async move { chain::<E>(done, n) });
        rx.recv().unwrap();
    });
    ns(start)
}

/// Spawns n tasks and wakes them once all are asleep. Returns nanoseconds per task, from the first
/// spawn until all have completed.
pub fn tokio_per_task(n: u64) -> f64 {
    Tokio::start();
    let start = Instant::now();
    let (tx, rx) = sync_channel(1);
    let asleep = Arc::new(Countdown(AtomicUsize::new(n as usize), tx.clone()));
    let left = Arc::new(Countdown(AtomicUsize::new(n as usize), tx));
    let events: Vec<_> = (0..n)
        .map(|_| {
            let event = Arc::new(Event::default());
            let (wait, asleep, left) = (Wait(event.clone()), asleep.clone(), left.clone());
            Tokio::spawn(async move {
                let mut wait = wait;
                let mut first = true;
                poll_fn(|cx| {
                    let p = Pin::new(&mut wait).poll(cx);
                    if std::mem::take(&mut first) {
                        asleep.down();
                    }
                    p
                })
                .await;
                left.down();
            });
            event
        })
        .collect();
    rx.recv().unwrap();
    for event in &events {
        event.set();
    }
    rx.recv().unwrap();
    ns(start) / n as f64
}

fn cpu_ns() -> f64 {
    // SAFETY: getrusage fills what it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let in_ns = |t: libc::timeval| t.tv_sec as f64 * 1e9 + t.tv_usec as f64 * 1e3;
    in_ns(usage.ru_utime) + in_ns(usage.ru_stime)
}

/// Returns the CPU time of n tasks that sleep for 1 s to 10 s, in nanoseconds for all of them.
pub fn tokio_timers(n: u64) -> f64 {
    Tokio::start();
    let before = cpu_ns();
    let (tx, rx) = sync_channel(1);
    let rem = Arc::new(Countdown(AtomicUsize::new(n as usize), tx));
    for i in 0..n {
        let rem = rem.clone();
        Tokio::spawn(async move {
            let extra = Duration::from_nanos(9_000_000_000 / n * i);
            tokio::time::sleep(Duration::from_secs(1) + extra).await;
            rem.down();
        });
    }
    rx.recv().unwrap();
    cpu_ns() - before
}

thread_local! {
    static QUEUE: RefCell<VecDeque<async_task::Runnable>> = const { RefCell::new(VecDeque::new()) };
}

/// Spawns, detaches and runs n tasks one at a time, on a queue of this thread.
pub fn asynctask_local(n: u64) {
    for _ in 0..n {
        let schedule = |r| QUEUE.with_borrow_mut(|q| q.push_back(r));
        let (runnable, task) = async_task::spawn_local(async {}, schedule);
        runnable.schedule();
        task.detach();
        let next = QUEUE.with_borrow_mut(|q| q.pop_front());
        next.expect("schedule has pushed it").run();
    }
}

#[derive(Default)]
struct Event {
    waker: AtomicWaker,
    is_set: AtomicBool,
}

impl Event {
    fn set(&self) {
        self.is_set.store(true, Release);
        self.waker.wake();
    }
}

/// Ready once the event is set.
struct Wait(Arc<Event>);

impl Future for Wait {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.is_set.load(Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Wakes n futures one by one and polls their join_all after each wake. Returns nanoseconds per
/// future.
pub fn join_all_woken(n: u64) -> f64 {
    let events: Vec<_> = (0..n).map(|_| Arc::new(Event::default())).collect();
    let mut all = futures::future::join_all(events.iter().cloned().map(Wait));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut all).poll(&mut cx).is_pending());
    let start = Instant::now();
    for event in &events {
        event.set();
        let _ = Pin::new(&mut all).poll(&mut cx);
    }
    ns(start) / n as f64
}

struct NoTask;

impl Wake for NoTask {
    fn wake(self: Arc<Self>) {}
}

/// Registers a waker and wakes it, n times.
pub fn atomic_waker(n: u64) {
    let (cell, waker) = (AtomicWaker::new(), Waker::from(Arc::new(NoTask)));
    for _ in 0..n {
        cell.register(&waker);
        cell.wake();
    }
}

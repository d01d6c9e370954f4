//! Executors: tokio's own scheduler benchmarks (its benches/rt_multi_threaded.rs) on tokio and on smol's async-executor, and
//! the peers of the figures beside them. Both executors have as many threads as there are CPUs and live as long as the process.

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
    /// Builds it, unless it is there: before the clock starts, or the first ask would pay for its threads.
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
        tokio::runtime::Builder::new_multi_thread().worker_threads(cpus()).enable_time().build().expect("a runtime")
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
        let ex: &'static async_executor::Executor = Box::leak(Box::new(async_executor::Executor::new()));
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

/// Counts down, and the last one says so.
struct Countdown(AtomicUsize, SyncSender<()>);

impl Countdown {
    fn down(&self) {
        if self.0.fetch_sub(1, AcqRel) == 1 {
            self.1.send(()).unwrap();
        }
    }
}

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

/// n tasks at once, each of which sleeps on a waker until all do, is woken, and is done: nanoseconds for each.
pub fn tokio_per_task(n: u64) -> f64 {
    Tokio::start();
    let start = Instant::now();
    let (tx, rx) = sync_channel(1);
    let asleep = Arc::new(Countdown(AtomicUsize::new(n as usize), tx.clone()));
    let left = Arc::new(Countdown(AtomicUsize::new(n as usize), tx));
    let lamps: Vec<_> = (0..n)
        .map(|_| {
            let lamp = Arc::new(Lamp::default());
            let (watch, asleep, left) = (Watch(lamp.clone()), asleep.clone(), left.clone());
            Tokio::spawn(async move {
                let mut watch = watch;
                let mut first = true;
                poll_fn(|cx| {
                    let p = Pin::new(&mut watch).poll(cx);
                    if std::mem::take(&mut first) {
                        asleep.down();
                    }
                    p
                })
                .await;
                left.down();
            });
            lamp
        })
        .collect();
    rx.recv().unwrap();
    for lamp in &lamps {
        lamp.lit.store(true, Release);
        lamp.waker.wake();
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
    [usage.ru_utime, usage.ru_stime].iter().map(|t| t.tv_sec as f64 * 1e9 + t.tv_usec as f64 * 1e3).sum()
}

/// CPU time of n tasks that sleep for 1 s to 10 s.
pub fn tokio_timers(n: u64) -> f64 {
    Tokio::start();
    let before = cpu_ns();
    let (tx, rx) = sync_channel(1);
    let rem = Arc::new(Countdown(AtomicUsize::new(n as usize), tx));
    for i in 0..n {
        let rem = rem.clone();
        Tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1) + Duration::from_nanos(9_000_000_000 / n * i)).await;
            rem.down();
        });
    }
    rx.recv().unwrap();
    cpu_ns() - before
}

thread_local! {
    static QUEUE: RefCell<VecDeque<async_task::Runnable>> = const { RefCell::new(VecDeque::new()) };
}

/// Spawn, run and detach, one task at a time, on a queue of this thread.
pub fn asynctask_local(n: u64) {
    for _ in 0..n {
        let (runnable, task) = async_task::spawn_local(async {}, |r| QUEUE.with_borrow_mut(|q| q.push_back(r)));
        runnable.schedule();
        task.detach();
        let next = QUEUE.with_borrow_mut(|q| q.pop_front());
        next.expect("it was scheduled").run();
    }
}

#[derive(Default)]
struct Lamp {
    waker: AtomicWaker,
    lit: AtomicBool,
}

struct Watch(Arc<Lamp>);

impl Future for Watch {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.lit.load(Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// n futures, woken one by one, the join_all polled after each: nanoseconds for each.
pub fn join_all_woken(n: u64) -> f64 {
    let lamps: Vec<_> = (0..n).map(|_| Arc::new(Lamp::default())).collect();
    let mut all = futures::future::join_all(lamps.iter().cloned().map(Watch));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut all).poll(&mut cx).is_pending());
    let start = Instant::now();
    for lamp in &lamps {
        lamp.lit.store(true, Release);
        lamp.waker.wake();
        let _ = Pin::new(&mut all).poll(&mut cx);
    }
    ns(start) / n as f64
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// Register and wake.
pub fn atomic_waker(n: u64) {
    let (cell, waker) = (AtomicWaker::new(), Waker::from(Arc::new(Nobody)));
    for _ in 0..n {
        cell.register(&waker);
        cell.wake();
    }
}

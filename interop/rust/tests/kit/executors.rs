//! Rust's executors as the kit sees them. They run the kit's C futures as `Foreign`.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

use ffiwaker::{Foreign, RawFuture};
use futures::task::LocalSpawnExt;

use crate::sys::{Arg, TestExecutor};

type Job = Foreign<()>;

/// The kit calls spawn, run and close on one thread. It also calls spawn inside polls, on whichever
/// threads poll.
trait Runs: Sized + 'static {
    fn spawn(&self, job: Job);
    fn run(&self);
    fn close(self);
}

/// A panic in any of these aborts, which the kit reports as a failure of the scenario.
fn executor<R: Runs>(r: R) -> TestExecutor {
    unsafe extern "C" fn spawn<R: Runs>(arg: Arg, f: RawFuture) {
        // SAFETY: arg is the R below until close, here and in the functions that follow. The kit
        // gives the future away, and it has no result.
        unsafe { (*arg.cast::<R>()).spawn(Foreign::from_raw(f)) }
    }
    unsafe extern "C" fn run<R: Runs>(arg: Arg) {
        // SAFETY: as above.
        unsafe { (*arg.cast::<R>()).run() }
    }
    unsafe extern "C" fn close<R: Runs>(arg: Arg) {
        // SAFETY: as above. This is the last call.
        unsafe { Box::from_raw(arg.cast::<R>()) }.close()
    }
    let arg = Box::into_raw(Box::new(r)).cast();
    TestExecutor {
        arg,
        spawn: spawn::<R>,
        run: run::<R>,
        close: Some(close::<R>),
        spawn_inside: true,
    }
}

struct Tokio {
    runtime: tokio::runtime::Runtime,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}
impl Runs for Tokio {
    fn spawn(&self, job: Job) {
        let task = self.runtime.spawn(job);
        self.tasks.lock().unwrap().push(task);
    }
    fn run(&self) {
        loop {
            let Some(t) = self.tasks.lock().unwrap().pop() else { return };
            self.runtime.block_on(t).unwrap();
        }
    }
    fn close(self) {} // dropping the runtime drops its tasks
}
fn tokio(mut b: tokio::runtime::Builder) -> Tokio {
    Tokio { runtime: b.build().unwrap(), tasks: Mutex::default() }
}
pub fn tokio_here() -> TestExecutor {
    executor(tokio(tokio::runtime::Builder::new_current_thread()))
}
pub fn tokio_threads() -> TestExecutor {
    let mut b = tokio::runtime::Builder::new_multi_thread();
    b.worker_threads(2);
    executor(tokio(b))
}

struct LocalSet {
    local: tokio::task::LocalSet,
    tokio: Tokio,
}
impl Runs for LocalSet {
    fn spawn(&self, job: Job) {
        let task = self.local.spawn_local(job);
        self.tokio.tasks.lock().unwrap().push(task);
    }
    fn run(&self) {
        loop {
            let Some(t) = self.tokio.tasks.lock().unwrap().pop() else { return };
            self.local.block_on(&self.tokio.runtime, t).unwrap();
        }
    }
    fn close(self) {}
}
pub fn tokio_local_set() -> TestExecutor {
    executor(LocalSet {
        local: tokio::task::LocalSet::new(),
        tokio: tokio(tokio::runtime::Builder::new_current_thread()),
    })
}

struct Smol {
    executor: async_executor::Executor<'static>,
    tasks: Mutex<Vec<async_executor::Task<()>>>,
}
impl Runs for Smol {
    fn spawn(&self, job: Job) {
        let task = self.executor.spawn(job);
        self.tasks.lock().unwrap().push(task);
    }
    fn run(&self) {
        loop {
            let Some(t) = self.tasks.lock().unwrap().pop() else { return };
            futures::executor::block_on(self.executor.run(t));
        }
    }
    fn close(self) {
        // Detached, so that dropping the executor drops the futures: that is what is tested.
        self.tasks.into_inner().unwrap().into_iter().for_each(async_executor::Task::detach);
    }
}
pub fn async_executor() -> TestExecutor {
    executor(Smol { executor: async_executor::Executor::new(), tasks: Mutex::default() })
}

struct Local {
    pool: RefCell<futures::executor::LocalPool>,
    spawner: futures::executor::LocalSpawner,
}
impl Runs for Local {
    fn spawn(&self, job: Job) {
        self.spawner.spawn_local(job).unwrap();
    }
    fn run(&self) {
        self.pool.borrow_mut().run();
    }
    fn close(self) {}
}
pub fn local_pool() -> TestExecutor {
    let pool = futures::executor::LocalPool::new();
    let spawner = pool.spawner();
    executor(Local { pool: RefCell::new(pool), spawner })
}

struct Threads {
    pool: futures::executor::ThreadPool,
    left: Arc<(Mutex<usize>, Condvar)>,
}
impl Runs for Threads {
    fn spawn(&self, job: Job) {
        *self.left.0.lock().unwrap() += 1;
        let left = self.left.clone();
        self.pool.spawn_ok(async move {
            job.await;
            *left.0.lock().unwrap() -= 1;
            left.1.notify_all();
        });
    }
    fn run(&self) {
        drop(self.left.1.wait_while(self.left.0.lock().unwrap(), |n| *n > 0).unwrap());
    }
    fn close(self) {}
}
pub fn thread_pool() -> TestExecutor {
    let pool = futures::executor::ThreadPool::builder().pool_size(2).create().unwrap();
    // A waiting task owns itself and keeps the pool's threads, so there is no close.
    TestExecutor { close: None, ..executor(Threads { pool, left: Arc::default() }) }
}

// -------------------------------------------------------------------------------- faulty executors

/// tokio's, but it is never dropped.
pub fn forgotten() -> TestExecutor {
    struct Forgotten(Tokio);
    impl Runs for Forgotten {
        fn spawn(&self, job: Job) {
            self.0.spawn(job);
        }
        fn run(&self) {
            self.0.run();
        }
        fn close(self) {
            std::mem::forget(self);
        }
    }
    executor(Forgotten(tokio(tokio::runtime::Builder::new_current_thread())))
}

/// async-executor's, but each task is polled once only.
pub fn impatient() -> TestExecutor {
    struct Impatient(Smol);
    impl Runs for Impatient {
        fn spawn(&self, job: Job) {
            self.0.spawn(job);
        }
        fn run(&self) {
            let n = self.0.tasks.lock().unwrap().len();
            for _ in 0..n {
                self.0.executor.try_tick();
            }
        }
        fn close(self) {
            self.0.close();
        }
    }
    executor(Impatient(Smol { executor: async_executor::Executor::new(), tasks: Mutex::default() }))
}

/// futures' LocalPool, but every seventh task is dropped at once.
pub fn forgetful() -> TestExecutor {
    struct Forgetful(Local, AtomicUsize);
    impl Runs for Forgetful {
        fn spawn(&self, job: Job) {
            if self.1.fetch_add(1, SeqCst) % 7 != 6 {
                self.0.spawn(job);
            }
        }
        fn run(&self) {
            self.0.run();
        }
        fn close(self) {
            self.0.close();
        }
    }
    let pool = futures::executor::LocalPool::new();
    let spawner = pool.spawner();
    executor(Forgetful(Local { pool: RefCell::new(pool), spawner }, AtomicUsize::new(0)))
}
